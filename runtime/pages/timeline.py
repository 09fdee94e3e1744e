"""Every instruction of a run in time, as columns for the page's timeline."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..courses import courses
from ..kernels import kernels_of
from ..measure import Measurement


def timeline_data(measurement: Measurement) -> dict[str, Any]:
    """Columns with an entry a row of the program, times in cycles; `text` has a line a row.

    Rows name their engine, kernel (a list of nodes) and mnemonic by number. Courses are quantities over time.
    """
    program, timeline, costs = measurement.program, measurement.timeline, measurement.costs
    kernel, kernels = kernels_of(program)
    rows = range(len(program.table))
    columns = {
        "engine": program.table.queue,
        "kernel": kernel,
        "free": timeline.free,
        "issue": timeline.issue,
        "start": timeline.start,
        "end": timeline.end,
        "retire": timeline.retire,
        "waited_on": timeline.waited_on,
        "dram_bytes": costs.dram_read + costs.dram_write,
        "macs": costs.macs,
        "energy_pj": np.rint(measurement.row_energy_pj).astype(np.int64),
        "critical": measurement.critical_path.cycles,
    }
    memory = {f"{space} in use": size for space, size in _sizes(measurement).items()}
    return {
        "cycles": measurement.cycles,
        "engines": [queue.name for queue in measurement.machine.queues],
        "kernels": kernels,
        "columns": {name: values.tolist() for name, values in columns.items()},
        "transfer": (measurement.schedule.channel > 0).astype(int).tolist(),
        "text": "\n".join(map(measurement.facts.text, rows)),
        "courses": [
            {
                "name": course.name,
                "unit": course.unit,
                "limit": memory.get(course.name, measurement.machine.dram.bytes_per_cycle),
                "times": course.times.tolist(),
                "values": np.round(course.values, 3).tolist(),
            }
            for course in courses(measurement)
            if len(course.times)
        ],
    }


def _sizes(measurement: Measurement) -> dict[str, int]:
    return {"SRAM": measurement.machine.sram.bytes, "ACC": measurement.machine.acc.bytes}
