"""What every row of a program does, prepared for a state: a function, and the views of memory that it is called with.

Rows that differ in addresses only are of one form: they share a kernel, and for each of its operands all the views of
memory that one of them may need, by offset. So nothing is made for a row but what says which views are its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from ..isa.columns import Int64Array
from ..isa.errors import Fault
from ..isa.fields import OnChip, Wait, on_chip_offset
from ..isa.formats import Array
from ..isa.instructions import VectorPass
from ..isa.kernels import Kernel, nothing
from ..isa.program import Program
from ..isa.record import Instruction
from ..isa.state import State
from ..isa.table import Group

Step = tuple[Callable[..., Any], tuple[Array, ...], tuple[int, ...]]
"""What a row does: a function, for each of its arrays all the views that it may be one of, and which it is."""

_NOTHING: Step = (nothing, (), ())


def prepared_steps(program: Program, state: State) -> list[Step]:
    """The steps of all rows of `program` on `state`, in file order."""
    steps = [_NOTHING] * len(program.table)
    for group in program.table.groups.values():
        offsets = {name: _offset(group, name) for name in group.record.addresses}
        for places in _forms(program, group, offsets):
            rows: list[int] = group.rows[places].tolist()
            values = program.table.values(rows[0])
            values.update((name, values[name] - int(column[places[0]])) for name, column in offsets.items())
            kernel = _kernel(program, state, group.record.of(values), int(places[0]))
            views = _views(state, kernel)
            if kernel is None or views is None:
                for row in rows:
                    steps[row] = (partial(program.table.instruction(row).perform, state), (), ())
            elif views:
                columns: list[list[int]] = [offsets[operand.field][places].tolist() for operand in kernel.operands]
                for row, own in zip(rows, zip(*columns, strict=True), strict=True):
                    steps[row] = (kernel.function, views, own)
            else:
                for row in rows:
                    steps[row] = (kernel.function, (), ())
    return steps


def _offset(group: Group, name: str) -> Int64Array:
    """The offsets of an address field within its memory."""
    column = group.columns[name]
    kind = next(item.kind for item in group.record.fields if item.name == name)
    return on_chip_offset(column) if isinstance(kind, OnChip) else column


def _forms(program: Program, group: Group, offsets: dict[str, Int64Array]) -> Iterator[Int64Array]:
    """The places in `group` of each form: equal fields and queues, addresses in equal memories, and, for a vector pass,
    lane programs of equal structure."""
    columns = [program.table.queue[group.rows], *_structures(program, group)]
    for item in group.record.fields:
        if not isinstance(item.kind, Wait):
            column = group.columns[item.name]
            columns.append(column - offsets[item.name] if item.name in offsets else column)
    varying = [column for column in columns if column.min() != column.max()]
    order = np.lexsort(varying) if varying else np.arange(len(group.rows))
    fresh = np.zeros(len(order), dtype=np.bool_)
    for column in varying:
        fresh[1:] |= np.diff(column[order]) != 0
    yield from np.split(order, np.flatnonzero(fresh))


def _structures(program: Program, group: Group) -> list[Int64Array]:
    """For vector passes, a number for the structure of each one's lane program."""
    if group.record is not VectorPass:
        return []
    numbers: dict[object, int] = {}
    of_program = [numbers.setdefault(item.structure, len(numbers)) for item in program.analysis.programs]
    return [np.array(of_program, dtype=np.int64)[program.analysis.pass_programs]]


def _kernel(program: Program, state: State, instruction: Instruction, place: int) -> Kernel | None:
    """The kernel of a form; None where it is known only when the row's turn comes, or is a fault then."""
    if any(vars(instruction)[name] < 0 for name in instruction.extents):
        return None
    if isinstance(instruction, VectorPass):
        # The kernel is that of the lane program which the slot will hold.
        facts = program.analysis
        state.write_slot(instruction.queue, instruction.slot, facts.programs[int(facts.pass_programs[place])])
    try:
        return instruction.kernel(state)
    except Fault:
        return None


def _views(state: State, kernel: Kernel | None) -> tuple[Array, ...] | None:
    """All views of each operand; None where one has none."""
    operands = () if kernel is None else kernel.operands
    views = tuple(found for operand in operands if (found := state.views(operand)) is not None)
    return views if len(views) == len(operands) else None
