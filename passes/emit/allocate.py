"""Addresses for buffers that live over intervals of the file order, in one memory of fixed size.

A buffer's block is reused once its last instruction stands before the new buffer's first. Among the free
places the one that has been free longest is taken, so that the wait for its last reader has most likely been
over for long; where that scatters the free space too much, tighter orders of placement are tried.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .footprint import Ints, numbers

ALIGNMENT = 64
"""Buffers start at multiples of so many bytes: a DRAM burst, and whole hazard lines of every memory."""

OFFLINE_LIMIT = 20_000
"""The most buffers for which placement by size is tried: its cost grows with the square of their number."""


@dataclass(frozen=True)
class Demand:
    """Buffers of one memory: `size` (bytes, multiples of ALIGNMENT), alive from `first` to `last`."""

    size: Ints
    first: Ints
    last: Ints

    def __len__(self) -> int:
        return len(self.size)

    def live_bytes(self, positions: int) -> Ints:
        """Bytes alive at each of `positions` positions."""
        change = np.zeros(positions + 1, dtype=np.int64)
        np.add.at(change, self.first, self.size)
        np.subtract.at(change, self.last + 1, self.size)
        return np.cumsum(change)[:positions]


def aligned(size: int) -> int:
    """`size` rounded up to ALIGNMENT."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def place(demand: Demand, capacity: int) -> Ints | None:
    """Start addresses such that buffers that live together never overlap; None if no order of placement found
    any."""
    strategies: list[Callable[[Demand, int], Ints | None]] = [_oldest_free, _two_ended]
    if len(demand) <= OFFLINE_LIMIT:
        strategies.append(_by_size)
    for strategy in strategies:
        addresses = strategy(demand, capacity)
        if addresses is not None:
            return addresses
    return None


def place_lowest(demand: Demand) -> Ints:
    """Start addresses in a memory without end, each buffer at the lowest place that is free."""
    addresses = _sweep(demand, int(demand.size.sum()), lambda free, one: free.lowest(int(demand.size[one])))
    assert addresses is not None
    return addresses


@dataclass(slots=True)
class _FreeSpace:
    """Free pieces of a memory by address; `since[i]` is the position after which piece i has been free."""

    starts: list[int]
    ends: list[int]
    since: list[int]

    def release(self, start: int, end: int, when: int) -> None:
        """Give [start, end) back."""
        at = bisect_left(self.starts, start)
        self.starts.insert(at, start)
        self.ends.insert(at, end)
        self.since.insert(at, when)
        # Neighbours join where that loses nothing that matters: long runs of pieces would only slow the
        # search.
        if len(self.starts) > 48:
            self._join()

    def _join(self) -> None:
        starts, ends, since = [self.starts[0]], [self.ends[0]], [self.since[0]]
        for start, end, when in zip(self.starts[1:], self.ends[1:], self.since[1:], strict=True):
            if ends[-1] == start:
                ends[-1], since[-1] = end, max(since[-1], when)
            else:
                starts.append(start)
                ends.append(end)
                since.append(when)
        self.starts, self.ends, self.since = starts, ends, since

    def oldest(self, size: int) -> int | None:
        """A start of `size` free bytes whose latest release is earliest; of equals the tightest, then the
        lowest."""
        starts, ends, since = self.starts, self.ends, self.since
        best: tuple[int, int] | None = None
        found: int | None = None
        count = len(starts)
        for i in range(count):
            start, latest, j = starts[i], since[i], i
            while ends[j] - start < size:
                if j + 1 == count or starts[j + 1] != ends[j]:
                    break
                j += 1
                latest = max(latest, since[j])
            else:
                rank = (latest, ends[j] - start)
                if best is None or rank < best:
                    best, found = rank, start
        return found

    def lowest(self, size: int) -> int | None:
        """The lowest start of `size` free bytes."""
        begin = end = -1
        for start, stop in zip(self.starts, self.ends, strict=True):
            if start != end:
                begin = start
            end = stop
            if end - begin >= size:
                return begin
        return None

    def highest(self, size: int) -> int | None:
        """The highest start of `size` free bytes."""
        begin = end = -1
        for start, stop in zip(reversed(self.starts), reversed(self.ends), strict=True):
            if stop != begin:
                end = stop
            begin = start
            if end - begin >= size:
                return end - size
        return None

    def take(self, start: int, end: int) -> None:
        """Remove [start, end), which is free."""
        at = bisect_left(self.starts, start)
        if at == len(self.starts) or self.starts[at] > start:
            at -= 1
        pieces: list[tuple[int, int, int]] = []
        stop = at
        while stop < len(self.starts) and self.starts[stop] < end:
            if self.starts[stop] < start:
                pieces.append((self.starts[stop], start, self.since[stop]))
            if self.ends[stop] > end:
                pieces.append((end, self.ends[stop], self.since[stop]))
            stop += 1
        self.starts[at:stop] = [piece[0] for piece in pieces]
        self.ends[at:stop] = [piece[1] for piece in pieces]
        self.since[at:stop] = [piece[2] for piece in pieces]


