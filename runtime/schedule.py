"""A program as timing wants it: costs by row, and for each row the rows whose retirement it waits for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..isa.blocks import Space
from ..isa.columns import Int64Array, as_vector
from ..isa.engines import Engine
from ..isa.machine import Machine
from ..isa.record import Instruction
from ..isa.table import Table
from .costs import ProgramCosts
from .timing import Schedule

Waits = list[list[int]]
"""For each row the rows that it waits for."""


def waited_rows(table: Table) -> Waits:
    """For each row the rows that its waits name."""
    rows, queues, counts = table.waits()
    named = np.zeros(len(rows), dtype=np.int64)
    for queue in np.unique(queues):
        chosen = queues == queue
        named[chosen] = np.flatnonzero(table.queue == queue)[counts[chosen] - 1]
    return split(named, np.bincount(rows, minlength=len(table)))


def split(values: Int64Array, lengths: Int64Array) -> list[list[int]]:
    """`values` cut into lists of these lengths."""
    ends = np.cumsum(lengths)
    whole = values.tolist()
    return [whole[first:last] for first, last in zip((ends - lengths).tolist(), ends.tolist(), strict=True)]


def build_schedule(
    table: Table, instances: Mapping[str, Instruction], costs: ProgramCosts, waits: Waits, machine: Machine
) -> Schedule:
    """What `timing.simulate` needs of a program.

    Beside the program's own waits, a row of an LD queue that reads on-chip memory (the ids of a gather) waits
    for the row before it: queue order promises it that data, and a load's data are there only when it has
    retired.
    """
    waits = list(waits)
    for row in _reading_loads(table, instances, machine).tolist():
        before = np.flatnonzero(table.queue[:row] == table.queue[row])
        if len(before):
            waits[row] = [*waits[row], int(before[-1])]
    return Schedule(
        queues=len(machine.queues),
        queue=table.queue.tolist(),
        waits=waits,
        busy=costs.busy.tolist(),
        latency=costs.latency.tolist(),
        fill=costs.fill.tolist(),
        channel=costs.channel.tolist(),
    )


def _reading_loads(table: Table, instances: Mapping[str, Instruction], machine: Machine) -> Int64Array:
    loads = [queue.index for queue in machine.queues if queue.engine is Engine.LD]
    found = np.zeros(len(table), dtype=np.bool_)
    for mnemonic, instruction in instances.items():
        if instruction.engine in (Engine.LD, None):
            rows = table.groups[mnemonic].rows
            for block in instruction.reads():
                space, here = as_vector(block.space, len(rows)), as_vector(block.bytes, len(rows))
                found[rows] |= (space != Space.DRAM) & (here > 0)
    return np.flatnonzero(found & np.isin(table.queue, loads))
