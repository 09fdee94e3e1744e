"""Rules for operators of ONNX Runtime's own domain, com.microsoft."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from xdsl.dialects.builtin import f32, i32
from xdsl.ir import SSAValue

from ....dialects import nn
from ....dialects.elements import shape_of
from . import integer
from .conditions import attribute_is, condition
from .lowering import Lowering, Rules
from .matrix import product
from .normalization import inverse_deviation
from .quantization import IntegerProduct


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


class ScaledProduct(IntegerProduct):
    """As `MatMulInteger`, then `map` for the scales and the bias."""

    domain = "com.microsoft"
    operators = ("MatMulIntegerToFloat",)

    def lower(self) -> SSAValue:
        """product * (a_scale * b_scale) + bias."""
        build = self.build
        lhs = self.bytes("A", "a_zero_point", left=True)
        rhs = self.bytes("B", "b_zero_point", left=False)
        total = build.cast(integer.product(build, lhs, rhs), f32)
        scale = build.map("mul", build.reshape(self.wide("a_scale"), ()), self.column_scale("b_scale"))
        result = build.map("mul", total, scale)
        return build.map("add", result, self.operand("bias")) if self.has("bias") else result

    def column_scale(self, name: str) -> SSAValue:
        """A scale as a scalar, or one for each column."""
        value = self.wide(name)
        return self.build.reshape(value, ()) if prod(shape_of(value)) == 1 else value


class DynamicMatMul(ScaledProduct):
    """`dynamic_quantize` of A, then as `MatMulIntegerToFloat`."""

    operators = ("DynamicQuantizeMatMul",)

    def lower(self) -> SSAValue:
        """The float product of A, quantized by its own range, with the bytes of B."""
        build = self.build
        quantized = nn.DynamicQuantizeOp(self.operand("A"))
        build.insert(quantized)
        lhs = integer.Bytes.of(build, quantized.result, quantized.zero_point)
        rhs = self.bytes("B", "b_zero_point", left=False)
        total = build.cast(integer.product(build, lhs, rhs), f32)
        result = build.map("mul", total, build.map("mul", quantized.scale, self.column_scale("b_scale")))
        return build.map("add", result, self.operand("bias")) if self.has("bias") else result


class Linear(RuntimeLowering):
    """What the operators on quantized values share."""

    def real(self, name: str, scale: str, zero_point: str) -> SSAValue:
        """A quantized operand as f32."""
        zero = self.single(zero_point) if self.has(zero_point) else None
        return self.build.insert(nn.DequantizeOp(self.operand(name), self.single(scale), zero))

    def single(self, name: str) -> SSAValue:
        """A scale or zero point as a scalar."""
        return self.build.reshape(self.operand(name), ())

    def saturated(self, value: SSAValue) -> SSAValue:
        """An f32 value rounded, half to even, to the result's bytes."""
        one = self.build.constant(np.asarray(1, np.float32))
        return self.build.insert(nn.QuantizeOp(value, one, None, element=self.result_element()))

    def quantized(self, value: SSAValue, scale: str, zero_point: str) -> SSAValue:
        """An f32 value as the result's bytes."""
        zero = self.single(zero_point) if self.has(zero_point) else None
        return self.build.insert(
            nn.QuantizeOp(value, self.single(scale), zero, element=self.result_element())
        )


