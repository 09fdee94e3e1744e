"""What moving loads ahead must know of each: how far ahead it may stand, what it fills, which loads it
follows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...isa.blocks import Space
from ...isa.engines import Engine
from ...isa.machine import Machine
from .accesses import Touched, placed_columns
from .dependence import Order
from .estimate import Estimate, estimate
from .footprint import Ints, numbers
from .stream import Stream
from .sweep import Load


@dataclass(frozen=True)
class RowCosts:
    """Cycles that each row takes its engine (or the DRAM channel, if longer), and cycles until it retires
    then."""

    busy: Ints
    latency: Ints


def row_costs(stream: Stream, machine: Machine) -> RowCosts:
    """The costs of all rows, by the records' own functions."""
    busy = np.zeros(stream.rows, dtype=np.int64)
    latency = np.zeros(stream.rows, dtype=np.int64)
    spaces = np.array([buffer.space for buffer in stream.buffers], dtype=np.int64)[stream.instance_buffer]
    base = np.zeros(len(spaces), dtype=np.int64)
    for group in stream.groups:
        columns = placed_columns(group, base, spaces)
        for name in group.record.extents:
            # Registers count with nothing here: rows that name them are few, and never moved.
            columns[name] = np.maximum(columns[name], 0)
        cost = group.record(**columns).cost(machine)
        busy[group.rows] = np.maximum(cost.busy, cost.channel_cycles)
        latency[group.rows] = cost.latency
    return RowCosts(busy, latency)


def loads_of(
    stream: Stream,
    machine: Machine,
    found: Touched,
    natural: Order,
    conflicts: Ints,
    first: Ints,
    costs: RowCosts,
) -> tuple[dict[int, Load], Estimate]:
    """Every load of the stream by row, and a rough timeline of the rest.

    `conflicts` and `first` are those of the natural order, within instances only.
    """
    is_load, fixed = _load_rows(stream, machine)
    timeline = estimate(natural, conflicts, costs.busy, is_load)
    earliest, release = _after_conflicts(natural, conflicts, timeline)
    accesses, instances = found.accesses, found.instances
    on_chip = np.isin(instances.space, (Space.SRAM, Space.ACC))
    chosen = np.flatnonzero(is_load[accesses.row] & on_chip[accesses.instance])
    chosen = chosen[np.argsort(accesses.row[chosen], kind="stable")]
    named: dict[int, list[tuple[int, int]]] = {}
    columns = (accesses.row[chosen], accesses.instance[chosen], accesses.write[chosen].astype(np.int64))
    for row, instance, write in zip(*map(numbers, columns), strict=True):
        named.setdefault(row, []).append((instance, write))

    born, lows, releases = numbers(first), numbers(earliest), numbers(release)
    busy, latency = numbers(costs.busy), numbers(costs.latency)
    last_load: dict[int, int] = {}
    loads: dict[int, Load] = {}
    pinned: set[int] = set()
    for row in numbers(np.flatnonzero(is_load)):
        after: set[int] = set()
        low, target = lows[row], -1
        for instance, write in named.get(row, ()):
            before = last_load.get(instance)
            if before is not None and before != row:
                after.add(before)
                if not write:
                    # What it brought is read by another load: the two cannot be told apart any more.
                    pinned.add(loads[before].instance)
            last_load[instance] = row
            if write:
                target = instance
                low = max(low, born[instance]) if born[instance] < row and before is None else low
        loads[row] = Load(
            row=row,
            earliest=row if fixed[row] else low,
            release=releases[row],
            busy=busy[row],
            latency=latency[row],
            instance=target,
            first=target >= 0 and born[target] == row,
            after=tuple(sorted(after)),
            movable=True,
        )
    unmovable = [row for row, load in loads.items() if load.instance in pinned]
    return loads | {row: replace(loads[row], movable=False) for row in unmovable}, timeline


def _load_rows(stream: Stream, machine: Machine) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows are loads, and which of them stay where they are because a register tells their extent."""
    queues = [queue.index for queue in machine.queues if queue.engine is Engine.LD]
    is_load = np.isin(stream.queue, queues)
    fixed = np.zeros(stream.rows, dtype=np.bool_)
    for group in stream.groups:
        for name in group.record.extents:
            fixed[group.rows[group.columns[name] < 0]] = True
        if not group.instances:
            is_load[group.rows] = False
    return is_load, fixed


def _after_conflicts(natural: Order, conflicts: Ints, timeline: Estimate) -> tuple[Ints, Ints]:
    """The first row that each row may stand before, after all that it conflicts with in other queues, and the
    time at which those are done."""
    earliest = np.zeros(len(natural.position), dtype=np.int64)
    release = np.zeros(len(natural.position), dtype=np.int64)
    for queue in range(natural.queues):
        rows = np.flatnonzero(natural.queue == queue)
        last = conflicts[:, queue]
        np.maximum(earliest, np.append(-1, rows)[last] + 1, out=earliest)
        np.maximum(release, np.append(0, timeline.finish[rows])[last], out=release)
    return earliest, release
