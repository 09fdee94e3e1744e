"""Products of dequantized tensors (QDQ, QCDQ) become int8 products with the model's own scales, exact before scaling.

With a = (A - za) * sa and b = (B - zb) * sb, where A and B are 8-bit, the product over k is

    sa * sb * (sum A B - za * sum B - zb * sum A + K * za * zb)

whose bracket is an integer: it is computed exactly in int32. uint8 operands move by -128, and their zero point with
them. Sums of constants are constants. A dequantization whose scale lies along the contracted axis cannot move out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import LocationAttr, ModuleOp, f32, i8, i32
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from ...dialects import nn
from ...dialects.constants import Array, derived_key
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, shape_of, ui8
from ...dialects.provenance import fuse
from ..builder import Builder
from .retype import LAYOUT, carry_path, replace, through_layout

MOVE = 128
"""What brings uint8 into int8."""


class Dequantized(NamedTuple):
    """How a float operand is made of an 8-bit one: `steps` of layout show `source`, dequantized by scale and zero.

    `axis` is the axis of the operand (not of the source) along which scale and zero point lie, None for scalars.
    """

    source: SSAValue
    steps: tuple[Operation, ...]
    scale: SSAValue
    zero_point: SSAValue | None
    axis: int | None
    location: LocationAttr


@dataclass(frozen=True)
class IntegerProducts(ModulePass):
    """Compute products of two dequantized 8-bit tensors on the int8 engine."""

    name = "integer-products"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module; what the products no longer read is left for dead-code elimination."""
        context = CompilerContext.of(ctx)
        for product in [p for p in op.walk() if isinstance(p, nn.MatmulOp)]:
            left, right = _dequantized(product.lhs), _dequantized(product.rhs)
            if left is None or right is None:
                continue
            rank = len(shape_of(product.rhs))
            kept = rank - 2 if product.transpose_rhs is not None else rank - 1
            if left.axis not in (None, len(shape_of(product.lhs)) - 2) or right.axis not in (None, kept):
                continue
            _rewrite(context, product, left, right)


def _dequantized(value: SSAValue) -> Dequantized | None:
    """See through layout to a dequantization of 8-bit values; None where there is none or its axis is lost."""
    steps: list[Operation] = []
    while isinstance(value.owner, LAYOUT):
        steps.append(value.owner)
        value = value.owner.operands[0]
    source = value.owner
    if not isinstance(source, nn.DequantizeOp) or element_type(source.input) not in (i8, ui8):
        return None
    location = fuse(source.location, *(step.location for step in steps))
    axis = None if source.axis is None else source.axis.value.data
    for step in reversed(steps):
        if axis is not None:
            axis = _axis_after(step, axis)
            if axis is None:
                return None
    return Dequantized(source.input, tuple(reversed(steps)), source.scale, source.zero_point, axis, location)


def _axis_after(step: Operation, axis: int) -> int | None:
    """Where `axis` of the operand of a layout operation is in its result; None if it is mixed with others."""
    if isinstance(step, nn.TransposeOp):
        return step.permutation.get_values().index(axis)
    if isinstance(step, nn.ReshapeOp):
        before, after = shape_of(step.input), shape_of(step.result)
        for candidate, extent in enumerate(after):
            same_outside = np.prod(after[:candidate], dtype=int) == np.prod(before[:axis], dtype=int)
            if extent == before[axis] and same_outside:
                return candidate
    return None


def _rewrite(context: CompilerContext, product: nn.MatmulOp, left: Dequantized, right: Dequantized) -> None:
    build = Builder.before(product, context.store)
    build.location = fuse(left.location, right.location, product.location)
    transposed = product.transpose_rhs is not None
    rhs_rank = len(shape_of(product.rhs))
    contracted = rhs_rank - 1 if transposed else rhs_rank - 2

    lhs, lhs_zero = _signed(build, left)
    rhs, rhs_zero = _signed(build, right)
    sums_op = nn.MatmulOp(lhs, rhs, transposed)
    carry_path(product, sums_op)
    sums = build.insert(sums_op)

    lhs_zero = None if lhs_zero is None else _along_rows(build, lhs_zero)
    rhs_zero = None if rhs_zero is None else _along_columns(build, rhs_zero)
    if lhs_zero is not None:
        columns = _sum(build, rhs, contracted)
        columns = build.swap_last(columns) if transposed else columns
        sums = build.map("sub", sums, build.map("mul", lhs_zero, columns))
    if rhs_zero is not None:
        rows = _sum(build, lhs, len(shape_of(lhs)) - 1)
        sums = build.map("sub", sums, build.map("mul", rhs_zero, rows))
    if lhs_zero is not None and rhs_zero is not None:
        extent = shape_of(lhs)[-1]
        sums = build.map("add", sums, build.map("mul", build.map("mul", lhs_zero, rhs_zero), extent))

    scale = build.map("mul", _along_rows(build, left.scale), _along_columns(build, right.scale))
    result = build.map("mul", build.cast(sums, f32), scale, to=element_type(product.result))
    replace(product, result)


def _signed(build: Builder, operand: Dequantized) -> tuple[SSAValue, SSAValue | None]:
    """The operand's values as i8 behind its layout, and its zero point as i32 where it is not known to be 0."""
    values, zero = operand.source, operand.zero_point
    moved = element_type(values) == ui8
    if moved:
        values = _moved(build, values)
    if zero is None:
        zero_point = build.constant(np.asarray(-MOVE, np.int32)) if moved else None
    else:
        constant = zero.owner
        if isinstance(constant, nn.ConstantOp):
            array = build.store.array(constant.data).astype(np.int32) - (MOVE if moved else 0)
            zero_point = build.constant(array) if array.any() else None
        else:
            wide = build.cast(zero, i32)
            zero_point = build.map("sub", wide, MOVE) if moved else wide
    return through_layout(values, operand.steps), zero_point


def _moved(build: Builder, values: SSAValue) -> SSAValue:
    """uint8 values less 128, as int8."""
    constant = values.owner
    if isinstance(constant, nn.ConstantOp) and constant.reference is not None:
        key = constant.reference
        shape, dtype = shape_of(values), np.dtype(np.int8)
        return build.named_constant(
            build.store.derive(derived_key("less_128", key), _less_128, key, shape=shape, dtype=dtype)
        )
    return build.cast(build.map("sub", build.cast(values, i32), MOVE), i8)


def _less_128(array: Array) -> Array:
    return (array.astype(np.int16) - MOVE).astype(np.int8)


def _sum(build: Builder, values: SSAValue, axis: int) -> SSAValue:
    """Exact int32 sums along one axis, which stays with extent 1."""
    constant = values.owner
    if isinstance(constant, nn.ConstantOp) and constant.reference is not None:
        key, shape = constant.reference, list(shape_of(values))
        shape[axis] = 1
        return build.named_constant(
            build.store.derive(
                derived_key("sum", key, axis=axis),
                lambda array: array.sum(axis=axis, keepdims=True, dtype=np.int32),
                key,
                shape=tuple(shape),
                dtype=np.dtype(np.int32),
            )
        )
    return build.reduce("sum", build.cast(values, i32), (axis,))


def _along_rows(build: Builder, value: SSAValue) -> SSAValue:
    """A scalar as it is; one value a row of the left operand as a column."""
    shape = shape_of(value)
    return value if shape == () else build.reshape(value, (*shape, 1))


def _along_columns(build: Builder, value: SSAValue) -> SSAValue:
    """A scalar, or one value a column of the right operand: it stretches along columns already."""
    return value
