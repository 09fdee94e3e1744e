"""The critical path: the chain of instructions, each starting when the one before let it, that lasts the whole run.

It is found backwards from the instruction that retires last, by the rules of `timing`: an instruction starts when its
engine's last one has ended, when one that it waits for has retired, or when the DRAM channel has been left to it.
Every cycle of the latency belongs to one instruction of the chain. Where two reasons hold at the same cycle the
engine's own order comes first, so that of several chains the one that changes engines least is told.
"""

from __future__ import annotations

import numpy as np

from ..isa.frozen import frozen
from .timing import Schedule, Timeline, Times


@frozen
class CriticalPath:
    """Cycles by row that lie on the path; int64 arrays, whose sum over rows and parts is the latency.

    `busy` the row works in its engine (a transfer: has the DRAM channel), `fill` it fills the array, `latency` the time
    between its end and its retirement, for which something waits.
    """

    busy: Times
    fill: Times
    latency: Times

    @property
    def cycles(self) -> Times:
        """Cycles of the latency that each row makes."""
        return self.busy + self.fill + self.latency


def critical_path(schedule: Schedule, timeline: Timeline) -> CriticalPath:
    """The path of a placed schedule."""
    path = CriticalPath(*(np.zeros(len(schedule), dtype=np.int64) for _ in range(3)))
    if not len(schedule):
        return path
    before = _before(schedule)
    holder = _holders(schedule, timeline)
    row, time, retired = int(timeline.retire.argmax()), timeline.cycles, True
    while time > 0:
        if retired:
            own = int(timeline.end[row] + schedule.latency[row])
            if own < time:
                # It was done, and retired when the one before it in its queue did.
                row = int(before[row])
                continue
            path.latency[row] += schedule.latency[row]
            time = int(timeline.end[row])
        start, issue, free = int(timeline.start[row]), int(timeline.issue[row]), int(timeline.free[row])
        path.busy[row] += time - start
        time, retired = start, False
        if start > issue and schedule.channel[row]:
            row = int(holder[row])
            continue
        path.fill[row] += start - issue
        time = issue
        if issue > free:
            row, retired = _awaited(schedule, timeline, row), True
        elif free > 0:
            row = int(before[row])
    return path


def _before(schedule: Schedule) -> Times:
    """The row before each in its queue, -1 for the first."""
    before = np.full(len(schedule), -1, dtype=np.int64)
    for number in range(schedule.queues):
        own = np.flatnonzero(schedule.queue == number)
        before[own[1:]] = own[:-1]
    return before


def _holders(schedule: Schedule, timeline: Timeline) -> Times:
    """For each transfer the one that had the DRAM channel before it, -1 for the first and for all other rows."""
    transfers = np.flatnonzero(schedule.channel)
    order = transfers[np.argsort(timeline.start[transfers], kind="stable")]
    holder = np.full(len(schedule), -1, dtype=np.int64)
    holder[order[1:]] = order[:-1]
    return holder


def _awaited(schedule: Schedule, timeline: Timeline, row: int) -> int:
    """The row whose retirement let `row` issue."""
    first, last = schedule.waits.first[row], schedule.waits.first[row + 1]
    rows = schedule.waits.rows[first:last]
    return int(rows[timeline.retire[rows].argmax()])
