"""Rules for linear quantization and for integer products.

Quantized values stay bytes: `quantize` and `dequantize` stand where the model has them, products are exact in
int32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import ClassVar

import numpy as np
from xdsl.dialects.builtin import bf16, f16, f32
from xdsl.ir import SSAValue

from ....dialects import nn
from ....dialects.constants import Array
from ....dialects.elements import Element, dtype_of, shape_of
from ...builder import Builder
from ...integer_product import Bytes, integer_product
from .conditions import Condition
from .lowering import Lowering, Rules

_PRECISIONS: Mapping[object, Element | None] = {0: None, 1: f32, 10: f16, 16: bf16}
"""ONNX's type codes that the division of QuantizeLinear may be done in; 0 leaves it to the scale."""


def scalar_zero_point(name: str) -> Condition:
    """The operand `name`, if present, has one element."""
    return Condition(
        f"`{name}` has one element",
        lambda rule: not rule.has(name) or prod(rule.shape(name)) == 1,
        "quantize activations per tensor",
    )


def per_channel(build: Builder, scale: SSAValue, row: Sequence[int]) -> SSAValue:
    """A scale as a scalar, or one per channel in the shape `row`."""
    return build.reshape(scale, () if prod(shape_of(scale)) == 1 else row)


def requantized(
    rule: Lowering, total: SSAValue, lhs_scale: SSAValue, rhs_scale: SSAValue, scale: str, zero_point: str
) -> SSAValue:
    """saturate(rint(total * (lhs_scale * rhs_scale / scale)) + zero_point), in ONNX Runtime's order."""
    build = rule.build
    factor = build.map("mul", build.reshape(build.widen(lhs_scale), ()), build.widen(rhs_scale))
    factor = build.map("div", factor, build.reshape(rule.wide(scale), ()))
    return rounded(rule, build.map("mul", build.cast(total, f32), factor), zero_point)


def rounded(rule: Lowering, value: SSAValue, zero_point: str) -> SSAValue:
    """saturate(rint(value) + zero_point) as the result's bytes."""
    build = rule.build
    zero = build.reshape(rule.operand(zero_point), ()) if rule.has(zero_point) else None
    one = build.constant(np.asarray(1, np.float32))
    return build.insert(nn.QuantizeOp(value, one, zero, element=rule.result_element()))


class Granular(Lowering):
    """What `QuantizeLinear` and `DequantizeLinear` share: one scale, one per index of an axis, or one per
    block.
    """

    value_name: ClassVar[str] = "x"
    scale_name: ClassVar[str] = "y_scale"

    def operand(self, name: str | int) -> SSAValue:
        """The lowered operand; constants of less than 8 bits as bytes."""
        return self._scope.bytes(self.required(name)) or super().operand(name)

    def is_blocked(self) -> bool:
        """Whether there is a scale for every block along the axis."""
        return self.attribute("block_size", int, 0) > 0 and len(self.shape(self.scale_name)) > 1

    def scale_axis(self) -> int | None:
        """The axis that scales go along, None for a single one."""
        if prod(self.shape(self.scale_name)) == 1 and not self.is_blocked():
            return None
        return self.axis(len(self.shape(self.value_name)), 1)

    def granular(self, name: str) -> SSAValue:
        """A scale or zero point: a scalar, or one per index of the axis."""
        value = self.operand(name)
        return self.build.reshape(value, ()) if self.scale_axis() is None else value

    def spread(self, name: str) -> SSAValue:
        """A scale or zero point in a shape that broadcasts to the value's, blocks repeated."""
        build, shape = self.build, self.shape(self.value_name)
        value, axis = self.operand(name), self.scale_axis()
        if axis is None:
            return build.reshape(value, ())
        if not self.is_blocked():
            return build.reshape(value, [extent if place == axis else 1 for place, extent in enumerate(shape)])
        size, blocks = self.attribute("block_size", int, 0), shape_of(value)
        wide = (*blocks[: axis + 1], size, *blocks[axis + 1 :])
        repeated = build.broadcast(build.unsqueeze(value, axis + 1), wide)
        joined = build.reshape(repeated, (*blocks[:axis], blocks[axis] * size, *blocks[axis + 1 :]))
        return build.slice_axis(joined, axis, 0, shape[axis])


