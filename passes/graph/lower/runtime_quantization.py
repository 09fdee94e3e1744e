"""Rules for the integer operators that ONNX Runtime's quantizer writes (domain com.microsoft)."""

from __future__ import annotations

from math import prod

import numpy as np
from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from ....dialects import nn
from ....dialects.elements import shape_of
from ...integer_product import Bytes, integer_product
from .conditions import attribute_is, condition
from .lowering import Lowering, Rules
from .quantization import IntegerProduct, rounded, scalar_zero_point


class ScaledProduct(IntegerProduct):
    """As `MatMulInteger`, then `map` for the scales and the bias."""

    domain = "com.microsoft"
    operators = ("MatMulIntegerToFloat",)

    def lower(self) -> SSAValue:
        """product * (a_scale * b_scale) + bias."""
        build = self.build
        lhs = self.bytes("A", "a_zero_point", left=True)
        rhs = self.bytes("B", "b_zero_point", left=False)
        total = build.cast(integer_product(build, lhs, rhs), f32)
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
        lhs = Bytes.of(build, quantized.result, quantized.zero_point)
        rhs = self.bytes("B", "b_zero_point", left=False)
        total = build.cast(integer_product(build, lhs, rhs), f32)
        result = build.map("mul", total, build.map("mul", quantized.scale, self.column_scale("b_scale")))
        return build.map("add", result, self.operand("bias")) if self.has("bias") else result


class QuantizedGemm(ScaledProduct):
    """As `MatMulInteger`, `map` for C and the scales, `quantize` if the result is quantized."""

    operators = ("QGemm",)
    conditions = (scalar_zero_point("a_zero_point"),)

    def lower(self) -> SSAValue:
        """(A' @ B' + C) * (alpha * a_scale * b_scale); with `y_scale` divided by it, rounded and shifted."""
        build = self.build
        lhs = self.bytes("A", "a_zero_point", left=True)
        rhs = self.bytes("B", "b_zero_point", left=False)
        if self.attribute("transA", int, 0):
            lhs = Bytes(build.swap_last(lhs.value), lhs.zero)
        transpose = bool(self.attribute("transB", int, 0))
        total = integer_product(build, lhs, rhs, transpose_rhs=transpose)
        if self.has("C"):
            total = build.map("add", total, self.operand("C"))
        factor = build.map("mul", build.reshape(self.wide("a_scale"), ()), self.attribute("alpha", float, 1.0))
        factor = build.map("mul", factor, self.column_scale("b_scale"))
        if not self.has("y_scale"):
            return build.map("mul", build.cast(total, f32), factor)
        factor = build.map("div", factor, build.reshape(self.wide("y_scale"), ()))
        return rounded(self, build.map("mul", build.cast(total, f32), factor), "y_zero_point")


class Linear(Lowering):
    """What the operators on quantized values share."""

    domain = "com.microsoft"

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
        return self.build.insert(nn.QuantizeOp(value, self.single(scale), zero, element=self.result_element()))


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


class LinearMean(Linear):
    """`dequantize`, `reduce mean`, `quantize`."""

    operators = ("QLinearGlobalAveragePool",)
    conditions = (attribute_is("channels_last", 0, remedy="convert the model to channels first"),)

    def lower(self) -> SSAValue:
        """The mean over the spatial axes."""
        value = self.real("X", "x_scale", "x_zero_point")
        mean = self.build.reduce("mean", value, range(2, len(shape_of(value))))
        return self.quantized(mean, "y_scale", "y_zero_point")


class LinearConcat(Linear):
    """`dequantize` and `quantize` of each part, `concat`."""

    operators = ("QLinearConcat",)

    def lower(self) -> SSAValue:
        """Operands come as (value, scale, zero point) after the result's scale and zero point."""
        build, parts = self.build, list[SSAValue]()
        zero = build.reshape(self.operand(1), ())
        for place in range(2, len(self.node.inputs), 3):
            scale, own_zero = (build.reshape(self.operand(place + offset), ()) for offset in (1, 2))
            value = build.insert(nn.DequantizeOp(self.operand(place), scale, own_zero))
            parts.append(build.insert(nn.QuantizeOp(value, build.reshape(self.operand(0), ()), zero)))
        return build.concat(parts, self.axis(len(shape_of(parts[0]))))


class LinearWhere(Linear):
    """`dequantize` and `quantize` of both sides, `map` of `select`."""

    operators = ("QLinearWhere",)

    def lower(self) -> SSAValue:
        """Both sides in the result's quantization, one chosen."""
        names = (("X", "x_scale", "x_zero_point"), ("Y", "y_scale", "y_zero_point"))
        sides = (self.quantized(self.real(*side), "z_scale", "z_zero_point") for side in names)
        return self.build.map("select", self.operand("condition"), *sides)


RULES: Rules = (
    ScaledProduct,
    DynamicMatMul,
    QuantizedGemm,
    LinearAdd,
    LinearMul,
    LinearUnary,
    LinearMean,
    LinearConcat,
    LinearWhere,
)
