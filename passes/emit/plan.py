"""The plan from which scheduling departs: the natural order, and places on chip in which all of it fits.

The natural order is that of the loops, each load as late as it may stand.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...isa.blocks import Space
from ...isa.errors import CapacityError
from ...isa.frozen import frozen
from ...isa.machine import Machine
from .accesses import Touched
from .allocate import ALIGNMENT, NO_PLACE, Demand, aligned, place
from .dependence import AtomEvents
from .footprint import Ints, distinct, numbers
from .memory import Memory
from .precedence import Precedence
from .stream import Stream

ON_CHIP = (Space.SRAM, Space.ACC)

SLOTS = 4096
"""A memory is divided into so many slots at most, unless only smaller ones find places for all buffers."""


@frozen
class Uses:
    """Which instances on chip each row touches, as pairs of `row` and `instance`, by row; and each instance's `first`
    and `last` row (-1: none). Rows are places in the natural order."""

    row: Ints
    instance: Ints
    first: Ints
    last: Ints


@frozen
class Plan:
    """A memory in the natural order: instance `members[b]` is its buffer b, which lies at slot `start[b]` of those of
    `unit` bytes. Buffers are in the order of their first rows."""

    members: Ints
    demand: Demand
    start: Ints
    slots: int
    unit: int

    def memory(self, users: Ints) -> Memory:
        """The memory before the first row, of whose buffers `users[b]` rows make use; those without users are left
        out, being the last."""
        count = int(np.count_nonzero(users))
        columns = (self.demand.size, self.demand.first, self.demand.last, users, self.start)
        return Memory(self.slots, *(numbers(column[:count]) for column in columns))


def loads_late(pairs: Precedence, is_load: NDArray[np.bool_]) -> Ints:
    """The rows with each load right before the first row that needs it.

    Loads that other loads need (ids of a gather) stay where the loops put them.
    """
    rows = len(is_load)
    needed = np.full(rows, rows, dtype=np.int64)
    np.minimum.at(needed, pairs.before, pairs.after)
    late = is_load & (needed < rows)
    late[pairs.before[is_load[pairs.before] & is_load[pairs.after]]] = False
    return np.lexsort((~late, np.where(late, needed, np.arange(rows))))


def uses_of(events: AtomEvents, position: Ints, on_chip: NDArray[np.bool_]) -> Uses:
    """The uses of the instances that are `on_chip`; `position[row]` is a row's place in the natural order."""
    instances, rows = len(on_chip), len(position)
    mine = on_chip[events.instance]
    pair = distinct(position[events.row[mine]] * instances + events.instance[mine])
    row, instance = pair // instances, pair % instances
    first = np.full(instances, rows, dtype=np.int64)
    last = np.full(instances, -1, dtype=np.int64)
    np.minimum.at(first, instance, row)
    np.maximum.at(last, instance, row)
    return Uses(row, instance, first, last)


def plan_of(stream: Stream, machine: Machine, space: Space, found: Touched, uses: Uses, size: Ints) -> Plan:
    """A place for every buffer of a memory; `size` are the bytes of the instances. Raises CapacityError."""
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
            return Plan(members, demand, start, capacity // unit, unit)
        if unit == ALIGNMENT:
            raise CapacityError(
                f"no placement of the buffers in {space.text} was found although they fit by size",
                int(live.max()),
                capacity,
                levers=("use smaller tiles", f"use a machine with more {space.text}"),
            )
        unit = ALIGNMENT


def _too_large(
    stream: Stream,
    machine: Machine,
    space: Space,
    members: Ints,
    found: Touched,
    size: Ints,
    uses: Uses,
    live: Ints,
) -> CapacityError:
    """The error that says what lies in a memory where most of it is needed."""
    peak = int(np.argmax(live))
    alive = members[(uses.first[members] <= peak) & (uses.last[members] >= peak)]
    parts: dict[str, int] = {}
    for instance in alive.tolist():
        label = stream.buffers[int(found.instances.buffer[instance])].label
        parts[label] = parts.get(label, 0) + aligned(int(size[instance]))
    largest = sorted(parts.items(), key=lambda part: -part[1])
    shown, rest = largest[:6], sum(part for _, part in largest[6:])
    return CapacityError(
        f"{space.text} of machine {machine.name}, at instruction {peak}",
        int(live[peak]),
        machine.memory_bytes(space),
        (*shown, *([("others", rest)] if rest else [])),
        ("use smaller tiles", f"use a machine with more {space.text}"),
    )
