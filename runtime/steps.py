"""What every row of a program does, prepared for a state: a function, and the views of memory that it is called with.

Rows that differ in addresses only are of one form and share a kernel. A program comes to the same addresses again and
again: a view is made once for all operands of one shape at one address, and a step once for all rows that do the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import repeat
from operator import getitem
from typing import Any

import numpy as np

from ..isa.columns import Int64Array
from ..isa.errors import Fault
from ..isa.fields import DramAddress, OnChip, Wait, on_chip_offset
from ..isa.formats import Array
from ..isa.instructions import VectorPass
from ..isa.kernels import Kernel, nothing
from ..isa.program import Program
from ..isa.record import Instruction
from ..isa.state import State
from ..isa.table import Group

Step = tuple[Callable[..., Any], tuple[Array, ...]]
"""What a row does: a function and its arrays."""

_NOTHING: Step = (nothing, ())

_Arrays = Mapping[int, Array] | tuple[Array, ...]
"""Arrays by number."""

_array: Callable[[Any, int], Array] = getitem


def prepared_steps(program: Program, state: State) -> list[Step]:
    """The steps of all rows of `program` on `state`, in file order."""
    steps = [_NOTHING] * len(program.table)
    memory = _Memory(state)
    for group in program.table.groups.values():
        places = _places(group)
        for members, values in _forms(program, group, places):
            rows: list[int] = group.rows[members].tolist()
            kernel = _kernel(program, state, group.record.of(values), int(members[0]))
            arrays = None if kernel is None else memory.arrays(kernel)
            if kernel is None or arrays is None:
                for row in rows:
                    steps[row] = _performed(program, state, row)
                continue
            fields = [*(operand.field for operand in kernel.operands), *("slot" for _ in kernel.numbers)]
            columns: list[list[int]] = [places[field][members].tolist() for field in fields]
            made: dict[tuple[int, ...], Step] = {}
            for row, own in zip(rows, zip(*columns, strict=True) if columns else repeat(()), strict=False):
                if own not in made:
                    try:
                        made[own] = kernel.function, tuple(map(_array, arrays, own))
                    except IndexError:  # An operand leaves its memory: a fault when the row's turn comes.
                        made[own] = _performed(program, state, row)
                steps[row] = made[own]
    return steps


def _performed(program: Program, state: State, row: int) -> Step:
    """The step of a row whose kernel is not known before its turn."""
    return partial(program.table.instruction(row).perform, state), ()


class _Views(dict[int, Array]):
    """By offset, the views of operands of one shape in a memory; `every` has them along its first axis."""

    def __init__(self, every: Array) -> None:
        super().__init__()
        self._every = every

    def __missing__(self, offset: int) -> Array:
        view: Array = self._every[offset]
        self[offset] = view
        return view


class _Memory:
    """What kernels work on, by the numbers in their instructions' fields."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._found: dict[tuple[Any, ...], _Views | None] = {}

    def arrays(self, kernel: Kernel) -> list[_Arrays] | None:
        """For each array that the kernel takes all that it may be one of; None where an operand has no views."""
        found: list[_Arrays] = []
        for operand in kernel.operands:
            shape = operand[1:]
            if shape not in self._found:
                every = self._state.views(operand)
                self._found[shape] = None if every is None else _Views(every)
            views = self._found[shape]
            if views is None:
                return None
            found.append(views)
        return [*found, *(self._state.numbers(number) for number in kernel.numbers)]


def _places(group: Group) -> dict[str, Int64Array]:
    """The fields that say where a row finds what its kernel works on: offsets in their memories, and the slot."""
    places: dict[str, Int64Array] = {}
    for item in group.record.fields:
        column = group.columns[item.name]
        if isinstance(item.kind, OnChip):
            places[item.name] = on_chip_offset(column)
        elif isinstance(item.kind, DramAddress) or (group.record is VectorPass and item.name == "slot"):
            places[item.name] = column
    return places


def _forms(
    program: Program, group: Group, places: Mapping[str, Int64Array]
) -> Iterator[tuple[Int64Array, dict[str, int]]]:
    """The members of each form, as places in `group`, and the fields of an instruction of it at offset 0: equal fields
    and queues but for `places`, and, for a vector pass, lane programs of equal structure."""
    columns = {name: column - places[name] if name in places else column for name, column in group.columns.items()}
    columns["queue"] = program.table.queue[group.rows]
    waits = {item.name for item in group.record.fields if isinstance(item.kind, Wait)}
    told = np.stack([*_structures(program, group), *(column for name, column in columns.items() if name not in waits)])
    varying = told[(told != told[:, :1]).any(axis=1)]
    order = np.lexsort(varying) if len(varying) else np.arange(len(group.rows))
    ordered = varying[:, order]
    members = np.split(order, 1 + np.flatnonzero((ordered[:, 1:] != ordered[:, :-1]).any(axis=0)))
    first = np.array([own[0] for own in members])
    values = zip(*(column[first].tolist() for column in columns.values()), strict=True)
    for own, row in zip(members, values, strict=True):
        yield own, dict(zip(columns, row, strict=True))


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
