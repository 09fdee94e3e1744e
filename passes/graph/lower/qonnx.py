"""Rules for the QONNX quantizers: few-bit values stay integers in bytes, with the model's own scales behind them.

Sources of the formulas: the operator definitions of QONNX (docs/qonnx-custom-ops of fastmachinelearning/qonnx),
versions 1 and 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from xdsl.dialects.builtin import f32, i8
from xdsl.ir import SSAValue

from ....dialects.elements import ui8
from ...builder import Builder
from .conditions import Condition
from .lowering import Lowering, Rules


def _away(build: Builder, x: SSAValue, magnitude: SSAValue) -> SSAValue:
    return build.map("mul", build.map("sign", x), magnitude)


ROUNDINGS: Mapping[str, Callable[[Builder, SSAValue], SSAValue]] = {
    "ROUND": lambda build, x: build.map("rint", x),
    "HALF_EVEN": lambda build, x: build.map("rint", x),
    "CEIL": lambda build, x: build.map("ceil", x),
    "FLOOR": lambda build, x: build.map("floor", x),
    "UP": lambda build, x: _away(build, x, build.map("ceil", build.map("abs", x))),
    "DOWN": lambda build, x: build.map("trunc", x),
    "HALF_UP": lambda build, x: _away(build, x, build.map("floor", build.map("add", build.map("abs", x), 0.5))),
    "HALF_DOWN": lambda build, x: _away(build, x, build.map("ceil", build.map("sub", build.map("abs", x), 0.5))),
}
"""Rounding modes by their names in the attribute `rounding_mode`."""


def level_range(bits: int, signed: bool, narrow: bool) -> tuple[int, int]:
    """The least and the greatest integer of a quantizer."""
    if signed:
        return -(1 << bits - 1) + narrow, (1 << bits - 1) - 1
    return 0, (1 << bits) - 1 - narrow


def whole_bits(name: str) -> Condition:
    """The operand `name` is a constant of one whole number of at least 1."""

    def holds(rule: Lowering) -> bool:
        if not rule.has(name):
            return True
        bits = rule.constant(name)
        return bits.size == 1 and bool(bits == np.floor(bits)) and 1 <= float(bits.reshape(())) <= 32

    return Condition(f"`{name}` is one whole number from 1 to 32", holds, "quantize each tensor to one width")


ROUNDED = Condition(
    "`rounding_mode` is one of " + ", ".join(ROUNDINGS),
    lambda rule: rule.attribute("rounding_mode", str, "ROUND").upper() in ROUNDINGS,
    "choose one of them",
)


class Quantizer(Lowering):
    """What the quantizers share: integers, and the floats that they stand for."""

    domain = "qonnx"

    def bits(self, name: str) -> int:
        """A width."""
        return int(self.constant(name).reshape(()))

    def scaled(self) -> SSAValue:
        """X / scale + zeropt, in float32."""
        quotient = self.build.map("div", self.wide("X"), self.wide("scale"))
        return quotient if self.is_symmetric("zeropt") else self.build.map("add", quotient, self.wide("zeropt"))

    def is_symmetric(self, name: str) -> bool:
        """Whether a zero point is known to be 0."""
        return not self.has(name) or (self.is_constant(name) and not self.constant(name).any())

    def clamped(self, value: SSAValue, low: int, high: int) -> SSAValue:
        """Clamp first and round then, as QONNX does: the bounds are whole numbers."""
        bounded = self.build.map("max", self.build.map("min", value, float(high)), float(low))
        return self.rounded(bounded)

    def rounded(self, value: SSAValue) -> SSAValue:
        """The value rounded as the node says; the operator's own mode stands in its signature."""
        return ROUNDINGS[self.attribute("rounding_mode", str, "ROUND").upper()](self.build, value)

    def floats(self, whole: SSAValue, low: int, high: int, zero: SSAValue | None, scale: SSAValue) -> SSAValue:
        """(whole - zero) * scale; `whole` is kept in bytes where they hold it."""
        build = self.build
        if low >= -128 and high < 128:
            whole = build.cast(build.cast(whole, i8), f32)
        elif low >= 0 and high < 256:
            whole = build.cast(build.cast(whole, ui8), f32)
        if zero is not None:
            whole = build.map("sub", whole, zero)
        return build.reshape(build.map("mul", whole, scale), self.result_shape())