class Quantize(Granular):
    """`quantize`; blocks, and divisions in f16 or bf16, by `map`."""

    operators = ("QuantizeLinear",)
    conditions = (
        Condition(
            "`precision` is absent, float32, float16 or bfloat16",
            lambda rule: rule.raw_attribute("precision", 0) in _PRECISIONS,
            "use float32",
        ),
    )

    def lower(self) -> SSAValue:
        """saturate(rint(x / y_scale) + y_zero_point)."""
        build = self.build
        precision = _PRECISIONS[self.attribute("precision", int, 0)] or self.element("y_scale")
        if self.is_blocked() or precision != f32:
            return self.by_maps(precision)
        value = build.cast(self.operand("x"), f32)
        scale = build.cast(self.granular("y_scale"), f32)
        zero = self.granular("y_zero_point") if self.has("y_zero_point") else None
        return build.insert(nn.QuantizeOp(value, scale, zero, self.scale_axis(), self.result_element()))

    def by_maps(self, precision: Element) -> SSAValue:
        """The division rounded to `precision`, then round, shift and saturate."""
        build, element = self.build, self.result_element()
        value, scale = self.operand("x"), self.spread("y_scale")
        quotient = build.map("div", build.cast(value, precision), build.cast(scale, precision), to=precision)
        result = build.map("rint", build.cast(quotient, f32))
        if self.has("y_zero_point"):
            result = build.map("add", result, build.cast(self.spread("y_zero_point"), f32))
        bounds = np.iinfo(dtype_of(element))
        result = build.map("min", build.map("max", result, float(bounds.min)), float(bounds.max))
        return build.cast(result, element)


class RuntimeQuantize(Quantize):
    """As ONNX's own."""

    domain = "com.microsoft"


class Dequantize(Granular):
    """`dequantize`; blocks by `map`."""

    operators = ("DequantizeLinear",)
    scale_name = "x_scale"

    def lower(self) -> SSAValue:
        """(x - x_zero_point) * x_scale."""
        build = self.build
        has_zero = self.has("x_zero_point")
        if not self.is_blocked():
            scale = self.granular("x_scale")
            zero = self.granular("x_zero_point") if has_zero else None
            return build.insert(
                nn.DequantizeOp(self.operand("x"), scale, zero, self.scale_axis(), self.result_element())
            )
        value = build.cast(self.operand("x"), f32)
        if has_zero:
            value = build.map("sub", value, build.cast(self.spread("x_zero_point"), f32))
        return build.map("mul", value, build.cast(self.spread("x_scale"), f32))


class RuntimeDequantize(Dequantize):
    """As ONNX's own."""

    domain = "com.microsoft"


class DynamicQuantize(Lowering):
    """`dynamic_quantize`."""

    operators = ("DynamicQuantizeLinear",)

    def lower(self) -> Sequence[SSAValue]:
        """Bytes, scale and zero point."""
        operation = nn.DynamicQuantizeOp(self.operand("x"))
        self.build.insert(operation)
        return operation.results


class IntegerProduct(Lowering):
    """What products of bytes share."""

    def bytes(self, name: str, zero_name: str, *, left: bool) -> Bytes:
        """An operand as a matrix of signed bytes, its zero points by row (left), column (right) or single."""
        build, value = self.build, self.operand(name)
        zero: SSAValue | Array | None = None
        if self.has(zero_name):
            zero = self.constant(zero_name) if self.is_constant(zero_name) else self.operand(zero_name)
        found = Bytes.of(build, value, zero)
        if len(shape_of(value)) == 1:
            return found.reshaped(build, build.unsqueeze(found.value, 0 if left else 1), ())
        if found.zero_size > 1 and len(self.shape(zero_name)) == 1:
            count = found.zero_size
            return found.reshaped(build, found.value, (count, 1) if left else (1, count))
        return found


class MatMulInteger(IntegerProduct):
    """`matmul` of i8, with unsigned bytes moved by -128 and zero points taken off by sums."""

    operators = ("MatMulInteger",)

    def lower(self) -> SSAValue:
        """The exact product in int32."""
        lhs = self.bytes("A", "a_zero_point", left=True)
        rhs = self.bytes("B", "b_zero_point", left=False)
        return self.build.reshape(integer_product(self.build, lhs, rhs), self.result_shape())


class QLinearMatMul(IntegerProduct):
    """As `MatMulInteger`, then `map` and `quantize`."""

    operators = ("QLinearMatMul",)

    def lower(self) -> SSAValue:
        """saturate(rint(product * (a_scale * b_scale / y_scale)) + y_zero_point)."""
        build = self.build
        lhs = self.bytes("a", "a_zero_point", left=True)
        rhs = self.bytes("b", "b_zero_point", left=False)
        total = integer_product(build, lhs, rhs)
        left = self.scale("a_scale", left=True)
        right = self.scale("b_scale", left=False)
        factor = build.map("div", build.map("mul", left, right), build.reshape(self.wide("y_scale"), ()))
        result = rounded(self, build.map("mul", build.cast(total, f32), factor), "y_zero_point")
        return build.reshape(result, self.result_shape())

    def scale(self, name: str, *, left: bool) -> SSAValue:
        """A scale as a scalar, per row (left) or per column (right)."""
        value, shape = self.wide(name), self.shape(name)
        if prod(shape) == 1:
            return self.build.reshape(value, ())
        if len(shape) > 1:
            return value
        return self.build.reshape(value, (*shape, 1) if left else (1, *shape))


RULES: Rules = (
    Quantize,
    RuntimeQuantize,
    Dequantize,
    RuntimeDequantize,
    DynamicQuantize,
    MatMulInteger,
    QLinearMatMul,
)
