"""What every row costs its engine and the DRAM channel, by the records' own functions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...isa.frozen import frozen
from ...isa.machine import Machine
from .accesses import RegisterMaxima, placed_columns
from .footprint import Ints
from .stream import Stream

PACKED = "packed"
"""The field of `mx.masked` that says how many rows of the array a mask takes."""


@frozen
class RowCosts:
    """Cycles by row, as `isa.record.Cost` has them: `busy` on the engine, `latency` from then to retirement, `fill`
    after a gap, and on the DRAM `channel`."""

    busy: Ints
    latency: Ints
    fill: Ints
    channel: Ints


def row_costs(stream: Stream, machine: Machine) -> RowCosts:
    """The costs of all rows. Extents that registers tell count with the most that they may be, but for the rows that
    masks pack into, which count with nothing: what masks leave is most often little."""
    costs = RowCosts(*(np.zeros(stream.rows, dtype=np.int64) for _ in range(4)))
    spaces = np.array([buffer.space for buffer in stream.buffers], dtype=np.int64)[stream.instance_buffer]
    base = np.zeros(len(spaces), dtype=np.int64)
    maxima = RegisterMaxima(stream)
    for group in stream.groups:
        columns = placed_columns(replace(group, columns=maxima.columns(group)), base, spaces)
        if PACKED in group.columns:
            columns[PACKED] = np.maximum(group.columns[PACKED], 0)
        cost = group.record(**columns).cost(machine)
        costs.busy[group.rows] = cost.busy
        costs.latency[group.rows] = cost.latency
        costs.fill[group.rows] = cost.fill
        costs.channel[group.rows] = cost.channel_cycles
    return costs
