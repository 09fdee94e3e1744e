"""What one more inference adds when inferences follow each other without a pause.

The program is placed twice in a row: each instruction of the second copy starts as soon as its queue, its own
waits and the bytes that the first copy still uses allow. The steady cycles are the second copy's end less the
first's. The next inference's inputs are taken to stand in DRAM in time and its outputs to be fetched in time
(buffers of the host's); everything else, temporaries in DRAM included, is reused in place.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..isa.blocks import Space
from ..isa.columns import Int64Array
from .accesses import Accesses
from .timing import Schedule, simulate

_PAGE_BYTES = {Space.DRAM: 4096, Space.SRAM: 1024, Space.ACC: 1024, Space.REGISTER: 4}
"""Grain at which bytes still in use are tracked; coarser than hazard lines, so never too early."""


def steady_cycles(schedule: Schedule, accesses: Accesses, host_buffers: Iterable[tuple[int, int]]) -> int:
    """Cycles per further inference; `host_buffers` are (first, one past last) DRAM bytes of inputs and
    outputs."""
    if not len(schedule):
        return 0
    count = len(schedule)
    again = [tuple(row + count for row in waits) for waits in schedule.waits]
    for row, extra in _reuse_waits(schedule, accesses, host_buffers).items():
        again[row] = (*again[row], *extra)
    twice = Schedule(
        schedule.queues,
        [*schedule.queue] * 2,
        [*schedule.waits, *again],
        [*schedule.busy] * 2,
        [*schedule.latency] * 2,
        [*schedule.fill] * 2,
        [*schedule.channel] * 2,
    )
    retire = simulate(twice).retire
    return int(retire.max() - retire[:count].max())


def _reuse_waits(
    schedule: Schedule, accesses: Accesses, host_buffers: Iterable[tuple[int, int]]
) -> dict[int, tuple[int, ...]]:
    """For rows of the second copy, the rows of the first that must have retired because of memory used
    again."""
    row, low, high, write = _paged(accesses, host_buffers)
    if not len(row):
        return {}
    queue = np.array(schedule.queue, dtype=np.int64)[row]
    pages = int(high.max())
    # Every access by page: its place among the accesses, and the page.
    access = np.repeat(np.arange(len(row)), high - low)
    page = np.arange(len(access)) - np.repeat(np.cumsum(high - low) - high, high - low)
    used = np.full((schedule.queues, pages), -1, dtype=np.int64)
    np.maximum.at(used, (queue[access], page), row[access])
    writing = write[access] == 1
    written = np.full((schedule.queues, pages), -1, dtype=np.int64)
    np.maximum.at(written, (queue[access[writing]], page[writing]), row[access[writing]])
    first_write = np.full(pages, len(schedule), dtype=np.int64)
    np.minimum.at(first_write, page[writing], row[access[writing]])
    # Who touches a page after its first writer is ordered behind that one by the program itself.
    early = (row[access] <= first_write[page]) & (first_write[page] < len(schedule))
    result: dict[int, tuple[int, ...]] = {}
    waited = np.full((schedule.queues, schedule.queues), -1, dtype=np.int64)
    for number in np.unique(access[early]).tolist():
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
