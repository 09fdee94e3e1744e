"""The file order and the on-chip addresses together: as much prefetching as the memories can hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...isa.blocks import Space
from ...isa.errors import CapacityError
from ...isa.machine import Machine
from .accesses import Touched
from .allocate import Demand, aligned, place
from .dependence import AtomEvents, Order
from .footprint import Ints
from .loads import busy_cycles, elapsed_work, loads_of
from .prefetch import hoisted
from .stream import Stream

ON_CHIP = (Space.SRAM, Space.ACC)

SHARES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5, 0.0)
"""Parts of a memory that prefetching may fill, tried in turn until every buffer gets an address; 0 moves
nothing."""


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
    share: float


def place_on_chip(stream: Stream, machine: Machine, found: Touched, events: AtomEvents) -> Placement:
    """Order the rows and place the on-chip buffers. Raises CapacityError where even the natural order does
    not fit."""
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

    busy = busy_cycles(stream, machine)
    loads = loads_of(stream, machine, found, natural, events.conflicts(natural), first, busy)
    elapsed = elapsed_work(stream, machine, busy)
    for share in SHARES:
        if share and loads:
            allowed = {space: int(total * share) for space, total in capacity.items()}
            order = Order.of(hoisted(loads, elapsed, live, allowed), stream.queue, queues)
            first, last = events.lifetimes(order)
        else:
            order = natural
            first, last = events.lifetimes(natural)
        address = np.zeros(len(instances), dtype=np.int64)
        for space, mine in members.items():
            found_addresses = place(Demand(size[mine], first[mine], last[mine]), capacity[int(space)])
            if found_addresses is None:
                break
            address[mine] = found_addresses
        else:
            return Placement(order, address, first, last, share)
    space = next(
        s
        for s, mine in members.items()
        if place(Demand(size[mine], first[mine], last[mine]), capacity[int(s)]) is None
    )
    raise CapacityError(
        f"no placement of the buffers in {space.text} was found although they fit by size",
        int(live[int(space)].max()),
        capacity[int(space)],
        levers=("use smaller tiles", f"use a machine with more {space.text}"),
    )


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
