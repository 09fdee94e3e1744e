"""Addresses for buffers that live over known intervals of the file order."""

from __future__ import annotations

import numpy as np

from ...isa.frozen import frozen
from .footprint import Ints, numbers
from .slots import Stays, highest_run, lowest_run, mask

ALIGNMENT = 64
"""Buffers start at multiples of so many bytes: a DRAM burst, and whole hazard lines of every memory."""

SMALL = 64
"""What takes less than this part of a memory is placed from its top downwards, so that what passes by does not cut up
the room that large buffers could come early to."""

NO_PLACE = -1
"""The address of a buffer for which there was no place."""

PATIENCE = 20
"""So often at most is an order of placing tried, those without a place moved to its front."""


@frozen
class Demand:
    """Buffers of one memory: `size` (bytes, or slots of it), alive from `first` to `last`."""

    size: Ints
    first: Ints
    last: Ints

    def __len__(self) -> int:
        return len(self.size)

    def live(self, positions: int) -> Ints:
        """How much is alive at each of `positions` positions."""
        change = np.zeros(positions + 1, dtype=np.int64)
        np.add.at(change, self.first, self.size)
        np.subtract.at(change, self.last + 1, self.size)
        return np.cumsum(change)[:positions]


def aligned(size: int, alignment: int = ALIGNMENT) -> int:
    """`size` rounded up to a multiple."""
    return -(-size // alignment) * alignment


def place(demand: Demand, capacity: int) -> Ints:
    """A start for each buffer in `capacity` slots, such that no two that live together overlap.

    Large and lasting ones first, in several orders, each again and again with those that found no place moved to the
    front. NO_PLACE for some only if nothing of that served all.
    """
    life = demand.last - demand.first + 1
    orders: tuple[Ints, ...] = (
        np.lexsort((demand.first, -life, -demand.size)),
        np.argsort(-demand.size * life, kind="stable"),
        np.lexsort((-demand.size, demand.first)),
    )
    starts = np.zeros(len(demand), dtype=np.int64)
    for order in orders:
        for _ in range(PATIENCE):
            starts = _place_in_order(demand, capacity, order, capacity // SMALL)
            left = starts[order] == NO_PLACE
            if not left.any():
                return starts
            order = np.concatenate((order[left], order[~left]))
    return starts


def place_lowest(demand: Demand) -> Ints:
    """Starts in a memory without end: each buffer, by first use, at the lowest place that is free."""
    births: Ints = np.lexsort((-demand.size, demand.first))
    return _place_in_order(demand, int(demand.size.sum()), births, 0)


def _place_in_order(demand: Demand, capacity: int, order: Ints, small: int) -> Ints:
    """The buffers one by one at the lowest places that are free over their whole lives; those of fewer than `small`
    slots at the highest."""
    # Two buffers live together when one comes to life while the other lives: births are all the times that matter.
    births = np.sort(demand.first)
    begin = np.searchsorted(births, demand.first)
    end = np.searchsorted(births, demand.last, side="right") - 1
    stays = Stays(len(births))
    everything = mask(0, capacity)
    starts = [0] * len(demand)
    size, low, high = numbers(demand.size), numbers(begin), numbers(end)
    for one in numbers(order):
        if not size[one]:
            continue
        free = everything & ~stays.taken(low[one], high[one])
        start = highest_run(free, size[one]) if size[one] < small else lowest_run(free, size[one])
        if start is None:
            starts[one] = NO_PLACE
            continue
        starts[one] = start
        stays.take(low[one], high[one], mask(start, size[one]))
    return np.array(starts, dtype=np.int64)
