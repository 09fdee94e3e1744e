"""What one more inference adds when inferences follow each other without a pause.

The program is placed twice in a row: each instruction of the second copy starts as soon as its queue, its own
waits and the bytes that the first copy still uses allow. The steady cycles are the second copy's end less the
first's. The next inference's inputs are taken to stand in DRAM in time and its outputs to be fetched in time
(buffers of the host's); everything else, temporaries in DRAM included, is reused in place.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import numpy as np

from ..isa.blocks import Space
from ..isa.columns import Int64Array
from .accesses import Accesses
from .timing import Placing, Schedule, simulate
from .waits import Waits

_PAGE_BYTES = {Space.DRAM: 4096, Space.SRAM: 1024, Space.ACC: 1024, Space.REGISTER: 4}
"""Grain at which bytes still in use are tracked; coarser than hazard lines, so never too early."""


def steady_cycles(
    schedule: Schedule, begun: Placing, accesses: Accesses, host_buffers: Iterable[tuple[int, int]]
) -> int:
    """Cycles per further inference; `begun` is of the timeline of one, `host_buffers` are (first, one past last) DRAM
    bytes of inputs and outputs."""
    if not len(schedule):
        return 0
    count, waits = len(schedule), schedule.waits
    extra = _reuse_waits(schedule, accesses, host_buffers)
    waiting = np.repeat(np.array([*extra], dtype=np.int64), [len(rows) for rows in extra.values()])
    reused = np.fromiter(chain.from_iterable(extra.values()), dtype=np.int64)
    again = Waits(np.concatenate([waits.first, len(waits.rows) + waits.first[1:]]), np.tile(waits.rows, 2))
    again.rows[len(waits.rows) :] += count
    twice = Schedule(
        schedule.queues,
        np.tile(schedule.queue, 2),
        again.and_pairs(waiting + count, reused),
        *(np.tile(column, 2) for column in (schedule.busy, schedule.latency, schedule.fill, schedule.channel)),
    )
    timeline = simulate(twice, begun)
    return timeline.cycles - int(timeline.retire[:count].max())


def _reuse_waits(
    schedule: Schedule, accesses: Accesses, host_buffers: Iterable[tuple[int, int]]
) -> dict[int, tuple[int, ...]]:
    """For rows of the second copy, the rows of the first that must have retired because of memory used
    again."""
    row, low, high, write = _paged(accesses, host_buffers)
    if not len(row):
        return {}
    queue = schedule.queue[row]
    pages, count = int(high.max()), len(schedule)
    writing = np.flatnonzero(write)
    shift = queue * pages
    used = covering_maximum(shift + low, shift + high, row, schedule.queues * pages)
    written = covering_maximum((shift + low)[writing], (shift + high)[writing], row[writing], len(used))
    used, written = (last.reshape(schedule.queues, pages) for last in (used, written))
    first_write = count - covering_maximum(low[writing], high[writing], count - row[writing], pages)
    # Who touches a page after its first writer is ordered behind that one by the program itself.
    early = row <= range_maximum(np.where(first_write <= count, first_write, -1), low, high)
    result: dict[int, tuple[int, ...]] = {}
    waited = np.full((schedule.queues, schedule.queues), -1, dtype=np.int64)
    for number in np.flatnonzero(early).tolist():
        place, own = int(row[number]), int(queue[number])
        last = (used if write[number] else written)[:, low[number] : high[number]].max(axis=1)
        last[own] = -1
        new = last > waited[own]
        if new.any():
            waited[own] = np.maximum(waited[own], last)
            result[place] = (*result.get(place, ()), *last[new].tolist())
    return result


def _paged(
    accesses: Accesses, host_buffers: Iterable[tuple[int, int]]
) -> tuple[Int64Array, Int64Array, Int64Array, Int64Array]:
    """Row, first page, one past the last page (pages of all memories in one numbering), and writes, by
    access.

    Left out are reads of what the program never writes, and the host's buffers.
    """
    row, space, low, high, write = accesses.spans
    kept = np.ones(len(row), dtype=np.bool_)
    for first, last in host_buffers:
        kept &= ~((space == Space.DRAM) & (low >= first) & (high <= last))
    for memory in Space:
        inside = kept & (space == memory)
        writes = inside & (write == 1)
        if writes.any():
            kept &= ~inside | ((low < high[writes].max()) & (high > low[writes].min()))
        else:
            kept &= ~inside
    row, space, low, high, write = (column[kept] for column in (row, space, low, high, write))
    page = np.array([_PAGE_BYTES[memory] for memory in Space])[space]
    page_low, page_high = low // page, -(-high // page)
    start = 0
    for memory in Space:
        inside = space == memory
        if inside.any():
            shift = start - int(page_low[inside].min())
            page_low[inside] += shift
            page_high[inside] += shift
            start = int(page_high[inside].max())
    return row, page_low, page_high, write


def covering_maximum(low: Int64Array, high: Int64Array, value: Int64Array, size: int) -> Int64Array:
    """For each place below `size` the largest value of the ranges `low` to `high` (not included) that cover
    it, -1 where none does. Values are not negative; no range is empty."""
    # A range is covered by two whose length is a power of two, on which every level halves to the one below.
    level = _levels(high - low)
    table = np.full((int(level.max(initial=0)) + 1, size), -1, dtype=np.int64)
    places = level * size + np.stack([low, high - (1 << level)])
    np.maximum.at(table.ravel(), places.ravel(), np.tile(value, 2))
    for upper in range(len(table) - 1, 0, -1):
        half = 1 << (upper - 1)
        lower = table[upper - 1]
        np.maximum(lower, table[upper], out=lower)
        np.maximum(lower[half:], table[upper, :-half], out=lower[half:])
    return table[0]


def range_maximum(values: Int64Array, low: Int64Array, high: Int64Array) -> Int64Array:
    """The largest of `values` in each of the ranges `low` to `high` (not included); none is empty."""
    level = _levels(high - low)
    table = np.repeat(values[None], int(level.max(initial=0)) + 1, axis=0)
    for upper in range(1, len(table)):
        half = 1 << (upper - 1)
        table[upper] = table[upper - 1]
        np.maximum(table[upper, :-half], table[upper - 1, half:], out=table[upper, :-half])
    return np.maximum(table[level, low], table[level, high - (1 << level)])


def _levels(lengths: Int64Array) -> Int64Array:
    """The largest power of two within each length, as exponent."""
    return np.frexp(lengths.astype(np.float64))[1].astype(np.int64) - 1
