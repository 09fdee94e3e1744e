"""What changes while a run goes on: the DRAM channel's rate, and the bytes in use of each memory on chip."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..isa.blocks import Space
from ..isa.columns import Int64Array
from ..isa.frozen import frozen
from .measure import Measurement
from .memory_use import course_of_use


@frozen
class Course:
    """A quantity over time: `values` in `unit`, each from the cycle in `times` on, which ascend."""

    name: str
    unit: str
    times: Int64Array
    values: np.ndarray[tuple[int], np.dtype[Any]]


def courses(measurement: Measurement) -> list[Course]:
    """The courses of one inference: DRAM bandwidth, then SRAM and ACC in use."""
    found = [_bandwidth(measurement)]
    for space in (Space.SRAM, Space.ACC):
        times, used = course_of_use(measurement.program.occupancy, measurement.timeline, space)
        found.append(Course(f"{space.text.upper()} in use", "B", times, used))
    return found


def _bandwidth(measurement: Measurement) -> Course:
    """Bytes a cycle on the DRAM channel, which serves one transfer at a time."""
    channel = measurement.schedule.channel
    rows = np.flatnonzero(channel)
    rows = rows[np.argsort(measurement.timeline.start[rows], kind="stable")]
    begin = measurement.timeline.start[rows]
    end = begin + channel[rows]
    moved = (measurement.costs.dram_read + measurement.costs.dram_write)[rows]
    times = np.concatenate([begin, end])
    values = np.concatenate([moved / np.maximum(channel[rows], 1), np.zeros(len(rows))])
    # Where a transfer follows at once, its rate stands in place of the pause.
    order = np.lexsort((np.arange(len(times)) < len(rows), times))
    times, values = times[order], values[order]
    kept = np.append(times[1:] != times[:-1], True) if len(times) else np.zeros(0, dtype=np.bool_)
    return Course("DRAM bandwidth", "B/cycle", times[kept], values[kept])
