"""A rough timeline of the natural order, before addresses and waits are known: what hides what.

Every instruction starts when its queue is free and what it depends on within its buffers is done. Loads are
taken to be in time: whether they are is the question that the timeline helps to answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .dependence import Order, conflicts_beyond_queue
from .footprint import Ints, numbers


@dataclass(frozen=True)
class Estimate:
    """Cycle at which each row starts and is done; for loads 0 and 0."""

    start: Ints
    finish: Ints


def estimate(order: Order, conflicts: Ints, busy: Ints, is_load: NDArray[np.bool_]) -> Estimate:
    """The timeline of the natural order; `conflicts` are those within instances."""
    rows = len(order.position)
    load_queues = {int(queue) for queue in np.unique(order.queue[is_load])}
    others = [queue for queue in range(order.queues) if queue not in load_queues]
    # Finishing times by queue and number; a queue's are not decreasing, so only the last conflict of each
    # matters.
    done: list[list[int]] = [[0] for _ in range(order.queues)]
    start, finish = [0] * rows, [0] * rows
    fresh = conflicts_beyond_queue(order, conflicts)[:, others]
    waiting = np.flatnonzero(fresh.any(axis=1))
    targets_of: list[list[int]] = conflicts[waiting][:, others].tolist()
    wanted = dict(zip(numbers(waiting), targets_of, strict=True))
    for row, (queue, cycles) in enumerate(zip(numbers(order.queue), numbers(busy), strict=True)):
        mine = done[queue]
        if queue in load_queues:
            mine.append(0)
            continue
        begin = mine[-1]
        for other, target in zip(others, wanted.get(row, ()), strict=False):
            begin = max(begin, done[other][target])
        start[row], finish[row] = begin, begin + cycles
        mine.append(begin + cycles)
    return Estimate(np.array(start, dtype=np.int64), np.array(finish, dtype=np.int64))
