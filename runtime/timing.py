"""When each instruction starts and retires: engines side by side, each an in-order queue.

The rules, with times in cycles:

* An instruction issues when its engine is free and every instruction that it waits for has retired.
  Instructions of a queue retire in order.
* A matrix product that does not start at the cycle at which the product before it on the same engine ended
  pays the array's fill and drain first (its operands were not ready, so the array ran dry). Instructions
  between the two that do not wait (a `sync` whose waits are over, an extent that is set) leave the array
  running.
* A transfer asks for the DRAM channel when it issues. The channel serves one transfer at a time, in order of
  the asking (at the same cycle, the lower queue first). A transfer's data follow the DRAM latency after its
  turn came; meanwhile the channel serves the next, so that latency hides behind other transfers' data.

Which transfer asks first depends on times that are known only when everything before has been placed, so the
simulation is event-driven: all queues advance until each is done, waits for an instruction that is not placed
yet, or asks for the channel; then the earliest request is granted. Nothing that is still unknown can ask
earlier than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import chain

import numpy as np
from numpy.typing import NDArray

NOT_PLACED = -1

Times = NDArray[np.int64]


@dataclass(frozen=True)
class Schedule:
    """What timing needs of a program, one entry a row in file order.

    `queue` is the row's queue; `waits` the rows (earlier ones) that must have retired before it issues. In
    cycles: `busy` occupies the engine, `latency` passes between the end of that and the retirement, `fill` is
    paid before a product that follows a gap, `channel` occupies the DRAM channel (0: the row makes no
    transfer).
    """

    queues: int
    queue: Sequence[int]
    waits: Sequence[Sequence[int]]
    busy: Sequence[int]
    latency: Sequence[int]
    fill: Sequence[int]
    channel: Sequence[int]

    def __len__(self) -> int:
        return len(self.queue)


@dataclass(frozen=True)
class Timeline:
    """Where every row came to lie, in cycles; int64 arrays with one entry a row in file order.

    A row's engine was `free`; the row issued at `issue` (waits over), had its turn at `start` (DRAM channel
    granted, array filled), occupied the engine until `end` and retired at `retire`. `issue - free` is time
    spent waiting for queue `waited_on` (-1: for none), `start - issue` for the channel, or for the array's
    fill.
    """

    free: Times
    issue: Times
    start: Times
    end: Times
    retire: Times
    waited_on: Times

    @property
    def cycles(self) -> int:
        """Cycles until the last instruction retired; 0 for a program without instructions."""
        return int(self.retire.max()) if len(self.retire) else 0


def simulate(schedule: Schedule) -> Timeline:
    """Place every row of `schedule` in time, by the rules of this module."""
    start = np.array(starts(schedule), dtype=np.int64)
    end = start + np.asarray(schedule.busy, dtype=np.int64)
    done = end + np.asarray(schedule.latency, dtype=np.int64)
    queue = np.asarray(schedule.queue, dtype=np.int64)
    free, retire = np.zeros_like(start), np.zeros_like(start)
    for number in range(schedule.queues):
        own = np.flatnonzero(queue == number)
        free[own[1:]] = end[own[:-1]]
        retire[own] = np.maximum.accumulate(done[own])
    issue, waited_on = _issues(schedule.waits, queue, free, retire)
    return Timeline(free, issue, start, end, retire, waited_on)


def _issues(waits: Sequence[Sequence[int]], queue: Times, free: Times, retire: Times) -> tuple[Times, Times]:
    """When each row had no more to wait for, and the queue that it then had waited for (-1: none)."""
    waiting = np.repeat(np.arange(len(waits)), [len(own) for own in waits])
    waited = np.fromiter(chain.from_iterable(waits), dtype=np.int64)
    issue = free.copy()
    np.maximum.at(issue, waiting, retire[waited])
    last = (retire[waited] == issue[waiting]) & (issue > free)[waiting]
    waited_on = np.full_like(free, NOT_PLACED)
    # Of several that retired at that time the first in the row's order counts.
    rows, first = np.unique(waiting[last], return_index=True)
    waited_on[rows] = queue[waited[last][first]]
    return issue, waited_on


def starts(schedule: Schedule) -> list[int]:
    """The cycle at which each row has its turn: channel granted, array filled."""
    busy, latency, fill, channel = schedule.busy, schedule.latency, schedule.fill, schedule.channel
    waits = schedule.waits
    # By queue: its rows, how many of them are placed, when its engine is free, when its last row has retired,
    # when its array runs dry.
    rows: list[list[int]] = [[] for _ in range(schedule.queues)]
    for row, queue in enumerate(schedule.queue):
        rows[queue].append(row)
    positions, free_at, retired_at = ([0] * schedule.queues for _ in range(3))
    dry_at = [NOT_PLACED] * schedule.queues
    start, retire = [0] * len(schedule), [NOT_PLACED] * len(schedule)

    advancing = list(range(schedule.queues))
    requests: list[tuple[int, int]] = []
    channel_free = 0
    blocked: dict[int, list[int]] = {}
    while advancing or requests:
        asked, queue = (NOT_PLACED, advancing.pop()) if advancing else heappop(requests)
        own, position = rows[queue], positions[queue]
        free, last, dry = free_at[queue], retired_at[queue], dry_at[queue]
        if asked != NOT_PLACED:
            # The transfer at the head of the queue has the channel now.
            row = own[position]
            start[row] = max(asked, channel_free)
            channel_free = start[row] + channel[row]
            free = start[row] + busy[row]
            last = retire[row] = max(free + latency[row], last)
            if row in blocked:
                advancing.extend(blocked.pop(row))
            position += 1
        while position < len(own):
            row = own[position]
            issue = free
            for waited in waits[row]:
                time = retire[waited]
                if time > issue:
                    issue = time
                elif time < 0:
                    blocked.setdefault(waited, []).append(queue)
                    break
            else:
                if channel[row]:
                    heappush(requests, (issue, queue))
                    break
                runs = fill[row]
                if runs and issue != dry:
                    issue += runs
                free = issue + busy[row]
                if runs or issue == dry:
                    dry = free
                start[row] = issue
                last = retire[row] = max(free + latency[row], last)
                if row in blocked:
                    advancing.extend(blocked.pop(row))
                position += 1
                continue
            break
        positions[queue], free_at[queue], retired_at[queue], dry_at[queue] = position, free, last, dry
    return start
