"""The file order and the on-chip addresses together: as much prefetching as the memories can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...isa.blocks import Space
from ...isa.errors import CapacityError
from ...isa.machine import Machine
from .accesses import Touched
from .allocate import NO_PLACE, Demand, aligned, place_by_size, place_with_patience
from .dependence import AtomEvents, Order
from .estimate import Estimate
from .footprint import Ints, numbers
from .loads import loads_of, row_costs
from .stream import Stream
from .sweep import Load, NoRoomError, Resident, Sweep, Swept, Task

ON_CHIP = (Space.SRAM, Space.ACC)

ATTEMPTS = ((100, False), (100, True), (85, True), (60, True), (0, True))
"""Tried until every buffer finds a place: the percentage of a memory that moving loads ahead may fill, and whether
large buffers are placed before the others as those that last long are."""


SKELETON = 4000
"""At most so many buffers are placed ahead of the others: the cost grows with the square of their number."""

LASTING = 8
"""A buffer lasts long when it lives more than so many times as long as half of all do."""

LARGE_PART = 8
"""A buffer is large when so many of its size fill the memory."""


@dataclass(frozen=True)
class Placement:
    """Rows in file order, and for every instance its first byte in its memory, first and last position.

    Instances that no instruction touches have address 0 and last position -1. `share` is the part of the
    on-chip memory that prefetching was allowed.
    """

    order: Order
    address: Ints
    first: Ints
    last: Ints
    share: int


def place_on_chip(
    stream: Stream, machine: Machine, found: Touched, events: AtomEvents, prefetch: bool = True
) -> Placement:
    """Order the rows and place the on-chip buffers; loads move ahead of their natural place only with `prefetch`.
    Raises CapacityError where even the natural order does not fit."""
    queues = len(machine.queues)
    natural = Order.of(np.arange(stream.rows), stream.queue, queues)
    first, last = events.lifetimes(natural)
    instances = found.instances
    buffers = stream.buffers
    sizes = np.array([aligned(buffer.bytes) for buffer in buffers] + [0], dtype=np.int64)
    size = sizes[instances.buffer]
    members = {space: np.flatnonzero((instances.space == space) & (last >= 0)) for space in ON_CHIP}
    capacity = {int(space): machine.memory_bytes(space) for space in ON_CHIP}
    live: dict[int, Ints] = {}
    for space, mine in members.items():
        live[int(space)] = Demand(size[mine], first[mine], last[mine]).live_bytes(stream.rows)
        if live[int(space)].max(initial=0) > capacity[int(space)]:
            raise _too_large(stream, machine, space, mine, found, size, first, last, live[int(space)])

    costs = row_costs(stream, machine)
    loads, timeline = loads_of(stream, machine, found, natural, events.conflicts(natural), first, costs)
    done = _done(events, timeline)
    loaded = np.zeros(len(instances), dtype=np.bool_)
    loaded[[load.instance for load in loads.values() if load.first]] = True
    time = numbers(_row_times(timeline, loads))
    crowded = 0
    for share, large in ATTEMPTS if prefetch else ATTEMPTS[-1:]:
        residents = _residents(members, size, first, last, done, loaded, capacity, large)
        room = {space: (total * share // 100) - live[space] for space, total in capacity.items()}
        try:
            swept = Sweep(Task(time, loads, residents, capacity, room)).run()
        except NoRoomError as error:
            crowded = error.space
            continue
        order = Order.of(_file_order(stream.rows, swept), stream.queue, queues)
        address = np.zeros(len(instances), dtype=np.int64)
        address[np.array(list(swept.address), dtype=np.int64)] = list(swept.address.values())
        return Placement(order, address, *events.lifetimes(order), share)
    return _without_prefetch(natural, members, size, first, last, capacity, live, crowded)


def _row_times(timeline: Estimate, loads: Mapping[int, Load]) -> Ints:
    """The time from which on each row or a later one can start; not decreasing."""
    start = timeline.start.copy()
    start[list(loads)] = np.iinfo(np.int64).max
    time = np.minimum.accumulate(start[::-1])[::-1]
    return np.where(time == np.iinfo(np.int64).max, int(timeline.finish.max(initial=0)), time)


def _done(events: AtomEvents, timeline: Estimate) -> Ints:
    """When the last user of each instance is done."""
    done = np.zeros(len(events.instances), dtype=np.int64)
    np.maximum.at(done, events.instance, timeline.finish[events.row])
    return done


def _residents(
    members: Mapping[Space, Ints],
    size: Ints,
    first: Ints,
    last: Ints,
    done: Ints,
    loaded: NDArray[np.bool_],
    capacity: Mapping[int, int],
    large: bool,
) -> dict[int, Resident]:
    """The instances on chip, by number.

    Those that last long (and, if asked, the large ones that no load brings) get their addresses here, so that the
    others do not scatter the space that they need.
    """
    result: dict[int, Resident] = {}
    for space, mine in members.items():
        fixed = np.full(len(mine), NO_PLACE, dtype=np.int64)
        life = last[mine] - first[mine] + 1
        wanted = life > LASTING * np.median(life) if len(mine) else life > 0
        if large:
            wanted |= (size[mine] * LARGE_PART >= capacity[int(space)]) & ~loaded[mine]
        chosen = np.flatnonzero(wanted)
        chosen = chosen[np.argsort(-(size[mine] * life)[chosen], kind="stable")[:SKELETON]]
        demand = Demand(size[mine][chosen], first[mine][chosen], last[mine][chosen])
        fixed[chosen] = place_by_size(demand, capacity[int(space)])
        columns = (mine, size[mine], first[mine], last[mine], done[mine], fixed)
        for number, bytes_, begin, end, time, address in zip(*map(numbers, columns), strict=True):
            result[number] = Resident(int(space), bytes_, begin, end, time, address)
    return result


def _file_order(rows: int, swept: Swept) -> Ints:
    """The natural rows with every load ahead of the row that it was put before, in the order of service."""
    key = np.arange(rows, dtype=np.int64)
    turn = np.full(rows, rows, dtype=np.int64)
    for load, (row, number) in swept.places.items():
        key[load], turn[load] = row, number
    return np.lexsort((turn, key))


def _without_prefetch(
    natural: Order,
    members: Mapping[Space, Ints],
    size: Ints,
    first: Ints,
    last: Ints,
    capacity: Mapping[int, int],
    live: Mapping[int, Ints],
    crowded: int,
) -> Placement:
    """The natural order, with buffers placed by tighter methods. Raises CapacityError when those fail too."""
    address = np.zeros(len(size), dtype=np.int64)
    for space, mine in members.items():
        places = place_with_patience(Demand(size[mine], first[mine], last[mine]), capacity[int(space)])
        if (places == NO_PLACE).any():
            raise CapacityError(
                f"no placement of the buffers in {Space(crowded).text} was found although they fit by size",
                int(live[int(space)].max()),
                capacity[int(space)],
                levers=("use smaller tiles", f"use a machine with more {space.text}"),
            )
        address[mine] = places
    return Placement(natural, address, first, last, 0)


def _too_large(
    stream: Stream,
    machine: Machine,
    space: Space,
    mine: Ints,
    found: Touched,
    size: Ints,
    first: Ints,
    last: Ints,
    live: Ints,
) -> CapacityError:
    """The error that says what lies in a memory where most of it is needed."""
    peak = int(np.argmax(live))
    alive = mine[(first[mine] <= peak) & (last[mine] >= peak)]
    parts: dict[str, int] = {}
    for instance in alive.tolist():
        label = stream.buffers[int(found.instances.buffer[instance])].label
        parts[label] = parts.get(label, 0) + int(size[instance])
    largest = sorted(parts.items(), key=lambda part: -part[1])
    shown, rest = largest[:6], sum(part for _, part in largest[6:])
    return CapacityError(
        f"{space.text} of machine {machine.name}, at instruction {peak}",
        int(live[peak]),
        machine.memory_bytes(space),
        (*shown, *([("others", rest)] if rest else [])),
        ("use smaller tiles", f"use a machine with more {space.text}"),
    )
