"""The waits that a program needs and no more: a wait is written only where nothing else implies it.

Instruction s happens before instruction r when s stands earlier in r's queue, or r or something before r in
its queue waits for s or for something after s in s's queue. Each row's vector clock says how much of every
queue happened before it. Conflicts are taken latest first, so that a wait kept brings in all that it implies
before the next is asked about.
"""

from __future__ import annotations

import numpy as np

from ...isa.frozen import frozen
from .dependence import Order, conflicts_beyond_queue
from .footprint import Ints, numbers

WINDOW = 1 << 15
"""A wait names an instruction fewer than so many retirements behind the newest in file order of its queue."""


@frozen
class Waits:
    """Every wait: `row` waits for instruction `number` of `queue`. By column, a row's waits together."""

    row: Ints
    queue: Ints
    number: Ints

    def __len__(self) -> int:
        return len(self.row)


Clock = tuple[int, ...]
"""How many instructions of each queue have happened."""


def needed_waits(order: Order, conflicts: Ints) -> Waits:
    """The fewest waits that order every conflict. `conflicts[row, queue]` as `AtomEvents.conflicts` gives
    them."""
    rows_in_order = np.argsort(order.position)
    fresh = conflicts_beyond_queue(order, conflicts)[rows_in_order]
    waiting = np.flatnonzero(fresh.any(axis=1))
    rows = rows_in_order[waiting]
    newest = _newest_numbers(order, rows_in_order)[waiting]
    wanted = np.where(fresh[waiting], conflicts[rows], 0)
    # An instruction too far behind is named through a later one of its queue.
    wanted = np.where(wanted > 0, np.maximum(wanted, newest - (WINDOW - 1)), 0)
    place = _positions_by_number(order, rows_in_order)
    # clocks[q][n]: what has happened once instruction n of queue q has retired; of q itself out of date.
    start: Clock = (0,) * order.queues
    clocks: list[list[Clock]] = [[start] for _ in range(order.queues)]
    result: list[tuple[int, int, int]] = []
    every: list[list[int]] = wanted.tolist()
    columns = (numbers(rows), numbers(order.queue[rows]), numbers(order.number[rows]))
    for row, queue, number, targets in zip(*columns, every, strict=True):
        mine = clocks[queue]
        clock = mine[-1]
        unmet = [(place[q][target - 1], q, target) for q, target in enumerate(targets) if target > clock[q]]
        if not unmet:
            continue
        if len(unmet) > 1:
            unmet.sort(reverse=True)
        for _, q, target in unmet:
            if target > clock[q]:
                result.append((row, q, target))
                theirs = clocks[q]
                other = theirs[target] if target < len(theirs) else theirs[-1]
                joined = list(map(max, clock, other))
                joined[q] = target
                clock = tuple(joined)
        mine.extend([mine[-1]] * (number - len(mine)))
        mine.append(clock)
    return Waits(*np.array(result, dtype=np.int64).reshape(-1, 3).T)


def _newest_numbers(order: Order, rows_in_order: Ints) -> Ints:
    """`[position, queue]`: how many instructions of each queue stand before that position."""
    queue = order.queue[rows_in_order]
    counts = np.zeros((len(rows_in_order) + 1, order.queues), dtype=np.int64)
    for one in range(order.queues):
        np.cumsum(queue == one, out=counts[1:, one])
    return counts[:-1]


def _positions_by_number(order: Order, rows_in_order: Ints) -> list[list[int]]:
    """For each queue the file positions of its instructions, in order."""
    queue = order.queue[rows_in_order]
    return [numbers(np.flatnonzero(queue == one)) for one in range(order.queues)]