def _sweep(demand: Demand, capacity: int, choose: Callable[[_FreeSpace, int], int | None]) -> Ints | None:
    """Place buffers in order of their first use; `choose(free, buffer)` gives the start or None."""
    free = _FreeSpace([0], [capacity], [-1])
    addresses = np.zeros(len(demand), dtype=np.int64)
    births: Ints = np.lexsort((-demand.size, demand.first))
    deaths: Ints = np.argsort(demand.last, kind="stable")
    size, first, last = numbers(demand.size), numbers(demand.first), numbers(demand.last)
    dead = numbers(deaths)
    placed: list[int] = [-1] * len(size)
    next_death = 0
    for one in numbers(births):
        if size[one] == 0:
            placed[one] = 0
            continue
        now = first[one]
        while next_death < len(dead) and last[dead[next_death]] < now:
            gone = dead[next_death]
            if size[gone]:
                free.release(placed[gone], placed[gone] + size[gone], last[gone])
            next_death += 1
        start = choose(free, one)
        if start is None:
            return None
        free.take(start, start + size[one])
        placed[one] = start
    addresses[:] = placed
    return addresses


def _oldest_free(demand: Demand, capacity: int) -> Ints | None:
    """Long-lived buffers from the top, the others where space has been free longest."""
    size = demand.size.tolist()
    resident = _long_lived(demand)

    def choose(free: _FreeSpace, one: int) -> int | None:
        return free.highest(size[one]) if resident[one] else free.oldest(size[one])

    return _sweep(demand, capacity, choose)


def _two_ended(demand: Demand, capacity: int) -> Ints | None:
    """Long-lived buffers from the top, the others from the bottom."""
    size = demand.size.tolist()
    resident = _long_lived(demand)

    def choose(free: _FreeSpace, one: int) -> int | None:
        return free.highest(size[one]) if resident[one] else free.lowest(size[one])

    return _sweep(demand, capacity, choose)


def _long_lived(demand: Demand) -> list[bool]:
    """Which buffers outlive most: four times the mean lifetime or more, weighted by size."""
    life = demand.last - demand.first + 1
    weight = int(demand.size.sum())
    mean = float((life * demand.size).sum()) / weight if weight else 0.0
    return (life >= max(4 * mean, 1)).tolist()


def _by_size(demand: Demand, capacity: int) -> Ints | None:
    """The largest (then longest) first, each at the lowest place that is free over its whole life."""
    addresses = np.zeros(len(demand), dtype=np.int64)
    order = np.lexsort((demand.first, -(demand.last - demand.first), -demand.size))
    order = order[demand.size[order] > 0]
    first, last, starts, ends = (np.zeros(len(order), dtype=np.int64) for _ in range(4))
    for count, one in enumerate(order.tolist()):
        beside = np.flatnonzero((first[:count] <= demand.last[one]) & (last[:count] >= demand.first[one]))
        low = starts[beside]
        by_address = np.argsort(low, kind="stable")
        reach = np.maximum.accumulate(np.append(0, ends[beside][by_address]))
        gaps = np.append(low[by_address], capacity) - reach
        fits = np.flatnonzero(gaps >= demand.size[one])
        if not len(fits):
            return None
        addresses[one] = reach[fits[0]]
        first[count], last[count] = demand.first[one], demand.last[one]
        starts[count], ends[count] = addresses[one], addresses[one] + demand.size[one]
    return addresses
