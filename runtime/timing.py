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
    waits: Sequence[tuple[int, ...]]
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
    simulation = _Simulation(schedule)
    simulation.run()
    return simulation.timeline()


# A row's number, waits, and cycles: busy, latency, fill, channel.
_Row = tuple[int, tuple[int, ...], int, int, int, int]


class _Simulation:
    """The state of one simulation: how far each queue has come, and what was placed so far."""

    def __init__(self, schedule: Schedule) -> None:
        count = len(schedule)
        self.queue = schedule.queue
        self.rows: list[list[_Row]] = [[] for _ in range(schedule.queues)]
        columns = (schedule.waits, schedule.busy, schedule.latency, schedule.fill, schedule.channel)
        for queue, row in zip(schedule.queue, zip(range(count), *columns, strict=True), strict=True):
            self.rows[queue].append(row)
        self.position = [0] * schedule.queues
        self.free_at = [0] * schedule.queues
        self.retired_at = [0] * schedule.queues
        self.run_end = [NOT_PLACED] * schedule.queues
        self.requests: list[tuple[int, int]] = []
        self.blocked: dict[int, list[int]] = {}
        self.channel_free = 0
        self.free = [0] * count
        self.issue = [0] * count
        self.start = [0] * count
        self.end = [0] * count
        self.retire = [NOT_PLACED] * count
        self.waited_on = [NOT_PLACED] * count

    def run(self) -> None:
        """Advance every queue to its end."""
        pending = list(range(len(self.rows)))
        while True:
            while pending:
                self._advance(pending.pop(), pending)
            if not self.requests:
                return
            request = min(self.requests)
            self.requests.remove(request)
            self._grant(request, pending)

    def _advance(self, queue: int, awakened: list[int]) -> None:
        """Place rows of `queue` until it ends, blocks, or asks for the channel; add the queues that this
        frees."""
        retire, blocked = self.retire, self.blocked
        free_column, issue_column, start_column, end_column = self.free, self.issue, self.start, self.end
        rows = self.rows[queue]
        free, last, run_end = self.free_at[queue], self.retired_at[queue], self.run_end[queue]
        for position in range(self.position[queue], len(rows)):
            row, waits, busy, latency, fill, channel = rows[position]
            issue = free
            for waited in waits:
                time = retire[waited]
                if time > issue:
                    issue = time
                    self.waited_on[row] = self.queue[waited]
                elif time < 0:
                    blocked.setdefault(waited, []).append(queue)
                    break
            else:
                free_column[row] = free
                issue_column[row] = issue
                if channel:
                    self.requests.append((issue, queue))
                    break
                if fill:
                    start = issue if issue == run_end else issue + fill
                    free = run_end = start + busy
                else:
                    start = issue
                    free = start + busy
                    if start == run_end:
                        run_end = free
                start_column[row] = start
                end_column[row] = free
                if free + latency > last:
                    last = free + latency
                retire[row] = last
                if row in blocked:
                    awakened.extend(blocked.pop(row))
                continue
            break
        else:
            position = len(rows)
        self.position[queue], self.free_at[queue] = position, free
        self.retired_at[queue], self.run_end[queue] = last, run_end

    def _grant(self, request: tuple[int, int], awakened: list[int]) -> None:
        """Give the channel to the transfer at the head of the queue that made `request` (time, queue)."""
        time, queue = request
        row, _, busy, latency, _, channel = self.rows[queue][self.position[queue]]
        start = max(time, self.channel_free)
        self.channel_free = start + channel
        end = start + busy
        self.start[row] = start
        self.end[row] = self.free_at[queue] = end
        self.retire[row] = self.retired_at[queue] = max(end + latency, self.retired_at[queue])
        self.position[queue] += 1
        awakened.append(queue)
        if row in self.blocked:
            awakened.extend(self.blocked.pop(row))

    def timeline(self) -> Timeline:
        """What was placed, as arrays."""
        columns = (self.free, self.issue, self.start, self.end, self.retire, self.waited_on)
        return Timeline(*(np.array(column, dtype=np.int64) for column in columns))
