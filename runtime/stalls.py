"""Where each engine's time went: busy, filling its array, waiting for another engine or for DRAM, or
finished."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..isa.frozen import frozen
from .report import StallRow
from .timing import Schedule, Timeline, Times


@frozen
class EngineTime:
    """One engine's cycles; `busy + fill + dependency + channel + finished` is the run's latency.

    `dependency` is a total; `on` splits it by the queue that was waited for.
    """

    instructions: int
    busy: int
    fill: int
    dependency: int
    channel: int
    finished: int
    on: tuple[int, ...]

    def rows(self, engine: str, names: Sequence[str]) -> list[StallRow]:
        """The stalls as report rows, those of no cycles left out."""
        rows = [StallRow(engine, "dependency", names[queue], cycles) for queue, cycles in enumerate(self.on)]
        rows.append(StallRow(engine, "fill", "", self.fill))
        rows.append(StallRow(engine, "channel", "dram", self.channel))
        rows.append(StallRow(engine, "finished", "", self.finished))
        return [row for row in rows if row.cycles]


def engine_times(schedule: Schedule, timeline: Timeline) -> list[EngineTime]:
    """One entry a queue, in order of their numbers."""
    is_transfer = schedule.channel > 0
    total = timeline.cycles
    return [_one(np.flatnonzero(schedule.queue == number), is_transfer, timeline, schedule.queues, total)
            for number in range(schedule.queues)]  # fmt: skip


def _one(rows: Times, is_transfer: NDArray[np.bool_], timeline: Timeline, queues: int, total: int) -> EngineTime:
    if not len(rows):
        return EngineTime(0, 0, 0, 0, 0, total, (0,) * queues)
    waited = timeline.issue[rows] - timeline.free[rows]
    turn = timeline.start[rows] - timeline.issue[rows]
    on = [int(waited[timeline.waited_on[rows] == other].sum()) for other in range(queues)]
    return EngineTime(
        instructions=len(rows),
        busy=int((timeline.end[rows] - timeline.start[rows]).sum()),
        fill=int(turn[~is_transfer[rows]].sum()),
        dependency=int(waited.sum()),
        channel=int(turn[is_transfer[rows]].sum()),
        finished=total - int(timeline.end[rows[-1]]),
        on=tuple(on),
    )


@frozen
class RowStalls:
    """Cycles for which each row kept its engine waiting, by cause; int64 arrays.

    `dependency` for instructions of other engines (or of its own to retire), `channel` for its turn at the DRAM
    channel, `fill` for the array's fill and drain.
    """

    dependency: Times
    channel: Times
    fill: Times

    @property
    def cycles(self) -> Times:
        """All causes together."""
        return self.dependency + self.channel + self.fill


def row_stalls(schedule: Schedule, timeline: Timeline) -> RowStalls:
    """The stalls of every row."""
    turn, is_transfer = timeline.start - timeline.issue, schedule.channel > 0
    return RowStalls(
        dependency=timeline.issue - timeline.free,
        channel=np.where(is_transfer, turn, 0),
        fill=np.where(is_transfer, 0, turn),
    )