class BipolarQuant(Quantizer):
    """1 where `X` is at least 0, else -1, as a byte, times `scale`."""

    operators = ("BipolarQuant",)

    def lower(self) -> SSAValue:
        """where(X >= 0, 1, -1) * scale."""
        return self.floats(bipolar(self.build, self.wide("X")), -1, 1, None, self.wide("scale"))


def bipolar(build: Builder, value: SSAValue) -> SSAValue:
    """where(value >= 0, 1, -1)."""
    return build.map("select", build.map("ge", value, 0.0), 1.0, -1.0, to=f32)


class IntegerQuant(Quantizer):
    """Round(clamp(X / scale + zeropt)) as a byte (up to 8 bits, else float), less `zeropt`, times `scale`."""

    operators = ("Quant", "IntQuant")
    conditions = (whole_bits("bitwidth"), ROUNDED)

    def lower(self) -> SSAValue:
        """(round(clamp(X / scale + zeropt)) - zeropt) * scale; one signed bit is bipolar."""
        signed, bits = bool(self.attribute("signed", int, 1)), self.bits("bitwidth")
        zero = None if self.is_symmetric("zeropt") else self.wide("zeropt")
        if signed and bits == 1:
            return self.floats(bipolar(self.build, self.scaled()), -1, 1, zero, self.wide("scale"))
        low, high = level_range(bits, signed, bool(self.attribute("narrow", int, 0)))
        return self.floats(self.clamped(self.scaled(), low, high), low, high, zero, self.wide("scale"))


class Trunc(Quantizer):
    """Drops the lowest bits of integers at a scale, with `in_bitwidth - out_bitwidth` or the ratio of the scales."""

    operators = ("Trunc",)
    conditions = (
        whole_bits("in_bitwidth"),
        ROUNDED,
        Condition(
            "scales and zero point are constants",
            lambda rule: all(rule.is_constant(name) for name in ("scale", "zeropt", "out_bitwidth_or_scale")),
            "use static scales",
        ),
    )

    def lower(self) -> SSAValue:
        """Version 1: (round_mode(rint(X / scale + zeropt) / 2 ** (in - out)) - zeropt) * scale. Version 2, with six
        operands, clamps to the width of the output and goes on with its scale."""
        build = self.build
        whole = build.map("rint", self.scaled())
        zero = self.constant("zeropt").astype(np.float32)
        if not self.has("out_bitwidth"):
            shift = self.bits("in_bitwidth") - self.bits("out_bitwidth_or_scale")
            kept = build.map("div", whole, float(2.0**shift))
            rounded = self.rounded(kept)
            low, high = -(1 << 31), 1 << 31
            return self.floats(rounded, low, high, build.constant(zero) if zero.any() else None, self.wide("scale"))
        scale, out = self.constant("scale").astype(np.float32), self.constant("out_bitwidth_or_scale")
        ratio = np.exp2(np.round(np.log2(out.astype(np.float32) / scale))).astype(np.float32)
        signed, narrow = bool(self.attribute("signed", int, 1)), bool(self.attribute("narrow", int, 0))
        low, high = level_range(self.bits("out_bitwidth"), signed, narrow)
        rounded = self.clamped(build.map("div", whole, build.constant(ratio)), low, high)
        moved = (zero / ratio).astype(np.float32)
        out_scale = self.wide("out_bitwidth_or_scale")
        return self.floats(rounded, low, high, build.constant(moved) if moved.any() else None, out_scale)


RULES: Rules = (BipolarQuant, IntegerQuant, Trunc)
