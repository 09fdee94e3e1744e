"""What one more inference adds when inferences follow each other without a pause.

The program is placed twice in a row: each instruction of the second copy starts as soon as its queue, its own
waits and the bytes that the first copy still uses allow. The steady cycles are the second copy's end less the
first's. The next inference's inputs are taken to stand in DRAM in time and its outputs to be fetched in time
(buffers of the host's); everything else, temporaries in DRAM included, is reused in place.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..isa.blocks import Space
from ..isa.columns import Int64Array
from .accesses import Accesses
from .timing import Schedule, simulate

_PAGE_BYTES = {Space.DRAM: 4096, Space.SRAM: 256, Space.ACC: 256, Space.REGISTER: 4}
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
    row, page_low, page_high, write = _paged(accesses, host_buffers)
    if not len(row):
        return {}
    pages = int(page_high.max())
    used = np.full((schedule.queues, pages), -1, dtype=np.int64)
    written = np.full((schedule.queues, pages), -1, dtype=np.int64)
    columns = (row.tolist(), page_low.tolist(), page_high.tolist(), write.tolist())
    touches: list[tuple[int, int, int, int]] = list(zip(*columns, strict=True))
    for place, low, high, writes in touches:
        queue = schedule.queue[place]
        used[queue, low:high] = place
        if writes:
            written[queue, low:high] = place
    open_pages: NDArray[np.bool_] = np.any(used >= 0, axis=0)
    left = int(open_pages.sum())
    result: dict[int, tuple[int, ...]] = {}
    waited = np.full((schedule.queues, schedule.queues), -1, dtype=np.int64)
    for place, low, high, writes in touches:
        if not left:
            break
        here = open_pages[low:high]
        if not here.any():
            continue
        last = (used if writes else written)[:, low:high][:, here].max(axis=1)
        queue = schedule.queue[place]
        last[queue] = -1
        new = last > waited[queue]
        if new.any():
            waited[queue] = np.maximum(waited[queue], last)
            result[place] = (*result.get(place, ()), *last[new].tolist())
        if writes:
            # Whoever touches these pages from here on is ordered behind this row by the program itself.
            left -= int(here.sum())
            open_pages[low:high] = False
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
