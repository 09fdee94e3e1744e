"""Rules for activation functions. Those of several steps are computed in float32 and rounded once, at the
end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from xdsl.ir import SSAValue

from ....dialects.shapes import broadcasts_to
from .conditions import attribute_is, condition
from .lowering import Lowering, Rules


class Relu(Lowering):
    """`map` of `max` with 0."""

    operators = ("Relu",)

    def lower(self) -> SSAValue:
        """One map; NaN stays NaN."""
        return self.build.map("max", self.operand("X"), 0)


class Gelu(Lowering):
    """`map` of `gelu` or, with `approximate` = tanh, of `gelu_tanh`."""

    operators = ("Gelu",)
    conditions = (attribute_is("approximate", "none", "tanh"),)

    def lower(self) -> SSAValue:
        """One map."""
        exact = self.attribute("approximate", str, "none") == "none"
        return self.build.map("gelu" if exact else "gelu_tanh", self.operand("X"))


class Swish(Lowering):
    """`map` of `silu` for `alpha` = 1, else x * sigmoid(alpha * x); `SwiGLU` multiplies that by its second
    operand.
    """

    operators = ("Swish", "SwiGLU")

    def lower(self) -> SSAValue:
        """One to four maps."""
        build, value = self.build, self.wide(0)
        alpha = self.attribute("alpha", float, 1.0)
        if alpha == 1.0:
            gate = build.map("silu", value)
        else:
            gate = build.map("mul", value, build.map("sigmoid", build.map("mul", value, alpha)))
        return build.map("mul", gate, self.wide(1)) if self.node.operator == "SwiGLU" else gate


@condition(remedy="correct the model")
def slope_fits(rule: Lowering) -> bool:
    """the slope of `PRelu` stretches to the shape of `X`"""
    return not rule.has("slope") or broadcasts_to(rule.shape("slope"), rule.shape("X"))


class Leaky(Lowering):
    """`map` of `select`: x where x >= 0, else slope * x."""

    operators = ("LeakyRelu", "PRelu")
    conditions = (slope_fits,)

    def lower(self) -> SSAValue:
        """Three maps."""
        build, value = self.build, self.wide(0)
        slope = self.attribute("alpha", float, 0.01) if self.node.operator == "LeakyRelu" else self.wide("slope")
        return build.map("select", build.map("lt", value, 0), build.map("mul", value, slope), value)


class Exponential(Lowering):
    """`map` of `select`: a linear function where x > 0, else a scaled exp(x) - 1."""

    defaults: ClassVar[Mapping[str, tuple[float, float]]] = {
        "Elu": (1.0, 1.0),
        "Celu": (1.0, 1.0),
        "Selu": (1.67326319217681884765625, 1.05070102214813232421875),
    }
    operators = tuple(defaults)

    def lower(self) -> SSAValue:
        """Five to seven maps; the exponential sees min(x, 0), so it never overflows."""
        build, value = self.build, self.wide("X")
        alpha, gamma = self.defaults[self.node.operator]
        alpha = self.attribute("alpha", float, alpha)
        gamma = self.attribute("gamma", float, gamma)
        below = build.map("min", value, 0.0)
        if self.node.operator == "Celu" and alpha != 1.0:
            below = build.map("div", below, alpha)
        scaled = build.map("mul", build.map("sub", build.map("exp", below), 1.0), alpha)
        chosen = build.map("select", build.map("gt", value, 0.0), value, scaled)
        return chosen if gamma == 1.0 else build.map("mul", chosen, gamma)


class ThresholdedRelu(Lowering):
    """`map` of `select`: x where x > alpha, else 0."""

    operators = ("ThresholdedRelu",)

    def lower(self) -> SSAValue:
        """Two maps."""
        build, value = self.build, self.operand("X")
        kept = build.map("gt", value, self.attribute("alpha", float, 1.0))
        return build.map("select", kept, value, 0.0, to=self.element("X"))


class HardSigmoid(Lowering):
    """max(0, min(1, alpha * x + beta)); `HardSwish` multiplies that, with 1/6 and 1/2, by x."""

    defaults: ClassVar[Mapping[str, float]] = {"HardSigmoid": 0.2, "HardSwish": 1 / 6}
    operators = tuple(defaults)

    def lower(self) -> SSAValue:
        """Four or five maps."""
        build, value = self.build, self.wide("X")
        alpha = self.attribute("alpha", float, self.defaults[self.node.operator])
        beta = self.attribute("beta", float, 0.5)
        gate = build.map("add", build.map("mul", value, alpha), beta)
        gate = build.map("max", build.map("min", gate, 1.0), 0.0)
        return build.map("mul", value, gate) if self.node.operator == "HardSwish" else gate


class Mish(Lowering):
    """x * tanh(softplus(x))."""

    operators = ("Mish",)

    def lower(self) -> SSAValue:
        """Three maps."""
        build, value = self.build, self.wide("X")
        return build.map("mul", value, build.map("tanh", build.map("softplus", value)))


class Softsign(Lowering):
    """x / (1 + |x|)."""

    operators = ("Softsign",)

    def lower(self) -> SSAValue:
        """Three maps."""
        build, value = self.build, self.wide(0)
        return build.map("div", value, build.map("add", build.map("abs", value), 1.0))


class Shrink(Lowering):
    """x + bias where x < -lambd, x - bias where x > lambd, else 0."""

    operators = ("Shrink",)

    def lower(self) -> SSAValue:
        """Six maps."""
        build, value = self.build, self.wide("input")
        bias, bound = self.attribute("bias", float, 0.0), self.attribute("lambd", float, 0.5)
        lower = build.map("select", build.map("lt", value, -bound), build.map("add", value, bias), 0.0)
        return build.map("select", build.map("gt", value, bound), build.map("sub", value, bias), lower)


RULES: Rules = (
    Relu,
    Gelu,
    Swish,
    Leaky,
    Exponential,
    ThresholdedRelu,
    HardSigmoid,
    Mish,
    Softsign,
    Shrink,
)
