"""Slots for the lane programs of vector passes, and the `vx.program` instructions that fill them.

A program is written into a slot before its first use, and again only when it had to give way: of the programs
in the slots the one used least recently goes.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import numpy as np

from ...dialects.isa import SLOT
from ...isa.frozen import frozen
from ...isa.instructions.vector import SLOTS, VectorPass, VectorProgram
from .footprint import Ints, distinct, numbers
from .stream import Group, Stream


@frozen
class _Load:
    """A lane program to be written into a slot ahead of row `row`, in the row's queue."""

    row: int
    slot: int
    program: int


def assign_slots(stream: Stream) -> tuple[Stream, Ints]:
    """The stream with a slot in every vector pass and the instructions that fill the slots; and where each row is."""
    passes = next((group for group in stream.groups if group.record is VectorPass), None)
    if passes is None or passes.programs is None:
        return stream, np.arange(stream.rows)
    slots = np.zeros(len(passes), dtype=np.int64)
    loads: list[_Load] = []
    queue = stream.queue[passes.rows]
    for one in numbers(distinct(queue)):
        mine = np.flatnonzero(queue == one)
        slots[mine] = _least_recently_used(passes.rows[mine], passes.programs[mine], loads)
    loads.sort(key=lambda load: load.row)
    at = np.array([load.row for load in loads], dtype=np.int64)
    rows = stream.rows
    moved = np.arange(rows) + np.searchsorted(at, np.arange(rows), side="right")
    new_rows = moved[at] - 1
    passes = replace(passes, columns=passes.columns | {SLOT: slots})
    groups = [passes if group.record is VectorPass else group for group in stream.groups]
    groups = [group.renumbered(moved[group.rows]) for group in groups]
    encoded = [VectorProgram.encoded(load.slot, stream.programs[load.program]) for load in loads]
    columns = {name: np.array([values[name] for values in encoded], dtype=np.int64) for name in encoded[0]}
    groups.append(Group(VectorProgram, new_rows, columns, {}))

    def spread(column: Ints) -> Ints:
        wide = np.zeros(rows + len(loads), dtype=np.int64)
        wide[moved] = column
        wide[new_rows] = column[at]
        return wide

    widened = replace(stream, groups=tuple(groups), queue=spread(stream.queue), origin=spread(stream.origin))
    return widened, moved


def _least_recently_used(rows: Ints, programs: Ints, loads: list[_Load]) -> Ints:
    """The slot of each pass of one queue; appends what has to be loaded."""
    distinct, first, which = np.unique(programs, return_index=True, return_inverse=True)
    if len(distinct) <= SLOTS:
        # Slots in the order of first use: nothing ever has to give way.
        slot = np.argsort(np.argsort(first))
        loads.extend(
            _Load(int(rows[at]), int(number), int(program))
            for at, number, program in zip(first, slot, distinct, strict=True)
        )
        return slot[which]
    held: OrderedDict[int, int] = OrderedDict()
    result: list[int] = []
    for row, program in zip(rows.tolist(), programs.tolist(), strict=True):
        if program in held:
            held.move_to_end(program)
        else:
            slot = len(held) if len(held) < SLOTS else held.popitem(last=False)[1]
            held[program] = slot
            loads.append(_Load(row, slot, program))
        result.append(held[program])
    return np.array(result, dtype=np.int64)
