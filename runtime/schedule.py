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
from .waits import Waits


def build_schedule(
    table: Table, instances: Mapping[str, Instruction], costs: ProgramCosts, waits: Waits, machine: Machine
) -> Schedule:
    """What `timing.simulate` needs of a program.

    Beside the program's own waits, a row of an LD queue that reads on-chip memory (the ids of a gather) waits
    for the row before it: queue order promises it that data, and a load's data are there only when it has
    retired.
    """
    loads = _reading_loads(table, instances, machine)
    before = _row_before(table, loads)
    if len(loads):
        waits = waits.and_pairs(loads[before >= 0], before[before >= 0])
    return Schedule(len(machine.queues), table.queue, waits, costs.busy, costs.latency, costs.fill, costs.channel)


def _row_before(table: Table, rows: Int64Array) -> Int64Array:
    """The row before each of `rows` in its queue, -1 where it is the first."""
    result = np.full(len(rows), -1, dtype=np.int64)
    for queue in np.unique(table.queue[rows]):
        own, chosen = np.flatnonzero(table.queue == queue), table.queue[rows] == queue
        place = np.searchsorted(own, rows[chosen]) - 1
        result[chosen] = np.where(place >= 0, own[place], -1)
    return result


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
