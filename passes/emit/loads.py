"""What prefetching must know of each load: how far ahead it may stand, what it occupies, which loads it
follows."""

from __future__ import annotations

import numpy as np

from ...isa.blocks import Space
from ...isa.engines import Engine
from ...isa.machine import Machine
from .accesses import Touched, placed_columns
from .allocate import aligned
from .dependence import Order
from .footprint import Ints
from .prefetch import Load
from .stream import Stream


def busy_cycles(stream: Stream, machine: Machine) -> Ints:
    """Cycles that each row takes its engine (or the DRAM channel, if longer), by the records' own costs."""
    busy = np.zeros(stream.rows, dtype=np.int64)
    spaces = np.array([buffer.space for buffer in stream.buffers], dtype=np.int64)[stream.instance_buffer]
    base = np.zeros(len(spaces), dtype=np.int64)
    for group in stream.groups:
        # Registers count with nothing here: rows that name them are few, and never moved.
        columns = {
            name: np.maximum(column, 0) if name in group.record.extents else column
            for name, column in placed_columns(group, base, spaces).items()
        }
        cost = group.record(**columns).cost(machine)
        busy[group.rows] = np.maximum(cost.busy, cost.channel_cycles)
    return busy


def elapsed_work(stream: Stream, machine: Machine, busy: Ints) -> Ints:
    """At each row of the natural order the work ahead of it on the most loaded queue that does not load, in
    cycles."""
    elapsed = np.zeros(stream.rows, dtype=np.int64)
    for queue in machine.queues:
        if queue.engine is not Engine.LD:
            work = np.cumsum(np.where(stream.queue == queue.index, busy, 0))
            np.maximum(elapsed[1:], work[:-1], out=elapsed[1:])
    return elapsed


def loads_of(
    stream: Stream, machine: Machine, found: Touched, natural: Order, conflicts: Ints, first: Ints, busy: Ints
) -> list[Load]:
    """Every load of the stream. `conflicts` and `first` are those of the natural order, within instances
    only."""
    queues = [queue.index for queue in machine.queues if queue.engine is Engine.LD]
    is_load = np.isin(stream.queue, queues)
    fixed = np.zeros(stream.rows, dtype=bool)
    for group in stream.groups:
        for name in group.record.extents:
            fixed[group.rows[group.columns[name] < 0]] = True
        if not group.instances:
            is_load[group.rows] = False
    earliest = _after_conflicts(natural, conflicts)
    sizes = np.array([aligned(buffer.bytes) for buffer in stream.buffers], dtype=np.int64)

    accesses, instances = found.accesses, found.instances
    chosen = np.flatnonzero(is_load[accesses.row] & (instances.space[accesses.instance] != Space.DRAM))
    chosen = chosen[np.argsort(accesses.row[chosen], kind="stable")]
    columns = (accesses.row[chosen], accesses.instance[chosen], accesses.write[chosen])
    named: dict[int, list[tuple[int, bool]]] = {}
    for row, instance, write in zip(*(column.tolist() for column in columns), strict=True):
        named.setdefault(row, []).append((instance, write))

    born = first.tolist()
    space_of, buffer_of = instances.space.tolist(), instances.buffer.tolist()
    last_load: dict[int, int] = {}
    loads: list[Load] = []
    for row in np.flatnonzero(is_load).tolist():
        after: set[int] = set()
        low, size, space = int(earliest[row]), 0, int(Space.SRAM)
        for instance, write in named.get(row, ()):
            if space_of[instance] == Space.REGISTER:
                continue
            if instance in last_load:
                after.add(last_load[instance])
            last_load[instance] = row
            if not write:
                continue
            space = space_of[instance]
            if born[instance] == row:
                size = int(sizes[buffer_of[instance]])
            elif not after:
                low = max(low, born[instance])
        after.discard(row)
        low = row if fixed[row] else low
        loads.append(Load(row, low, space, size, int(busy[row]), tuple(sorted(after))))
    return loads


def _after_conflicts(natural: Order, conflicts: Ints) -> Ints:
    """The first row that each row may stand before: after all rows of other queues that it conflicts with."""
    earliest = np.zeros(len(natural.position), dtype=np.int64)
    for queue in range(natural.queues):
        rows = np.append(-1, np.flatnonzero(natural.queue == queue))
        np.maximum(earliest, rows[conflicts[:, queue]] + 1, out=earliest)
    return earliest
