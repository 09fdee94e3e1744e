"""Rules for operators that write updates to known places of a tensor: a value put together from both, no write."""

from __future__ import annotations

from math import prod

import numpy as np
from xdsl.ir import SSAValue

from ....dialects.constants import Array
from ....dialects.elements import shape_of
from .conditions import attribute_is, constant_operand
from .indexing import Indexing
from .lowering import Rules

_KNOWN = (constant_operand("indices"), attribute_is("reduction", "none"))


class Scatter(Indexing):
    """What the scatter operators share. Where several updates go to one place, the last stays."""

    def known(self, indices: Array, extent: int) -> Array:
        """Constant indices along an axis, counted from its start."""
        return np.asarray(self.checked(indices.astype(np.int64), extent))

    def written(self, places: Array) -> SSAValue:
        """The data with the updates at `places`, int64 [count, axes] along the leading axes, each with the rest."""
        shape, updates = self.shape("data"), self.operand("updates")
        if not places.size:
            return self.operand("data")
        first, last = places.min(axis=0), places.max(axis=0)
        box: list[int] = (last - first + 1).tolist()
        if len(places) == prod(box) and (places == first + np.argwhere(np.ones(box))).all():
            patch = self.build.reshape(updates, (*box, *shape[len(box) :]))
            return self._pasted(self.operand("data"), patch, first.tolist(), 0)
        extents = shape[: len(box)]
        count, width = prod(extents), prod(shape[len(box) :])
        rows = np.arange(count)
        rows[np.ravel_multi_index(tuple(places.T), extents)] = count + np.arange(len(places))
        data = self.build.reshape(self.operand("data"), (count, width))
        table = self.build.concat((data, self.build.reshape(updates, (len(places), width))), 0)
        return self.build.reshape(self.pick(table, rows), shape)

    def _pasted(self, value: SSAValue, patch: SSAValue, first: list[int], axis: int) -> SSAValue:
        """A value with a patch in its place, which lies from `first` on, along `axis` and those behind it."""
        if axis == len(first):
            return patch
        build, start = self.build, first[axis]
        total, size = (shape_of(side)[axis] for side in (value, patch))
        behind = total - start - size
        parts = (
            build.slice_axis(value, axis, 0, start) if start else None,
            self._pasted(build.slice_axis(value, axis, start, size), patch, first, axis + 1),
            build.slice_axis(value, axis, start + size, behind) if behind else None,
        )
        return build.concat([part for part in parts if part is not None], axis)


class ScatterND(Scatter):
    """`concat` of slices around a box of places in order; else `gather_rows` of data and updates."""

    operators = ("ScatterND",)
    conditions = _KNOWN

    def lower(self) -> SSAValue:
        """Each tuple of indices is a place."""
        indices = self.constant("indices")
        columns = indices.reshape(-1, indices.shape[-1]).T
        pairs = zip(columns, self.shape("data"), strict=False)
        return self.written(np.stack([self.known(column, extent) for column, extent in pairs], axis=1))


class ScatterElements(Scatter):
    """`concat` of slices around a box of places in order; else `gather_rows` of data and updates."""

    operators = ("ScatterElements",)
    conditions = _KNOWN

    def lower(self) -> SSAValue:
        """An update's place is its own, with the index along `axis`."""
        shape, indices = self.shape("data"), self.constant("indices")
        axis = self.axis(len(shape), 0)
        places = np.argwhere(np.ones(indices.shape))
        places[:, axis] = self.known(indices.reshape(-1), shape[axis])
        return self.written(places)


RULES: Rules = (ScatterND, ScatterElements)
