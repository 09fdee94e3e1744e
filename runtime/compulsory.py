"""The least DRAM traffic that a run needs: weights that it touches, inputs and outputs, each once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..isa.blocks import Block, Space
from ..isa.columns import Int64Array, as_vector
from ..isa.instructions import Gather, LoadBlock
from ..isa.program import Program
from ..isa.record import Instruction


def compulsory_bytes(program: Program, loads: Instruction | None, gathers: Int64Array) -> int:
    """Bytes of weights (as stored) that loads or gathers touch, and of all inputs and outputs.

    `loads` has the `ld.block` rows as columns, None if there are none; `gathers` what gathers fetched,
    [count, 2] of first and one past last byte.
    """
    signatures = sum(item.bytes for item in (*program.inputs, *program.outputs))
    starts = np.array([segment.address for segment in program.segments], dtype=np.int64)
    ends = np.array([segment.address + segment.array.nbytes for segment in program.segments], dtype=np.int64)
    if not len(starts):
        return signatures
    touched = [gathers]
    if isinstance(loads, LoadBlock):
        touched.extend(_loaded(loads, int(starts.min()), int(ends.max())))
    first, last = _union(np.concatenate(touched))
    weights = _below(last, starts, ends) - _below(first, starts, ends)
    return signatures + int(weights.sum())


def gathered_at_most(gathers: Instruction | None) -> Int64Array:
    """What gathers fetch if nothing is known of their ids: as many of a table's rows as they ask for, from
    row 0."""
    if not isinstance(gathers, Gather):
        return np.zeros((0, 2), dtype=np.int64)
    rows: dict[tuple[int, int, int, int], int] = {}
    columns = (gathers.table, gathers.pitch, gathers.row_bytes, gathers.limit, gathers.count)
    for table, pitch, row_bytes, limit, count in zip(*(column.tolist() for column in columns), strict=True):
        key = (table, pitch, row_bytes, limit)
        rows[key] = min(limit, rows.get(key, 0) + count)
    spans = [
        [table + row * pitch, table + row * pitch + row_bytes]
        for (table, pitch, row_bytes, _), count in rows.items()
        for row in range(count)
    ]
    return np.array(spans, dtype=np.int64).reshape(-1, 2)


def _loaded(loads: LoadBlock, low: int, high: int) -> list[Int64Array]:
    """Intervals of DRAM bytes that loads from `low` to `high` touch; blocks that occur again count once."""
    block = loads.dram_block
    count = len(as_vector(block.address, np.size(loads.dram)))
    first, last = (as_vector(bound, count) for bound in block.bounds())
    chosen = np.flatnonzero((first < high) & (last > low))
    columns = [block.address, *block.extents, *block.strides, block.run]
    if not len(chosen):
        return []
    distinct = np.unique(np.stack([as_vector(column, count)[chosen] for column in columns], axis=1), axis=0)
    depth = len(block.extents)
    address, run, sides = distinct[:, 0], distinct[:, -1], distinct[:, 1:-1].T
    return [Block(Space.DRAM, address, tuple(sides[:depth]), tuple(sides[depth:]), run).runs()]


def _union(spans: Int64Array) -> tuple[Int64Array, Int64Array]:
    """The same bytes as disjoint intervals: firsts and one-past-lasts."""
    if not len(spans):
        return spans[:, 0], spans[:, 1]
    spans = spans[np.argsort(spans[:, 0])]
    reach = np.maximum.accumulate(spans[:, 1])
    fresh = np.flatnonzero(np.r_[True, spans[1:, 0] > reach[:-1]])
    return spans[fresh, 0], reach[np.r_[fresh[1:] - 1, len(spans) - 1]]


def _below(places: Int64Array, starts: Int64Array, ends: Int64Array) -> Int64Array:
    """For each place, how many bytes of the segments (ascending, disjoint) lie below it."""
    before = np.concatenate([[0], np.cumsum(ends - starts)])
    index = np.searchsorted(starts, places, side="right")
    inside = np.minimum(places, ends[index - 1]) - starts[index - 1]
    return np.where(index > 0, before[index - 1] + inside, 0)


def intervals_of(parts: Sequence[Int64Array]) -> Int64Array:
    """Intervals [count, 2] of all parts together; none for no parts."""
    return np.concatenate([np.zeros((0, 2), dtype=np.int64), *parts])
