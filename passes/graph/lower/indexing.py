"""Rules for gathering by ids. Ids known when compiling become slices where they can; ids of the run pick rows
of a table, and one out of range faults the run. Negative ids count from the end, as ONNX has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from ....dialects.constants import Array
from ....dialects.elements import shape_of
from ...refusal import RefusalError
from .conditions import constant_operand
from .lowering import Lowering, Rules


class Indexing(Lowering):
    """What the gathering rules share: rows of a table by ids that are arrays or values of the run."""

    def ids(self, name: str) -> SSAValue | Array:
        """The ids as an array if they are known, else as an i32 value."""
        return self.constant(name).astype(np.int64) if self.is_constant(name) else self.build.widen(self.operand(name))

    def checked(self, ids: SSAValue | Array, extent: int) -> SSAValue | Array:
        """Ids counted from the start. Known ids out of range are refused; those of the run are left as they
        are, to be caught where rows are read.
        """
        if isinstance(ids, SSAValue):
            return self.build.map("select", self.build.map("lt", ids, 0), self.build.map("add", ids, extent), ids)
        outside = (ids < -extent) | (ids >= extent)
        if outside.any():
            raise RefusalError(
                f"the constant index {int(ids[outside].flat[0])} is outside the extent {extent}",
                "correct the model",
            )
        return np.where(ids < 0, ids + extent, ids)

    def rows(self, parts: Sequence[tuple[SSAValue | Array, int]], extents: Sequence[int]) -> SSAValue | Array:
        """Row numbers: the sum of each part times its stride, where part i lies inside `extents[i]`. For
        parts of the run that do not, the row is -1, which faults where rows are read; a lone part keeps its
        value, so that the fault names it.
        """
        build = self.build
        if all(not isinstance(part, SSAValue) for part, _ in parts):
            return np.asarray(sum(np.asarray(part) * stride for part, stride in parts))
        if len(parts) == 1 and parts[0][1] == 1:
            return parts[0][0]
        row: SSAValue | None = None
        inside: SSAValue | None = None
        for (part, stride), extent in zip(parts, extents, strict=True):
            if not isinstance(part, SSAValue):
                term = build.constant(np.asarray(part * stride, np.int64))
            else:
                term = part if stride == 1 else build.map("mul", part, stride)
                valid = build.map("and", build.map("ge", part, 0), build.map("lt", part, extent))
                inside = valid if inside is None else build.map("and", inside, valid)
            row = term if row is None else build.map("add", row, term)
        assert row is not None
        assert inside is not None
        return build.map("select", inside, row, -1)

    def pick(self, table: SSAValue, rows: SSAValue | Array) -> SSAValue:
        """Rows of `[R, W]`: `[rows..., W]`; a slice where known rows are evenly spaced."""
        build = self.build
        height, width = shape_of(table)
        if isinstance(rows, SSAValue):
            return build.gather_rows(table, rows, height)
        if rows.size == 0:
            return build.reshape(build.slice(table, (0, 0), (0, width)), (*rows.shape, width))
        view = strided(rows)
        if view is None:
            return build.gather_rows(table, build.constant(rows.astype(np.int32)), height)
        start, count, step, narrow = view
        picked = build.slice_axis(table, 0, start, count, step)
        return build.broadcast(build.reshape(picked, (*narrow, width)), (*rows.shape, width))


def strided(rows: Array) -> tuple[int, int, int, tuple[int, ...]] | None:
    """Rows that are one evenly spaced run, in order, stretched over some axes: (start, count, step, shape
    without the stretched axes, which are 1). None for any other.
    """
    narrow = tuple(
        1 if extent > 1 and (rows == rows.take([0], axis)).all() else extent for axis, extent in enumerate(rows.shape)
    )
    run = rows[tuple(slice(0, extent) for extent in narrow)].reshape(-1)
    if run.size == 1:
        return int(run[0]), 1, 1, narrow
    step = int(run[1] - run[0])
    if step == 0 or (np.diff(run) != step).any():
        return None
    return int(run[0]), run.size, step, narrow


class Gather(Indexing):
    """`slice` for known, evenly spaced ids; else `gather_rows` of the data as a table of rows."""

    operators = ("Gather",)

    def lower(self) -> SSAValue:
        """Along the first axis the ids are the rows; along another one, known ids cut that axis and ids of
        the run are made rows of the flattened data.
        """
        build, data = self.build, self.operand("data")
        shape = self.shape("data")
        axis = self.axis(len(shape), 0)
        ids = self.checked(self.ids("indices"), shape[axis])
        before, after = shape[:axis], shape[axis + 1 :]
        ids_shape = self.shape("indices")
        if not isinstance(ids, SSAValue) and ids.size and (view := strided(ids)) is not None:
            start, count, step, narrow = view
            cut = build.reshape(build.slice_axis(data, axis, start, count, step), (*before, *narrow, *after))
            return build.broadcast(cut, self.result_shape())
        outer, width = prod(before), prod(after)
        table = build.reshape(data, (outer * shape[axis], width))
        if outer == 1:
            return build.reshape(self.pick(table, ids), self.result_shape())
        spread = (1,) * len(ids_shape)
        base = np.arange(outer).reshape(outer, *spread) * shape[axis]
        offset: SSAValue | Array = (
            build.reshape(ids, (1, *ids_shape)) if isinstance(ids, SSAValue) else ids.reshape(1, *ids_shape)
        )
        rows = self.rows(((base, 1), (offset, 1)), (outer, shape[axis]))
        return build.reshape(self.pick(table, rows), self.result_shape())


class GatherElements(Indexing):
    """`gather_rows` of the data as a table of single elements."""

    operators = ("GatherElements",)

    def lower(self) -> SSAValue:
        """The row is the place in the flattened data with the id in place of the axis."""
        build, data = self.build, self.operand("data")
        shape, ids_shape = self.shape("data"), self.shape("indices")
        axis = self.axis(len(shape), 0)
        ids = self.checked(self.ids("indices"), shape[axis])
        strides = [prod(shape[place + 1 :]) for place in range(len(shape))]
        base = np.zeros(ids_shape, np.int64)
        for place, (extent, stride) in enumerate(zip(ids_shape, strides, strict=True)):
            if place != axis:
                spread = [extent if place == other else 1 for other in range(len(shape))]
                base = base + np.arange(extent).reshape(spread) * stride
        rows = self.rows(((base, 1), (ids, strides[axis])), (prod(shape), shape[axis]))
        picked = self.pick(build.reshape(data, (prod(shape), 1)), rows)
        return build.reshape(picked, self.result_shape())


class GatherND(Indexing):
    """`slice` and `broadcast` for known, evenly spaced ids; else `gather_rows`."""

    operators = ("GatherND",)

    def lower(self) -> SSAValue:
        """The row is the sum of each index times the stride of its axis, with batch axes counted on."""
        build, data = self.build, self.operand("data")
        shape, ids_shape = self.shape("data"), self.shape("indices")
        batch = self.attribute("batch_dims", int, 0)
        depth = ids_shape[-1]
        indexed = shape[batch : batch + depth]
        width = prod(shape[batch + depth :])
        places = ids_shape[:-1]
        batches = np.arange(prod(shape[:batch])).reshape(shape[:batch] + (1,) * (len(places) - batch))
        parts: list[tuple[SSAValue | Array, int]] = [
            (np.broadcast_to(batches, places), prod(indexed)),
            *(
                (self.checked(self.component("indices", place), extent), prod(indexed[place + 1 :]))
                for place, extent in enumerate(indexed)
            ),
        ]
        rows = self.rows(parts, (prod(shape[:batch]), *indexed))
        table = build.reshape(data, (prod(shape[:batch]) * prod(indexed), width))
        return build.reshape(self.pick(table, rows), self.result_shape())

    def component(self, name: str, place: int) -> SSAValue | Array:
        """One index of every tuple of indices."""
        ids = self.ids(name)
        if not isinstance(ids, SSAValue):
            return ids[..., place]
        shape = shape_of(ids)
        return self.build.reshape(self.build.slice_axis(ids, len(shape) - 1, place, 1), shape[:-1])


class OneHot(Indexing):
    """`map` of `eq` with the index along the new axis, then of `select`."""

    operators = ("OneHot",)
    conditions = (constant_operand("depth"),)

    def lower(self) -> SSAValue:
        """An id outside the depth gives the off value everywhere."""
        build = self.build
        shape = self.result_shape()
        axis = self.axis(len(shape))
        depth = shape[axis]
        ids = self.build.cast(self.operand("indices"), i32)
        wrapped = build.map("select", build.map("lt", ids, 0), build.map("add", ids, depth), ids)
        hot = build.map("eq", build.unsqueeze(wrapped, axis), build.iota(shape, axis))
        values = self.operand("values")
        off, on = (build.reshape(build.slice_axis(values, 0, place, 1), ()) for place in (0, 1))
        return build.map("select", hot, on, off)


class Trilu(Lowering):
    """`map` of `select` by a comparison of row and column index."""

    operators = ("Trilu",)

    def lower(self) -> SSAValue:
        """Kept where column - row >= k (upper) or <= k (lower); bool is kept by `and`."""
        build, value = self.build, self.operand(0)
        shape = self.shape(0)[-2:]
        difference = build.map("sub", build.iota(shape, 1), build.iota(shape, 0))
        bound: SSAValue | int = 0
        if self.has("k"):
            known = self.is_constant("k")
            bound = int(self.constant("k").reshape(())) if known else build.reshape(self.operand("k"), ())
        if isinstance(bound, int):
            bound = max(min(bound, 2**31 - 1), -(2**31))
        kept = build.map("ge" if self.attribute("upper", int, 1) else "le", difference, bound)
        return build.map("select", kept, value, 0)


RULES: Rules = (Gather, GatherElements, GatherND, OneHot, Trilu)