class LinearAdd(Linear):
    """`map`: A * a' + (B * b' + c'), rounded; `dequantize`, `map`, `quantize` if a scale is not constant."""

    operators = ("QLinearAdd",)

    def lower(self) -> SSAValue:
        """a' = A_scale / C_scale and b' likewise; c' is C's zero point less a' and b' times those of A and B.

        It is ONNX Runtime's order: the zero point is added before rounding.
        """
        build = self.build
        names = [f"{operand}_{kind}" for operand in "ABC" for kind in ("scale", "zero_point")]
        if not all(self.is_constant(name) for name in names if self.has(name)):
            total = build.map(
                "add", self.real("A", "A_scale", "A_zero_point"), self.real("B", "B_scale", "B_zero_point")
            )
            return self.quantized(total, "C_scale", "C_zero_point")
        lhs, lhs_zero = self.known("A")
        rhs, rhs_zero = self.known("B")
        scale, zero = self.known("C")
        lhs_ratio, rhs_ratio = lhs / scale, rhs / scale
        shift = np.float32(zero - (float(lhs_ratio) * lhs_zero + float(rhs_ratio) * rhs_zero))
        left = build.map("mul", build.cast(self.operand("A"), f32), float(lhs_ratio))
        right = build.map("mul", build.cast(self.operand("B"), f32), float(rhs_ratio))
        return self.saturated(build.map("add", left, build.map("add", right, float(shift))))

    def known(self, operand: str) -> tuple[np.float32, float]:
        """The constant scale and zero point of an operand or of the result."""
        zero = self.constant(f"{operand}_zero_point") if self.has(f"{operand}_zero_point") else np.zeros(1)
        return np.float32(self.constant(f"{operand}_scale").item()), float(zero.item())


class LinearMul(Linear):
    """`map` of `mul` on int32, `map` of `mul` by the scales and of `add` of the zero point, rounded."""

    operators = ("QLinearMul",)

    def lower(self) -> SSAValue:
        """saturate(rint((A - a) * (B - b) * (A_scale * B_scale / C_scale) + c)), in ONNX Runtime's order."""
        build = self.build
        exact = build.map("mul", self.offset("A", "A_zero_point"), self.offset("B", "B_zero_point"))
        factor = build.map("mul", self.single("A_scale"), self.single("B_scale"))
        factor = build.map("div", factor, self.single("C_scale"))
        result = build.map("mul", build.cast(exact, f32), factor)
        if self.has("C_zero_point"):
            result = build.map("add", result, build.cast(self.single("C_zero_point"), f32))
        return self.saturated(result)

    def offset(self, name: str, zero_point: str) -> SSAValue:
        """A quantized operand without its zero point, i32."""
        value = self.wide(name)
        if not self.has(zero_point):
            return value
        return self.build.map("sub", value, self.build.widen(self.single(zero_point)))


@condition(remedy="convert the model to opset 13 before quantizing it")
def softmax_of_one_axis(rule: Lowering) -> bool:
    """softmax is over one axis: `opset` is 13 or newer, or `axis` is the last one"""
    if rule.node.operator != "QLinearSoftmax":
        return True
    axis, rank = rule.attribute("axis", int, -1), len(rule.shape("X"))
    return rule.attribute("opset", int, 13) >= 13 or axis in (-1, rank - 1)


class LinearUnary(Linear):
    """`dequantize`, the function, `quantize`."""

    operators = ("QLinearSoftmax", "QLinearSigmoid", "QLinearLeakyRelu")
    conditions = (softmax_of_one_axis,)

    def lower(self) -> SSAValue:
        """In float32, where ONNX Runtime looks up a table."""
        build, value = self.build, self.real("X", "X_scale", "X_zero_point")
        match self.node.operator:
            case "QLinearSoftmax":
                result = build.softmax(value, self.axis(len(shape_of(value))))
            case "QLinearSigmoid":
                result = build.map("sigmoid", value)
            case _:
                below = build.map("mul", value, self.attribute("alpha", float, 0.01))
                result = build.map("select", build.map("lt", value, 0), below, value)
        return self.quantized(result, "Y_scale", "Y_zero_point")


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
            total = build.map(
                "add", total, build.gather_rows(table, build.widen(self.operand("position_ids")))
            )
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


RULES: Rules = (
    RuntimeGelu,
    SkipNorm,
    FusedMatMul,
    ScaledProduct,
    DynamicMatMul,
    LinearAdd,
    LinearMul,
    LinearUnary,
    EmbedLayerNorm,
)
