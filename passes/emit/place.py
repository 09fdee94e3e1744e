"""The file order and the on-chip addresses together.

First the natural order is given: that of the loops, each load as late as it may stand. Buffers get places in which
all of it fits. From this plan the list scheduler departs as far as the memories allow.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ...isa.blocks import Space
from ...isa.engines import Engine
from ...isa.errors import CapacityError
from ...isa.machine import Machine
from ..schedule_options import ScheduleOptions
from .accesses import Touched
from .allocate import ALIGNMENT, NO_PLACE, Demand, place
from .costs import row_costs
from .dependence import AtomEvents
from .footprint import Ints, distinct, numbers
from .memory import Memory
from .precedence import Precedence, precedence
from .reorder import ListScheduler, Task
from .stream import Stream
from .urgency import urgency, wanted_again

ON_CHIP = (Space.SRAM, Space.ACC)

SLOTS = 4096
"""A memory is divided into so many slots at most, unless only smaller ones find places for all buffers."""

WINDOW = 64
"""An engine chooses from so many of its next rows in natural order; loads are chosen from all."""


@dataclass(frozen=True)
class Placement:
    """Rows of the stream in file order, and the first byte in its memory of every instance on chip that is used (0 for
    others)."""

    rows: Ints
    address: Ints


@dataclass(frozen=True)
class _Uses:
    """Which instances on chip each row touches, as pairs of `row` and `instance`, by row; and each instance's `first`
    and `last` row (-1: none). Rows are places in the natural order."""

    row: Ints
    instance: Ints
    first: Ints
    last: Ints


@dataclass(frozen=True)
class _Plan:
    """A memory with its buffers: instance `members[b]` is its buffer b; slots of `unit` bytes."""

    memory: Memory
    members: Ints
    unit: int


def place_on_chip(
    stream: Stream, machine: Machine, found: Touched, events: AtomEvents, options: ScheduleOptions
) -> Placement:
    """Order the rows and place the on-chip buffers. Raises CapacityError where even the natural order does not fit."""
    kinds = [queue.engine for queue in machine.queues]
    is_load = np.isin(stream.queue, [number for number, kind in enumerate(kinds) if kind is Engine.LD])
    pairs = precedence(events, stream.rows)
    natural = _loads_late(pairs, is_load) if options.prefetch else np.arange(stream.rows)
    position = np.empty(stream.rows, dtype=np.int64)
    position[natural] = np.arange(stream.rows)
    pairs, is_load = pairs.renumbered(position), is_load[natural]
    size = np.array([buffer.bytes for buffer in stream.buffers] + [0], dtype=np.int64)[found.instances.buffer]
    on_chip = np.isin(found.instances.space, ON_CHIP) & (size > 0)
    uses = _uses(events, position, on_chip)
    plans = [_plan(stream, machine, space, found, uses, size) for space in ON_CHIP]

    after = lists(pairs.before, pairs.after, stream.rows)
    is_product = np.isin(stream.queue, [number for number, kind in enumerate(kinds) if kind is Engine.MX])[natural]
    costs = row_costs(stream, machine)
    task = Task(
        queue=numbers(stream.queue[natural]),
        busy=numbers(costs.busy[natural]),
        latency=numbers(costs.latency[natural]),
        fill=numbers(costs.fill[natural]),
        channel=numbers(costs.channel[natural]),
        urgency=_urgencies(after, is_load, is_product, uses, plans[ON_CHIP.index(Space.ACC)], machine),
        after=after,
        behind=_behind(is_load, options),
        touches=_touches(uses, plans, stream.rows),
        window=[stream.rows if kind is Engine.LD else WINDOW for kind in kinds],
        transfers=[kind in (Engine.LD, Engine.ST) for kind in kinds],
        memories=[plan.memory for plan in plans],
    )
    rows = natural[np.array(ListScheduler(task).run(), dtype=np.int64)]
    address = np.zeros(len(size), dtype=np.int64)
    for plan in plans:
        address[plan.members] = np.array(plan.memory.start, dtype=np.int64) * plan.unit
    return Placement(rows, address)


def lists(keys: Ints, values: Ints, count: int) -> list[list[int]]:
    """For each of `count` keys its values; `keys` ascend."""
    ends = numbers(np.searchsorted(keys, np.arange(count + 1)))
    flat = numbers(values)
    return [flat[begin:end] for begin, end in pairwise(ends)]


def _loads_late(pairs: Precedence, is_load: NDArray[np.bool_]) -> Ints:
    """The rows with each load right before the first row that needs it.

    Loads that other loads need (ids of a gather) stay where the loops put them.
    """
    rows = len(is_load)
    needed = np.full(rows, rows, dtype=np.int64)
    np.minimum.at(needed, pairs.before, pairs.after)
    late = is_load & (needed < rows)
    late[pairs.before[is_load[pairs.before] & is_load[pairs.after]]] = False
    return np.lexsort((~late, np.where(late, needed, np.arange(rows))))


def _uses(events: AtomEvents, position: Ints, on_chip: NDArray[np.bool_]) -> _Uses:
    instances, rows = len(on_chip), len(position)
    mine = on_chip[events.instance]
    pair = distinct(position[events.row[mine]] * instances + events.instance[mine])
    row, instance = pair // instances, pair % instances
    first = np.full(instances, rows, dtype=np.int64)
    last = np.full(instances, -1, dtype=np.int64)
    np.minimum.at(first, instance, row)
    np.maximum.at(last, instance, row)
    return _Uses(row, instance, first, last)


def _plan(stream: Stream, machine: Machine, space: Space, found: Touched, uses: _Uses, size: Ints) -> _Plan:
    """A memory with a place for every buffer in the natural order. Raises CapacityError."""
    members = np.flatnonzero((found.instances.space == space) & (uses.last >= 0))
    members = members[np.argsort(uses.first[members], kind="stable")]
    first, last = uses.first[members], uses.last[members]
    capacity = machine.memory_bytes(space)
    live = Demand(-(-size[members] // ALIGNMENT) * ALIGNMENT, first, last).live(stream.rows)
    if live.max(initial=0) > capacity:
        raise _too_large(stream, machine, space, members, found, size, uses, live)
    unit = ALIGNMENT
    while capacity > unit * SLOTS:
        unit *= 2
    while True:
        demand = Demand(-(-size[members] // unit), first, last)
        start = place(demand, capacity // unit)
        if not (start == NO_PLACE).any():
            break
        if unit == ALIGNMENT:
            raise CapacityError(
                f"no placement of the buffers in {space.text} was found although they fit by size",
                int(live.max()),
                capacity,
                levers=("use smaller tiles", f"use a machine with more {space.text}"),
            )
        unit = ALIGNMENT
    users = np.bincount(uses.instance, minlength=len(size))[members]
    columns = (demand.size, first, last, users, start)
    return _Plan(Memory(capacity // unit, *map(numbers, columns)), members, unit)


def _touches(uses: _Uses, plans: list[_Plan], rows: int) -> list[list[tuple[int, int]]]:
    """For each row the (memory, buffer) pairs that it touches."""
    memory = np.zeros(len(uses.first), dtype=np.int64)
    buffer = np.zeros(len(uses.first), dtype=np.int64)
    for number, plan in enumerate(plans):
        memory[plan.members], buffer[plan.members] = number, np.arange(len(plan.members))
    result = [list[tuple[int, int]]() for _ in range(rows)]
    pairs = zip(numbers(memory[uses.instance]), numbers(buffer[uses.instance]), strict=True)
    for row, pair in zip(numbers(uses.row), pairs, strict=True):
        result[row].append(pair)
    return result


def _urgencies(
    after: list[list[int]],
    is_load: NDArray[np.bool_],
    is_product: NDArray[np.bool_],
    uses: _Uses,
    accumulators: _Plan,
    machine: Machine,
) -> list[int]:
    """What each engine chooses by: the natural order for loads, else which product waits for a row, and then that."""
    rows = len(after)
    memory, members = accumulators.memory, accumulators.members
    wanted = np.full(len(uses.first), rows, dtype=np.int64)
    demand = Demand(np.array(memory.sizes, dtype=np.int64), uses.first[members], uses.last[members])
    wanted[members] = wanted_again(demand, machine.memory_bytes(Space.ACC) // accumulators.unit, rows)
    emptied = np.full(rows, rows, dtype=np.int64)
    np.minimum.at(emptied, uses.row, wanted[uses.instance])
    soonest = np.array(urgency(after, is_product, emptied), dtype=np.int64)
    natural = np.arange(rows)
    return numbers(np.where(is_load, natural, soonest * rows + natural))


def _behind(is_load: NDArray[np.bool_], options: ScheduleOptions) -> list[list[int]]:
    """For each row those that only stand behind it in the file because a measure is switched off.

    Without `reorder` that is the next row that is no load, without `prefetch` the loads between the two.
    """
    result: list[list[int]] = [[] for _ in range(len(is_load))]
    others = np.flatnonzero(~is_load)
    if not options.reorder:
        for row, following in pairwise(numbers(others)):
            result[row].append(following)
    if not options.prefetch:
        loads = np.flatnonzero(is_load)
        before = np.searchsorted(others, loads) - 1
        for load, at in zip(numbers(loads), numbers(before), strict=True):
            if at >= 0:
                result[int(others[at])].append(load)
    return result


def _too_large(
    stream: Stream,
    machine: Machine,
    space: Space,
    mine: Ints,
    found: Touched,
    size: Ints,
    uses: _Uses,
    live: Ints,
) -> CapacityError:
    """The error that says what lies in a memory where most of it is needed."""
    peak = int(np.argmax(live))
    alive = mine[(uses.first[mine] <= peak) & (uses.last[mine] >= peak)]
    parts: dict[str, int] = {}
    for instance in alive.tolist():
        label = stream.buffers[int(found.instances.buffer[instance])].label
        parts[label] = parts.get(label, 0) + -(-int(size[instance]) // ALIGNMENT) * ALIGNMENT
    largest = sorted(parts.items(), key=lambda part: -part[1])
    shown, rest = largest[:6], sum(part for _, part in largest[6:])
    return CapacityError(
        f"{space.text} of machine {machine.name}, at instruction {peak}",
        int(live[peak]),
        machine.memory_bytes(space),
        (*shown, *([("others", rest)] if rest else [])),
        ("use smaller tiles", f"use a machine with more {space.text}"),
    )
