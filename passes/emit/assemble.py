"""The steps of emission in order, from instruction templates to a finished instruction table."""

from __future__ import annotations

import numpy as np
from xdsl.dialects.builtin import ModuleOp

from ...isa.blocks import Space
from ...isa.frozen import frozen
from ...isa.machine import Machine
from ...isa.table import Table
from ..schedule_options import EVERYTHING, ScheduleOptions
from .accesses import touched
from .dependence import AtomEvents, Order
from .dram import DramLayout, place_in_dram
from .expand import expand
from .footprint import Ints
from .link import link
from .place import place_on_chip
from .programs import assign_slots
from .stream import Stream, permuted
from .waits import needed_waits


@frozen
class Assembled:
    """A finished table with what the program file tells of it.

    `source[row]` is the stream's row that a row of the table comes from; `address[i]` the first byte of
    instance i in its memory, which lives from `first[i]` to `last[i]` (rows of the table; last -1 where
    nothing touches it).
    """

    table: Table
    stream: Stream
    source: Ints
    address: Ints
    first: Ints
    last: Ints
    dram: DramLayout


def assemble(module: ModuleOp, machine: Machine, options: ScheduleOptions = EVERYTHING) -> Assembled:
    """The table of a module of instruction templates. Raises CapacityError where something does not fit."""
    stream = expand(module, machine)
    found = touched(stream, machine)
    events = AtomEvents(found.accesses, found.instances, found.atoms)
    placement = place_on_chip(stream, machine, found, events, options)
    stream, moved = assign_slots(permuted(stream, placement.rows))
    position = np.empty(len(placement.rows), dtype=np.int64)
    position[placement.rows] = np.arange(len(position))
    events = events.renumbered(moved[position])
    order = Order.of(np.arange(stream.rows), stream.queue, len(machine.queues))
    first, last = events.lifetimes(order)
    dram = place_in_dram(stream, machine, first, last)
    spaces = found.instances.space
    # The last instance stands for the extent registers, which lie in a space of their own.
    buffer = np.append(stream.instance_buffer, 0)
    address = np.where(spaces == Space.DRAM, dram.address[buffer], placement.address)
    address[-1] = 0
    line_bytes = np.array([machine.hazard_line_bytes(space) for space in Space], dtype=np.int64)
    conflicts = events.conflicts(order, address // line_bytes[spaces])
    linked = link(stream, order, needed_waits(order, conflicts), address, spaces)
    first, last = _table_rows(order, first, last, linked.source)
    return Assembled(
        table=linked.table,
        stream=stream,
        source=linked.source,
        address=address[:-1],
        first=first[:-1],
        last=last[:-1],
        dram=dram,
    )


def _table_rows(order: Order, first: Ints, last: Ints, source: Ints) -> tuple[Ints, Ints]:
    """First and last rows of the table for the positions of a placement, which had no `sync` between them."""
    row = np.zeros(len(order.position) + 1, dtype=np.int64)
    # Of the rows that stand for one position (a `sync` and its row) the later one is the instruction itself.
    row[order.position[source]] = np.arange(len(source))
    used = last >= 0
    return np.where(used, row[first], 0), np.where(used, row[last], -1)
