"""Exact integer products with zero points: signed bytes go to the matrix engine, the rest is sums.

With zero points a and b, sum((x - a) * (y - b)) = sum(x * y) - a * sum(y) - b * sum(x) + K * a * b. All of it
wraps modulo 2**32, so it is exact wherever the result fits.
"""

from __future__ import annotations

import numpy as np
from xdsl.dialects.builtin import i8, i32
from xdsl.ir import SSAValue

from ..dialects import nn
from ..dialects.constants import Array, derived_key
from ..dialects.elements import element_type, shape_of, ui8
from ..isa.frozen import frozen
from .builder import Builder
from .constant_operand import ConstantOperand

SHIFT = 128
"""What takes unsigned bytes to signed ones."""

INT8 = np.iinfo(np.int8)


@frozen
class Bytes:
    """Signed bytes that stand for `value - zero`: `zero` is i32, an array if it is known, None if it is 0."""

    value: SSAValue
    zero: SSAValue | Array | None

    @staticmethod
    def of(build: Builder, value: SSAValue, zero: SSAValue | Array | None) -> Bytes:
        """Stored bytes, signed or not, and their zero point in the same type (any shape)."""
        unsigned = element_type(value) == ui8
        moved = None if isinstance(zero, SSAValue) else _moved(build, value, zero)
        if moved is not None:
            return Bytes(moved, None)
        if unsigned:
            value = build.map("sub", value, SHIFT, to=i8)
        if isinstance(zero, SSAValue):
            wide = build.cast(zero, i32)
            return Bytes(value, build.map("sub", wide, SHIFT) if unsigned else wide)
        known = (np.zeros((), np.int64) if zero is None else zero.astype(np.int64)) - (SHIFT if unsigned else 0)
        return Bytes(value, known if known.any() else None)

    def reshaped(self, build: Builder, value: SSAValue, zero_shape: tuple[int, ...]) -> Bytes:
        """Other axes: `value` in place of the value, and the zero point, unless it is a scalar, in
        `zero_shape`.
        """
        if self.zero is None or self.zero_size == 1:
            return Bytes(value, self.zero)
        if isinstance(self.zero, SSAValue):
            return Bytes(value, build.reshape(self.zero, zero_shape))
        return Bytes(value, self.zero.reshape(zero_shape))

    @property
    def zero_size(self) -> int:
        """The number of zero points."""
        if self.zero is None:
            return 0
        return int(np.prod(shape_of(self.zero))) if isinstance(self.zero, SSAValue) else self.zero.size

    def scalar_zero(self, build: Builder) -> SSAValue | float:
        """The one zero point as a value of the bytes' type, to pad with."""
        if self.zero is None:
            return 0
        if isinstance(self.zero, SSAValue):
            return build.cast(build.reshape(self.zero, ()), i8)
        return int(self.zero.reshape(()))


def _moved(build: Builder, value: SSAValue, zero: Array | None) -> SSAValue | None:
    """A constant without its one zero point, as signed bytes; None for anything else, and where a byte is too small."""
    known = np.zeros(1, np.int64) if zero is None else zero.astype(np.int64).reshape(-1)
    if not isinstance(value.owner, nn.ConstantOp) or not known.size or (known != known[0]).any():
        return None
    offset = int(known[0])
    if element_type(value) == i8 and not offset:
        return value
    key = ConstantOperand(value.owner, ()).key(build.store)
    levels = build.store.get(key)
    if not levels.size or int(levels.min()) - offset < INT8.min or int(levels.max()) - offset > INT8.max:
        return None
    name = derived_key("less", key, zero=offset)

    def less(array: Array) -> Array:
        return (array.astype(np.int16) - offset).astype(np.int8)

    build.store.derive(name, less, key, shape=shape_of(value), dtype=np.dtype(np.int8))
    return build.named_constant(name)


def integer_product(build: Builder, lhs: Bytes, rhs: Bytes, *, transpose_rhs: bool = False) -> SSAValue:
    """The i32 product `[..., M, K] @ [..., K, N]` (`[..., N, K]` if `transpose_rhs`). Zero points are
    scalars, or `[..., M, 1]` on the left and `[..., 1, N]` on the right.
    """
    total = build.matmul(lhs.value, rhs.value, transpose_rhs=transpose_rhs, element=i32)
    left, right = _value(build, lhs.zero), _value(build, rhs.zero)
    if left is not None:
        columns = sums(build, rhs.value, -1 if transpose_rhs else -2)
        if transpose_rhs:
            columns = build.swap_last(columns)
        total = build.map("sub", total, build.map("mul", left, columns))
    if right is not None:
        total = build.map("sub", total, build.map("mul", right, sums(build, lhs.value, -1)))
    if left is not None and right is not None:
        depth = shape_of(lhs.value)[-1]
        total = build.map("add", total, build.map("mul", build.map("mul", left, right), depth))
    return total


def sums(build: Builder, value: SSAValue, axis: int) -> SSAValue:
    """Sums of bytes along an axis that stays, i32."""
    return build.reduce("sum", value, (axis % len(shape_of(value)),), i32)


def sums_of(build: Builder, of: Bytes, axis: int, transposed: bool = False) -> SSAValue:
    """Sums of (bytes - zero) along an axis that stays, i32, and their last two axes swapped if `transposed`; the zero
    point stretches to the result."""
    total = sums(build, of.value, axis)
    if transposed:
        total = build.swap_last(total)
    zero = _value(build, of.zero)
    return total if zero is None else build.map("sub", total, build.map("mul", zero, shape_of(of.value)[axis]))


def _value(build: Builder, zero: SSAValue | Array | None) -> SSAValue | None:
    if zero is None or isinstance(zero, SSAValue):
        return zero
    return build.constant(zero if zero.size > 1 else zero.reshape(()))
