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

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from .waits import Waits

NOT_PLACED = -1

Times = NDArray[np.int64]


@dataclass(frozen=True)
class Schedule:
    """What timing needs of a program: int64 arrays with one entry a row in file order.

    `queue` is the row's queue, `waits` says which rows (earlier ones) must have retired before it issues. In cycles:
    `busy` occupies the engine, `latency` passes between the end of that and the retirement, `fill` is paid before a
    product that follows a gap, `channel` occupies the DRAM channel (0: the row makes no transfer).
    """

    queues: int
    queue: Times
    waits: Waits
    busy: Times
    latency: Times
    fill: Times
    channel: Times

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
    end = start + schedule.busy
    done = end + schedule.latency
    free, retire = np.zeros_like(start), np.zeros_like(start)
    for number in range(schedule.queues):
        own = np.flatnonzero(schedule.queue == number)
        free[own[1:]] = end[own[:-1]]
        retire[own] = np.maximum.accumulate(done[own])
    issue, waited_on = _issues(schedule, free, retire)
    return Timeline(free, issue, start, end, retire, waited_on)


def _issues(schedule: Schedule, free: Times, retire: Times) -> tuple[Times, Times]:
    """When each row had no more to wait for, and the queue that it then had waited for (-1: none)."""
    waits, waiting = schedule.waits, schedule.waits.waiting
    issue, waited_on = free.copy(), np.full_like(free, NOT_PLACED)
    if len(waiting):
        times = retire[waits.rows]
        rows = np.flatnonzero(np.diff(waits.first))
        issue[rows] = np.maximum(free[rows], np.maximum.reduceat(times, waits.first[rows]))
        # Of several that retired at that time the first in the row's order counts: it is assigned last.
        last = np.flatnonzero((times == issue[waiting]) & (times > free[waiting]))[::-1]
        waited_on[waiting[last]] = schedule.queue[waits.rows[last]]
    return issue, waited_on


def starts(schedule: Schedule) -> list[int]:
    """The cycle at which each row has its turn: channel granted, array filled."""
    waits: list[int] = schedule.waits.rows.tolist()
    # By queue: the row at its head and those behind it, when its engine is free, when its last row has retired, when
    # its array runs dry.
    behind = _rows_by_queue(schedule)
    heads = [next(rows, None) for rows in behind]
    free_at, retired_at = ([0] * schedule.queues for _ in range(2))
    dry_at = [NOT_PLACED] * schedule.queues
    start, retire = [0] * len(schedule), [NOT_PLACED] * len(schedule)

    advancing = list(range(schedule.queues))
    requests: list[tuple[int, int]] = []
    channel_free = 0
    blocked: dict[int, list[int]] = {}
    while advancing or requests:
        asked, queue = (NOT_PLACED, advancing.pop()) if advancing else heappop(requests)
        head, rows = heads[queue], behind[queue]
        free, last, dry = free_at[queue], retired_at[queue], dry_at[queue]
        if asked != NOT_PLACED and head is not None:
            # The transfer at the head of the queue has the channel now.
            row, _, _, busy, latency, _, channel = head
            start[row] = free = asked if asked > channel_free else channel_free
            channel_free = free + channel
            free += busy
            if free + latency > last:
                last = free + latency
            retire[row] = last
            if row in blocked:
                advancing.extend(blocked.pop(row))
            head = next(rows, None)
        while head is not None:
            row, first_wait, end_of_waits, busy, latency, fill, channel = head
            issue = free
            for waited in waits[first_wait:end_of_waits]:
                time = retire[waited]
                if time > issue:
                    issue = time
                elif time < 0:
                    blocked.setdefault(waited, []).append(queue)
                    break
            else:
                if channel:
                    heappush(requests, (issue, queue))
                    break
                running = issue == dry
                if fill and not running:
                    issue += fill
                start[row] = issue
                free = issue + busy
                if fill or running:
                    dry = free
                if free + latency > last:
                    last = free + latency
                retire[row] = last
                if row in blocked:
                    advancing.extend(blocked.pop(row))
                head = next(rows, None)
                continue
            break
        heads[queue], free_at[queue], retired_at[queue], dry_at[queue] = head, free, last, dry
    return start


_Row = tuple[int, int, int, int, int, int, int]
"""Number, first wait, one past the last wait, busy, latency, fill, channel."""


def _rows_by_queue(schedule: Schedule) -> list[Iterator[_Row]]:
    first = schedule.waits.first
    columns = np.stack(
        (
            np.arange(len(schedule)), first[:-1], first[1:],
            schedule.busy, schedule.latency, schedule.fill, schedule.channel,
        )
    )  # fmt: skip
    queues = range(schedule.queues)
    return [zip(*columns[:, schedule.queue == number].tolist(), strict=True) for number in queues]
