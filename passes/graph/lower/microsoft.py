"""Rules for float operators that ONNX Runtime's optimizer fuses (domain com.microsoft)."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from ....dialects import nn
from ....dialects.elements import shape_of
from .conditions import attribute_is
from .lowering import Lowering, Rules
from .matrix import product
from .normalization import inverse_deviation


class RuntimeLowering(Lowering):
    """A rule of the domain com.microsoft."""

    domain = "com.microsoft"


class RuntimeGelu(RuntimeLowering):
    """`map` of `add` for the bias, then of `gelu` (`FastGelu`: `gelu_tanh`, `QuickGelu`: x * sigmoid(alpha *
    x)).
    """

    operators = ("Gelu", "BiasGelu", "FastGelu", "QuickGelu")

    def lower(self) -> SSAValue:
        """One to three maps."""
        build, value = self.build, self.wide(0)
        if self.has(1):
            value = build.map("add", value, self.wide(1))
        if self.node.operator == "QuickGelu":
            return build.map(
                "mul",
                value,
                build.map("sigmoid", build.map("mul", value, self.attribute("alpha", float, 1.702))),
            )
        return build.map("gelu_tanh" if self.node.operator == "FastGelu" else "gelu", value)


class SkipNorm(RuntimeLowering):
    """`map` of `add`, then `layer_norm` or, for the simplified one, `rms_norm`."""

    operators = ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization")

    def lower(self) -> Sequence[SSAValue | None]:
        """The sum of input, skip and bias, normalized over the last axis."""
        build = self.build
        total = build.map("add", self.operand("input"), self.operand("skip"))
        if self.has("bias"):
            total = build.map("add", total, self.operand("bias"))
        axis, epsilon = len(shape_of(total)) - 1, self.attribute("epsilon", float, 1e-12)
        gamma = self.operand("gamma")
        simplified = self.node.operator.startswith("SkipSimplified")
        if simplified:
            result = build.insert(nn.RmsNormOp(total, gamma, axis, epsilon))
        else:
            result = build.insert(nn.LayerNormOp(total, gamma, self.optional("beta"), axis, epsilon))
        mean = build.reduce("mean", build.widen(total), (axis,)) if self.wants("mean") else None
        inverse = inverse_deviation(build, total, (axis,), epsilon) if self.wants("inv_std_var") else None
        return result, mean, inverse, total


class FusedMatMul(RuntimeLowering):
    """`transpose`, `matmul`, `map` of `mul` by alpha."""

    operators = ("FusedMatMul", "TransposeMatMul")
    conditions = (attribute_is("transBatchA", 0), attribute_is("transBatchB", 0))

    def lower(self) -> SSAValue:
        """alpha * A' @ B'."""
        build, lhs, rhs = self.build, self.operand("A"), self.operand("B")
        if self.attribute("transA", int, 0) and len(shape_of(lhs)) > 1:
            lhs = build.swap_last(lhs)
        if self.attribute("transB", int, 0) and len(shape_of(rhs)) > 1:
            rhs = build.swap_last(rhs)
        result, alpha = product(build, lhs, rhs), self.attribute("alpha", float, 1.0)
        return result if alpha == 1.0 else build.map("mul", result, alpha)


class EmbedLayerNorm(RuntimeLowering):
    """`gather_rows` of words and segments, `map` of `add`, `layer_norm`."""

    operators = ("EmbedLayerNormalization",)

    def lower(self) -> Sequence[SSAValue | None]:
        """Positions count from 0 unless `position_ids` gives them."""
        build = self.build
        total = build.gather_rows(self.operand("word_embedding"), build.widen(self.operand("input_ids")))
        rows = shape_of(total)[1]
        table = self.operand("position_embedding")
        if self.has("position_ids"):
            total = build.map("add", total, build.gather_rows(table, build.widen(self.operand("position_ids"))))
        else:
            total = build.map("add", total, build.slice_axis(table, 0, 0, rows))
        if self.has("segment_embedding") and self.has("segment_ids"):
            ids = build.widen(self.operand("segment_ids"))
            total = build.map("add", total, build.gather_rows(self.operand("segment_embedding"), ids))
        epsilon = self.attribute("epsilon", float, 1e-12)
        normal = nn.LayerNormOp(total, self.operand("gamma"), self.operand("beta"), 2, epsilon)
        return build.insert(normal), self.lengths() if self.wants("mask_index") else None, total

    def lengths(self) -> SSAValue:
        """How many positions of each sequence the mask keeps, as `mask_index`."""
        build, batch = self.build, self.shape("input_ids")[0]
        if not self.has("mask"):
            return build.filled((batch,), 0, i32)
        kept = build.cast(build.map("eq", self.operand("mask"), 1), i32)
        return build.reshape(build.reduce("sum", kept, (1,)), (batch,))


RULES: Rules = (RuntimeGelu, SkipNorm, FusedMatMul, EmbedLayerNorm)
