"""The steps of emission in order, from instruction templates to a finished instruction table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import ModuleOp

from ...isa.blocks import Space
from ...isa.machine import Machine
from ...isa.table import Table
from ..schedule_options import EVERYTHING, ScheduleOptions
from .accesses import touched
from .dependence import AtomEvents
from .dram import DramLayout, place_in_dram
from .expand import expand
from .footprint import Ints
from .link import link
from .place import Placement, place_on_chip
from .programs import assign_slots
from .stream import Stream
from .waits import needed_waits


@dataclass(frozen=True)
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
    prefetch_share: int


def assemble(module: ModuleOp, machine: Machine, options: ScheduleOptions = EVERYTHING) -> Assembled:
    """The table of a module of instruction templates. Raises CapacityError where something does not fit."""
    stream = assign_slots(expand(module, machine))
    found = touched(stream, machine)
    events = AtomEvents(found.accesses, found.instances, found.atoms)
    placement = place_on_chip(stream, machine, found, events, options.prefetch)
    dram = place_in_dram(stream, machine, placement.first, placement.last)
    spaces = found.instances.space
    # The last instance stands for the extent registers, which lie in a space of their own.
    buffer = np.append(stream.instance_buffer, 0)
    address = np.where(spaces == Space.DRAM, dram.address[buffer], placement.address)
    address[-1] = 0
    line_bytes = np.array([machine.hazard_line_bytes(space) for space in Space], dtype=np.int64)
    conflicts = events.conflicts(placement.order, address // line_bytes[spaces])
    linked = link(stream, placement.order, needed_waits(placement.order, conflicts), address, spaces)
    first, last = _table_rows(placement, linked.source)
    return Assembled(
        table=linked.table,
        stream=stream,
        source=linked.source,
        address=address[:-1],
        first=first[:-1],
        last=last[:-1],
        dram=dram,
        prefetch_share=placement.share,
    )


def _table_rows(placement: Placement, source: Ints) -> tuple[Ints, Ints]:
    """First and last rows of the table for the positions of a placement, which had no `sync` between them."""
    row = np.zeros(len(placement.order.position) + 1, dtype=np.int64)
    # Of the rows that stand for one position (a `sync` and its row) the later one is the instruction itself.
    row[placement.order.position[source]] = np.arange(len(source))
    used = placement.last >= 0
    return np.where(used, row[placement.first], 0), np.where(used, row[placement.last], -1)
