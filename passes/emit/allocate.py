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

PATIENCE = 20
"""So often at most is an order of placing tried, those without a place moved to its front."""

EFFORT = 500_000_000
"""So many pairs of buffers are compared for that at most in each order, once around apart."""


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
    return _place_in_order(demand, capacity, np.lexsort((demand.first, demand.first - demand.last, -demand.size)))


def place_with_patience(demand: Demand, capacity: int) -> Ints:
    """As `place_by_size`, in other orders too, each again and again with those that found no place moved to the front.

    NO_PLACE for some only if nothing of that served all.
    """
    life = demand.last - demand.first + 1
    rounds = min(PATIENCE, 1 + EFFORT // max(len(demand) ** 2, 1))
    orders: tuple[Ints, ...] = (
        np.argsort(-demand.size * life, kind="stable"),
        np.lexsort((-demand.size, demand.first)),
        np.lexsort((demand.first, -life, -demand.size)),
    )
    addresses = np.zeros(len(demand), dtype=np.int64)
    for order in orders:
        for _ in range(rounds):
            addresses = _place_in_order(demand, capacity, order)
            left = addresses[order] == NO_PLACE
            if not left.any():
                return addresses
            order = np.concatenate((order[left], order[~left]))
    return addresses


def _place_in_order(demand: Demand, capacity: int, order: Ints) -> Ints:
    addresses = np.where(demand.size > 0, NO_PLACE, 0)
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
