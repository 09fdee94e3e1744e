"""The values of a run: every instruction performed in file order, which is the reference order."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from functools import partial
from operator import getitem, itemgetter
from typing import Any, NamedTuple

import numpy as np

from ..isa.columns import Int64Array
from ..isa.errors import Fault
from ..isa.fields import on_chip_offset, on_chip_space
from ..isa.formats import Array
from ..isa.instructions import Gather, LoadExtent
from ..isa.kernels import nothing
from ..isa.program import Program
from ..isa.record import Instruction
from ..isa.state import State

UNWRITTEN = 0xA5
"""On-chip memories start filled with this byte, so that a program that reads what it never wrote shows."""

_ID = np.dtype(np.int32)

_TELLING = frozenset({LoadExtent.opcode, Gather.opcode})


@dataclass
class Observed:
    """What a run showed that no table says: the value that each `load.extent` row read, and which table rows
    each gather fetched, as (first byte, one past last) in DRAM, int64 [rows, 2] each."""

    loaded: dict[int, int] = field(default_factory=dict[int, int])
    gathered: list[Int64Array] = field(default_factory=list[Int64Array])


class _Bound(NamedTuple):
    """A kernel and where its operands are: for each all its views by offset, and the place of its offset among the
    addresses of an instruction. No views where a kernel needs the instruction itself."""

    function: Callable[..., Any]
    views: tuple[Array, ...] | None
    pick: Callable[[tuple[int, ...]], tuple[int, ...]]


_view: Callable[[Any, int], Any] = getitem

_Step = tuple[Callable[..., Any], tuple[Array, ...], tuple[int, ...]]
"""What a row does: a function, for each of its arrays the views that it may be one of, and which it is."""


class _Form:
    """Instructions that differ in addresses only, and their kernel in each context that they were met in."""

    def __init__(self, instruction: Instruction) -> None:
        self.instruction = instruction
        self._bound: dict[Hashable, _Bound] = {}

    def bound(self, state: State) -> _Bound:
        """The kernel in the context that `state` is; Fault as the kernel's making."""
        context = self.instruction.context(state)
        found = self._bound.get(context)
        if found is None:
            found = self._bound[context] = _bound(self.instruction, state)
        return found


def _bound(instruction: Instruction, state: State) -> _Bound:
    values = vars(instruction)
    if any(values[name] < 0 for name in instruction.extents):
        return _Bound(nothing, None, itemgetter(slice(0)))
    kernel = instruction.kernel(state)
    views = tuple(found for operand in kernel.operands if (found := state.views(operand)) is not None)
    places = [instruction.addresses.index(operand.field) for operand in kernel.operands]
    if len(places) < 2:
        first = places[0] if places else 0
        pick = itemgetter(slice(first, first + len(places)))
    else:
        pick = itemgetter(*places)
    return _Bound(kernel.function, views if len(views) == len(places) else None, pick)


class Executor:
    """The machine's state with a program in it. `state.dram` holds weights from the start; inputs are written
    there.

    What a row does is found when a run first comes to it, and kept for the runs that follow: the kernel of its form,
    and which views of memory it is called with.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.state = State(program.machine, program.initial_dram(), UNWRITTEN)
        self._steps: list[_Step] = []
        self._forms: dict[tuple[type[Instruction], bytes], _Form] = {}
        self._observed = Observed()

    def forget(self) -> None:
        """Fill on-chip memory as at the start, so that no run sees what another left there."""
        self.state.sram.fill(UNWRITTEN)
        self.state.acc.fill(UNWRITTEN)

    def place(self, address: int, array: Array) -> None:
        """Write the bytes of `array` (dense, row-major) to DRAM."""
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self.state.dram[address : address + len(data)] = data

    def fetch(self, address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """A copy of a dense array in DRAM."""
        count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return self.state.dram[address : address + count].copy().view(dtype).reshape(shape)

    def run(self) -> Observed:
        """Perform all rows; Fault with row, instruction and node where one faults."""
        self._observed = Observed()
        row = 0
        try:
            with np.errstate(all="ignore"):
                for function, views, offsets in self._all_steps():
                    function(*map(_view, views, offsets))
                    row += 1
        except (Fault, IndexError) as error:
            raise self._fault(error, row) from None
        return self._observed

    def steps(self) -> Iterator[int]:
        """Perform one row at each step, giving its number after it was done; Fault as in `run`."""
        for row, (function, views, offsets) in enumerate(self._all_steps()):
            try:
                with np.errstate(all="ignore"):
                    function(*map(_view, views, offsets))
            except (Fault, IndexError) as error:
                raise self._fault(error, row) from None
            yield row

    def _fault(self, error: Fault | IndexError, row: int) -> Fault | IndexError:
        """What went wrong in `row`, with its place. An IndexError says that an operand leaves its memory."""
        if isinstance(error, IndexError):
            try:
                self.program.table.instruction(row).perform(self.state)
            except Fault as fault:
                return located(fault, self.program, row)
            return error
        return located(error, self.program, row)

    def _all_steps(self) -> Iterator[_Step]:
        """The steps of every row in turn; one is made before the next row's is asked for."""
        yield from self._steps
        table, state, forms, keep = self.program.table, self.state, self._forms, self._steps.append
        for row, record, form, addresses in table.forms(len(self._steps)):
            found = forms.get((record, form))
            if found is None:
                found = forms[record, form] = _Form(table.of_form(record, form))
            try:
                function, views, pick = found.bound(state)
            except Fault as fault:
                raise located(fault, self.program, row) from None
            if views is None:
                function, views, offsets = partial(table.instruction(row).perform, state), (), ()
            else:
                offsets = pick(addresses)
            if record.opcode in _TELLING:
                function = partial(self._perform_observed, row, function)
            step = (function, views, offsets)
            keep(step)
            yield step

    def _perform_observed(self, row: int, function: Callable[..., Any], *arrays: Array) -> None:
        """Perform a `load.extent` or gather, and note what it found."""
        function(*arrays)
        instruction = self.program.table.instruction(row).resolved(self.state)
        if isinstance(instruction, LoadExtent):
            self._observed.loaded[row] = self.state.extent_registers[instruction.register]
        elif isinstance(instruction, Gather) and not instruction.empty:
            memory = self.state.memory(on_chip_space(instruction.ids))
            start = on_chip_offset(instruction.ids)
            ids = np.unique(memory[start : start + 4 * instruction.count].view(_ID)).astype(np.int64)
            first = instruction.table + ids * instruction.pitch
            self._observed.gathered.append(np.stack([first, first + instruction.row_bytes], axis=1))


def located(fault: Fault, program: Program, row: int) -> Fault:
    """`fault` with its row, the instruction's text and its nodes."""
    if fault.row is not None:
        return fault
    return fault.at(row, program.table.text(row), ", ".join(program.row_nodes(row)) or None)
