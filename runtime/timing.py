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

from ..isa.frozen import frozen
from .waits import Waits

NOT_PLACED = -1

Times = NDArray[np.int64]


@frozen
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


@dataclass
class Placing:
    """How far the rows of a schedule are placed; lists by row (NOT_PLACED in `retire`: not yet) and by queue.

    By queue: when its engine is `free`, when its last row has retired (`last`), when its array runs `dry`. `requests`
    are the transfers that asked for the channel, as (cycle, queue), a heap; the channel is free at `channel_free`.
    """

    start: list[int]
    retire: list[int]
    free: list[int]
    last: list[int]
    dry: list[int]
    requests: list[tuple[int, int]]
    channel_free: int = 0

    @staticmethod
    def nothing(queues: int) -> Placing:
        """No row is placed."""
        return Placing([], [], [0] * queues, [0] * queues, [NOT_PLACED] * queues, [])

    def copy(self) -> Placing:
        """Another of the same."""
        return Placing(
            self.start.copy(),
            self.retire.copy(),
            self.free.copy(),
            self.last.copy(),
            self.dry.copy(),
            self.requests.copy(),
            self.channel_free,
        )


@frozen
class Timeline:
    """Where every row came to lie, in cycles; int64 arrays with one entry a row in file order.

    A row's engine was `free`; the row issued at `issue` (waits over), had its turn at `start` (DRAM channel
    granted, array filled), occupied the engine until `end` and retired at `retire`. `issue - free` is time
    spent waiting for queue `waited_on` (-1: for none), `start - issue` for the channel, or for the array's
    fill. `begun` is how a longer schedule that begins with these rows is placed as well, up to the first queue's end.
    """

    free: Times
    issue: Times
    start: Times
    end: Times
    retire: Times
    waited_on: Times
    begun: Placing

    @property
    def cycles(self) -> int:
        """Cycles until the last instruction retired; 0 for a program without instructions."""
        return int(self.retire.max()) if len(self.retire) else 0


def simulate(schedule: Schedule, begun: Placing | None = None) -> Timeline:
    """Place every row of `schedule` in time, by the rules of this module; `begun` of a schedule that it begins with
    saves the beginning."""
    placed = Placing.nothing(schedule.queues) if begun is None else begun.copy()
    begun = place(schedule, placed)
    start = np.array(placed.start, dtype=np.int64)
    end = start + schedule.busy
    done = end + schedule.latency
    free, retire = np.zeros_like(start), np.zeros_like(start)
    for number in range(schedule.queues):
        own = np.flatnonzero(schedule.queue == number)
        free[own[1:]] = end[own[:-1]]
        retire[own] = np.maximum.accumulate(done[own])
    issue, waited_on = _issues(schedule, free, retire)
    return Timeline(free, issue, start, end, retire, waited_on, begun)


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


def place(schedule: Schedule, placed: Placing) -> Placing:
    """Place the rows of `schedule` that `placed` has not yet. Gives a copy of it as it was when a queue had placed its
    last row: what a longer schedule that begins alike comes through too."""
    waits: list[int] = schedule.waits.rows.tolist()
    more = len(schedule) - len(placed.start)
    start, retire = placed.start, placed.retire
    start.extend([0] * more)
    retire.extend([NOT_PLACED] * more)
    # By queue, the row at its head and those behind it.
    behind = _rows_to_place(schedule, np.array(retire, dtype=np.int64))
    heads = [next(rows, None) for rows in behind]
    free_at, retired_at, dry_at = placed.free, placed.last, placed.dry
    requests, channel_free = placed.requests, placed.channel_free

    begun: Placing | None = None
    asking = {queue for _, queue in requests}
    advancing = [queue for queue, head in enumerate(heads) if head is not None and queue not in asking]
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
        if head is None and begun is None:
            placed.channel_free = channel_free
            begun = placed.copy()
    return begun or placed


_Row = tuple[int, int, int, int, int, int, int]
"""Number, first wait, one past the last wait, busy, latency, fill, channel."""


def _rows_to_place(schedule: Schedule, retire: Times) -> list[Iterator[_Row]]:
    """By queue the rows that have not retired yet."""
    first = schedule.waits.first
    columns = np.stack(
        (
            np.arange(len(schedule)), first[:-1], first[1:],
            schedule.busy, schedule.latency, schedule.fill, schedule.channel,
        )
    )  # fmt: skip
    waiting = np.where(retire == NOT_PLACED, schedule.queue, NOT_PLACED)
    return [zip(*columns[:, waiting == number].tolist(), strict=True) for number in range(schedule.queues)]
