"""Writes `nn` operations one after another at a place of a function, each located at the nodes it stands
for. Trivial ones are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from xdsl.builder import Builder as XdslBuilder
from xdsl.dialects.builtin import UNKNOWN_LOC, LocationAttr, f32, i1, i8, i32
from xdsl.ir import Attribute, Block, Operation, SSAValue
from xdsl.rewriter import InsertPoint

from ..dialects import nn
from ..dialects.constants import Array, ConstantStore, derived_key
from ..dialects.elements import (
    Element,
    dtype_of,
    element_of_dtype,
    element_type,
    format_of,
    is_bool,
    is_float,
    shape_of,
    tensor,
)
from ..dialects.nn import EmptyRow
from .refusal import RefusalError

INT32 = np.iinfo(np.int32)


class Builder:
    """Inserts operations at a point. Values are SSA values of tensor type; shapes follow numpy.

    `location` is given to every operation made from then on, and `path`, the structural path, where there is
    one.
    """

    def __init__(
        self,
        point: InsertPoint,
        store: ConstantStore,
        location: LocationAttr = UNKNOWN_LOC,
        path: Attribute | None = None,
    ):
        self.store = store
        self.location = location
        self.path = path
        self._insert = XdslBuilder(point)

    @classmethod
    def at_end(cls, block: Block, store: ConstantStore) -> Self:
        """Append to a block."""
        return cls(InsertPoint.at_end(block), store)

    @classmethod
    def before(cls, operation: Operation, store: ConstantStore) -> Self:
        """Write before `operation`, standing for the same nodes at the same place of the model."""
        return cls(InsertPoint.before(operation), store, operation.location, operation.attributes.get("path"))

    @classmethod
    def after(cls, value: SSAValue, store: ConstantStore, reader: Operation) -> Self:
        """Write right after `value` is made, standing for the same nodes; after an argument, for those of
        `reader`."""
        owner = value.owner
        named = reader if isinstance(owner, Block) else owner
        point = InsertPoint.at_start(owner) if isinstance(owner, Block) else InsertPoint.after(owner)
        return cls(point, store, named.location, named.attributes.get("path"))

    def insert(self, operation: Operation) -> SSAValue:
        """Insert an operation and give its first result."""
        operation.location = self.location
        if self.path is not None:
            operation.attributes.setdefault("path", self.path)
        self._insert.insert(operation)
        return operation.results[0]

    # Constants

    def constant(self, array: Array) -> SSAValue:
        """A constant of the array's values; int64 becomes int32. Raises RefusalError for values outside
        int32.
        """
        array = narrowed(np.asarray(array))
        return self.insert(
            nn.ConstantOp(self.store.attribute(array), tensor(element_of_dtype(array.dtype), *array.shape))
        )

    def named_constant(self, key: str) -> SSAValue:
        """The constant of the store called `key`; int64 becomes int32, under a derived key."""
        if self.store.dtype(key) == np.int64:
            array = narrowed(self.store.get(key))
            key = self.store.derive(
                derived_key("int32", key), narrowed, key, shape=array.shape, dtype=np.dtype(np.int32)
            )
        element = element_of_dtype(self.store.dtype(key))
        shape = self.store.shape(key)
        return self.insert(nn.ConstantOp(nn.RefAttr(key), tensor(element, *shape)))

    def filled(self, shape: Sequence[int], value: float, element: Attribute) -> SSAValue:
        """A tensor of one value."""
        scalar = self.constant(np.asarray(value, dtype_of(element)))
        return self.broadcast(scalar, shape)

    # Element by element

    def map(self, function: str, *operands: SSAValue | float, to: Element | None = None) -> SSAValue:
        """A lane function; Python numbers become scalars of the kind of the first tensor that is no truth
        value (of the first one if all are). The result's element type is `to`, or the natural one.
        """
        values = [operand for operand in operands if isinstance(operand, SSAValue)]
        numbers = [value for value in values if not is_bool(element_type(value))]
        kind = format_of(element_type((numbers or values)[0])).kind
        if not numbers and to is not None:
            kind = format_of(to).kind
        dtype = {"float": np.float32, "int": np.int32, "bool": np.bool_}[kind]
        inputs = [
            operand if isinstance(operand, SSAValue) else self.constant(np.asarray(operand, dtype))
            for operand in operands
        ]
        return self.insert(nn.MapOp(function, inputs, to))

    def cast(self, value: SSAValue, element: Element) -> SSAValue:
        """The value with another element type."""
        return value if element_type(value) == element else self.insert(nn.CastOp(value, element))

    def widen(self, value: SSAValue) -> SSAValue:
        """The value as lanes hold it: f32 for floats, i32 for integers and truth values."""
        return self.cast(value, f32 if is_float(element_type(value)) else i32)

    def not_(self, value: SSAValue) -> SSAValue:
        """Where a truth value is false."""
        return self.map("not", value)

    # Reductions

    def reduce(self, kind: str, value: SSAValue, axes: Sequence[int], element: Element | None = None) -> SSAValue:
        """A reduction whose axes stay with an extent of 1; over no axes it is the value itself. Truth values
        reduce as integers.
        """
        if not axes:
            return value if element is None else self.cast(value, element)
        if is_bool(element_type(value)):
            return self.cast(self.reduce(kind, self.cast(value, i32), axes), i1)
        return self.insert(nn.ReduceOp(kind, value, axes, element))

    def softmax(self, value: SSAValue, axis: int, empty_row: EmptyRow = EmptyRow.NAN) -> SSAValue:
        """Softmax along an axis."""
        return self.insert(nn.SoftmaxOp(value, axis, empty_row))

    def cumsum(self, value: SSAValue, axis: int, *, exclusive: bool = False, reverse: bool = False) -> SSAValue:
        """Running sums."""
        return self.insert(nn.CumsumOp(value, axis, exclusive, reverse))

    def iota(self, shape: Sequence[int], axis: int) -> SSAValue:
        """The index along `axis`, i32, for `shape` with every other extent as 1."""
        narrow = [extent if index == axis else 1 for index, extent in enumerate(shape)]
        return self.insert(nn.IotaOp(narrow, axis))

    # Matrices

    def matmul(
        self, lhs: SSAValue, rhs: SSAValue, *, transpose_rhs: bool = False, element: Element | None = None
    ) -> SSAValue:
        """A matrix product of the last two axes: floats by floats, or i8 by i8 to i32; other integers are
        multiplied and summed.
        """
        if is_float(element_type(lhs)) or (element_type(lhs) == element_type(rhs) == i8 and element == i32):
            return self.insert(nn.MatmulOp(lhs, rhs, transpose_rhs, element))
        if not transpose_rhs:
            rhs = self.swap_last(rhs)
        left, right = self.cast(lhs, i32), self.cast(rhs, i32)
        products = self.map("mul", self.unsqueeze(left, -2), self.unsqueeze(right, -3))
        summed = self.reduce("sum", products, (len(shape_of(products)) - 1,))
        return self.reshape(summed, shape_of(summed)[:-1])

    # Layout

    def reshape(self, value: SSAValue, shape: Sequence[int]) -> SSAValue:
        """The same elements under another shape."""
        return value if shape_of(value) == tuple(shape) else self.insert(nn.ReshapeOp(value, shape))

    def unsqueeze(self, value: SSAValue, axis: int) -> SSAValue:
        """A new axis of extent 1 at `axis` of the result."""
        shape = list(shape_of(value))
        shape.insert(axis % (len(shape) + 1), 1)
        return self.reshape(value, shape)

    def transpose(self, value: SSAValue, permutation: Sequence[int]) -> SSAValue:
        """Axis i of the result is axis `permutation[i]`."""
        permutation = [axis % len(permutation) for axis in permutation]
        trivial = permutation == list(range(len(permutation)))
        return value if trivial else self.insert(nn.TransposeOp(value, permutation))

    def swap_last(self, value: SSAValue) -> SSAValue:
        """The last two axes exchanged."""
        rank = len(shape_of(value))
        return self.transpose(value, [*range(rank - 2), rank - 1, rank - 2])

    def move_axis(self, value: SSAValue, source: int, target: int) -> SSAValue:
        """One axis at another place, the others in their order."""
        order = list(range(len(shape_of(value))))
        order.insert(target % len(order), order.pop(source % len(order)))
        return self.transpose(value, order)

    def broadcast(self, value: SSAValue, shape: Sequence[int]) -> SSAValue:
        """The value stretched to `shape`."""
        return value if shape_of(value) == tuple(shape) else self.insert(nn.BroadcastOp(value, shape))

    def slice(
        self, value: SSAValue, starts: Sequence[int], sizes: Sequence[int], steps: Sequence[int] | None = None
    ) -> SSAValue:
        """A regular part."""
        steps = steps or [1] * len(sizes)
        if tuple(sizes) == shape_of(value) and all(step == 1 for step in steps):
            return value
        return self.insert(nn.SliceOp(value, starts, sizes, steps))

    def slice_axis(self, value: SSAValue, axis: int, start: int, size: int, step: int = 1) -> SSAValue:
        """A regular part along one axis."""
        sizes = list(shape_of(value))
        starts, steps = [0] * len(sizes), [1] * len(sizes)
        starts[axis], sizes[axis], steps[axis] = start, size, step
        return self.slice(value, starts, sizes, steps)

    def concat(self, values: Sequence[SSAValue], axis: int) -> SSAValue:
        """Values joined along an axis; empty ones are left out."""
        filled = [value for value in values if 0 not in shape_of(value)] or list(values[:1])
        return filled[0] if len(filled) == 1 else self.insert(nn.ConcatOp(filled, axis))

    def pad(self, value: SSAValue, low: Sequence[int], high: Sequence[int], fill: SSAValue | float) -> SSAValue:
        """A border of one value."""
        if not any(low) and not any(high):
            return value
        if not isinstance(fill, SSAValue):
            fill = self.constant(np.asarray(fill, dtype_of(element_type(value))))
        return self.insert(nn.PadOp(value, fill, low, high))

    def windows(
        self, value: SSAValue, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
    ) -> SSAValue:
        """`[N, C, spatial...]` -> `[N, C, out..., kernel...]`."""
        return self.insert(nn.WindowsOp(value, kernel, strides, dilations))

    def greatest(self, value: SSAValue, count: int) -> SSAValue:
        """Where the greatest values along the last axis stand; see `nn.GreatestOp`."""
        return self.insert(nn.GreatestOp(value, count))

    def greatest_above(self, value: SSAValue, count: int, least: SSAValue) -> tuple[SSAValue, SSAValue]:
        """Where those of the greatest values stand that are no less than `least`, and how many they are."""
        made = nn.GreatestOp(value, count, least)
        self.insert(made)
        assert made.number is not None
        return made.result, made.number

    def gather_rows(self, table: SSAValue, ids: SSAValue, limit: int | None = None) -> SSAValue:
        """`[R, W]` and ids of any shape -> `[ids..., W]`."""
        return self.insert(nn.GatherRowsOp(table, ids, limit))


def narrowed(array: Array) -> Array:
    """int64 as int32, anything else as it is. Raises RefusalError naming a value that int32 cannot hold."""
    if array.dtype != np.int64:
        return array
    outside = (array < INT32.min) | (array > INT32.max)
    if outside.any():
        raise RefusalError(
            f"the constant {int(array[outside].flat[0])} is outside int32, as which int64 values travel",
            "use a value inside the int32 range",
        )
    return array.astype(np.int32)


def saturated(array: Array) -> Array:
    """int64 clamped to int32, for bounds that no int32 value passes."""
    return array if array.dtype != np.int64 else np.clip(array, INT32.min, INT32.max).astype(np.int32)
