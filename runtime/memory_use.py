"""The memories on chip over time: how full each is, when it is fullest, and of what.

A buffer takes its bytes from the cycle at which the first instruction that needs it starts until the last one has
retired. In time a buffer may come while one that it takes bytes over from is still being read elsewhere: bytes of two
buffers count once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..isa.blocks import Space
from ..isa.columns import Int64Array
from ..isa.machine import Machine
from ..isa.occupancy import Occupancy
from .report import MemoryRow, Occupant
from .timing import Timeline

INTERVALS = 64
"""Equal stretches of the run that the course of a memory's use is given for."""


def memory_rows(occupancy: Occupancy, timeline: Timeline, machine: Machine) -> tuple[MemoryRow, ...]:
    """One row a memory on chip; none where the program does not say what lies where."""
    if not len(occupancy) or not timeline.cycles:
        return ()
    return tuple(_row(occupancy, timeline, machine, space) for space in (Space.SRAM, Space.ACC))


def _row(occupancy: Occupancy, timeline: Timeline, machine: Machine, space: Space) -> MemoryRow:
    mine = occupancy.within(space)
    begin, end = timeline.start[occupancy.first[mine]], timeline.retire[occupancy.last[mine]]
    size, address = occupancy.bytes[mine], occupancy.address[mine]
    times, used = course_of_use(occupancy, timeline, space)
    fullest = int(used.argmax())
    cycle = int(times[fullest])
    alive = np.flatnonzero((begin <= cycle) & (cycle < end))
    alive = alive[np.argsort(-size[alive], kind="stable")]
    numbers: list[int] = occupancy.buffer[mine[alive]].tolist()
    first: list[int] = address[alive].tolist()
    length: list[int] = size[alive].tolist()
    stays = zip(numbers, first, length, strict=True)
    spans = np.diff(times, append=timeline.cycles)
    memory_bytes = machine.memory_bytes(space)
    return MemoryRow(
        memory=space.text,
        bytes=memory_bytes,
        peak_bytes=int(used[fullest]),
        peak_cycle=cycle,
        mean_bytes=float((used * spans).sum() / timeline.cycles),
        fragmentation=_holes(address[alive], size[alive], memory_bytes) / memory_bytes,
        occupants=tuple(Occupant(occupancy.buffers[number].name, at, count) for number, at, count in stays),
        interval_cycles=timeline.cycles / INTERVALS,
        interval_mean_bytes=tuple(_means(times, used, timeline.cycles)),
    )


def course_of_use(occupancy: Occupancy, timeline: Timeline, space: Space) -> tuple[Int64Array, Int64Array]:
    """Cycles at which the bytes of a memory in use change, ascending from 0, and the bytes in use from there on."""
    mine = occupancy.within(space)
    begin, end = timeline.start[occupancy.first[mine]], timeline.retire[occupancy.last[mine]]
    shared = _shared(occupancy, mine, begin, end)
    return _course(
        np.concatenate([begin, shared[1]]),
        np.concatenate([end, shared[0]]),
        np.concatenate([occupancy.bytes[mine], shared[2]]),
        timeline.cycles,
    )


def _shared(occupancy: Occupancy, mine: Int64Array, begin: Int64Array, end: Int64Array) -> Int64Array:
    """What two of the stays `mine` share while both last: columns of first cycle, end, and bytes, int64 [3, pairs]."""
    order = np.argsort(begin, kind="stable")
    begin, end, stay = begin[order], end[order], mine[order]
    # Each with those that begin behind it while it lasts.
    count = np.maximum(np.searchsorted(begin, end) - np.arange(len(order)) - 1, 0)
    one = np.repeat(np.arange(len(order)), count)
    other = one + 1 + np.arange(len(one)) - np.repeat(np.cumsum(count) - count, count)
    low = occupancy.address[stay]
    high = low + occupancy.bytes[stay]
    shared = np.minimum(high[one], high[other]) - np.maximum(low[one], low[other])
    pairs = np.flatnonzero(shared > 0)
    one, other = one[pairs], other[pairs]
    return np.stack([begin[other], np.minimum(end[one], end[other]), shared[pairs]])


def _holes(address: Int64Array, size: Int64Array, memory_bytes: int) -> int:
    """Free bytes outside of the largest free block, `size` bytes from each `address` being taken."""
    order = np.argsort(address)
    reach = np.maximum.accumulate(np.append(0, (address + size)[order]))
    free = np.maximum(np.append(address[order], memory_bytes) - reach, 0)
    return int(free.sum() - free.max())


def _course(begin: Int64Array, end: Int64Array, size: Int64Array, cycles: int) -> tuple[Int64Array, Int64Array]:
    """Cycles at which the bytes in use change, ascending from 0, and the bytes in use from there on."""
    times, event = np.unique(np.concatenate([[0], begin, end]), return_inverse=True)
    change = np.bincount(event[1:], weights=np.concatenate([size, -size]), minlength=len(times))
    kept = times < cycles
    return times[kept], np.cumsum(change.astype(np.int64))[kept]


def _means(times: Int64Array, used: Int64Array, cycles: int) -> list[float]:
    """The mean of the bytes in use over each of INTERVALS equal stretches of `cycles`."""
    edges = np.linspace(0, cycles, INTERVALS + 1)
    area: NDArray[np.float64] = np.concatenate([[0.0], np.cumsum(used * np.diff(times, append=cycles))])
    return (np.diff(np.interp(edges, np.append(times, cycles), area)) / (cycles / INTERVALS)).tolist()
