"""Addresses for buffers that live over known intervals of the file order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .footprint import Ints, numbers
from .free_space import FreeSpace

ALIGNMENT = 64
"""Buffers start at multiples of so many bytes: a DRAM burst, and whole hazard lines of every memory."""

NO_PLACE = -1
"""The address of a buffer for which there was no place."""


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


def place_lowest(demand: Demand) -> Ints:
    """Start addresses in a memory without end, each buffer at the lowest free place, by first use."""
    free = FreeSpace(int(demand.size.sum()))
    births: Ints = np.lexsort((-demand.size, demand.first))
    deaths: Ints = np.argsort(demand.last, kind="stable")
    size, first, last = numbers(demand.size), numbers(demand.first), numbers(demand.last)
    dead = [one for one in numbers(deaths) if size[one]]
    placed = [0] * len(size)
    gone = 0
    for one in numbers(births):
        if not size[one]:
            continue
        while gone < len(dead) and last[dead[gone]] < first[one]:
            end = placed[dead[gone]] + size[dead[gone]]
            free.release(placed[dead[gone]], end, 0)
            gone += 1
        placed[one] = free.lowest(size[one])
        free.take(placed[one], placed[one] + size[one])
    return np.array(placed, dtype=np.int64)


def place_by_size(demand: Demand, capacity: int) -> Ints:
    """The largest (then longest) first, each at the lowest place that is free over its whole life.

    NO_PLACE for those that found none. The cost grows with the square of the number of buffers.
    """
    addresses = np.where(demand.size > 0, NO_PLACE, 0)
    order: Ints = np.lexsort((demand.first, demand.first - demand.last, -demand.size))
    order = order[demand.size[order] > 0]
    first, last, starts, ends = (np.zeros(len(order), dtype=np.int64) for _ in range(4))
    count = 0
    for one in numbers(order):
        beside = np.flatnonzero((first[:count] <= demand.last[one]) & (last[:count] >= demand.first[one]))
        beside = beside[np.argsort(starts[beside], kind="stable")]
        reach = np.maximum.accumulate(np.append(0, ends[beside]))
        gaps = np.append(starts[beside], capacity) - reach
        fits = np.flatnonzero(gaps >= demand.size[one])
        if len(fits):
            addresses[one] = reach[fits[0]]
            first[count], last[count] = demand.first[one], demand.last[one]
            starts[count], ends[count] = addresses[one], addresses[one] + demand.size[one]
            count += 1
    return addresses
