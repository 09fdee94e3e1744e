"""Weights of which the run gathers some: they are stored in the format of their product, and gathered in it."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from xdsl.ir import SSAValue

from ...dialects import nn
from ...dialects.constants import Array, derived_key
from ...dialects.elements import shape_of
from ...isa.frozen import frozen
from ..builder import Builder
from .retype import above_layout
from .scales import Quantized


@frozen
class GatheredWeights:
    """A matrix [kept * inner, width] whose rows are those of a constant [groups * inner, width]: of `ids` [kept], each
    `inner` adjacent ones."""

    matrix: nn.ConstantOp
    ids: SSAValue
    inner: int
    width: int

    @staticmethod
    def of(value: SSAValue) -> GatheredWeights | None:
        """What a value is; None for anything else."""
        source, steps = above_layout(value)
        shape, gather = shape_of(value), source.owner
        if not isinstance(gather, nn.GatherRowsOp) or not all(isinstance(step, nn.ReshapeOp) for step in steps):
            return None
        table, kept = gather.table.owner, prod(shape_of(gather.ids))
        if not isinstance(table, nn.ConstantOp) or len(shape) != 2 or not kept or shape[0] % kept:
            return None
        return GatheredWeights(table, gather.ids, shape[0] // kept, shape[1])

    def key(self, build: Builder) -> str:
        """The constant of the store that has the matrix of all groups."""
        shape = (shape_of(self.matrix.result)[0] * self.inner, self.width)
        store = build.store
        key = self.matrix.reference or store.anonymous(store.array(self.matrix.data))
        if store.shape(key) == shape:
            return key
        name = derived_key("reshape", key, shape="x".join(map(str, shape)))

        def shown(array: Array) -> Array:
            return array.reshape(shape)

        return store.derive(name, shown, key, shape=shape, dtype=store.dtype(key))

    def rows(self, build: Builder, matrix: SSAValue) -> SSAValue:
        """The rows of [groups * inner, width] that are gathered, [kept * inner, width]."""
        height, width = shape_of(matrix)
        table = build.reshape(matrix, (height // self.inner, self.inner * width))
        gathered = build.gather_rows(table, self.ids)
        return build.reshape(gathered, (prod(shape_of(self.ids)) * self.inner, width))

    def quantized(self, build: Builder, of_constant: Callable[[Builder, str, int], Quantized], axis: int) -> Quantized:
        """As levels with a factor constant along `axis`, which `of_constant` makes of the whole matrix; a factor
        of each column is that of all its rows."""
        whole = of_constant(build, self.key(build), axis)
        factor = whole.factor if shape_of(whole.factor)[0] == 1 else self.rows(build, whole.factor)
        return Quantized(self.rows(build, whole.values), factor)
