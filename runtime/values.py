"""The values of a run: every instruction performed in file order, which is the reference order."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..isa.calls import Calls, make
from ..isa.columns import Int64Array
from ..isa.errors import Fault
from ..isa.fields import on_chip_offset, on_chip_space
from ..isa.formats import Array
from ..isa.instructions import Gather, LoadExtent
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


class _Shared(NamedTuple):
    """The calls of an instruction, and the context that they were prepared in."""

    instruction: Instruction
    context: Hashable
    calls: Calls


class Executor:
    """The machine's state with a program in it. `state.dram` holds weights from the start; inputs are written
    there.

    What a row does is prepared when a run first comes to it, as calls on views of the state, and kept for
    the runs that follow; equal instructions share it.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.state = State(program.machine, program.initial_dram(), UNWRITTEN)
        self._prepared: list[Calls] = []
        self._shared: dict[tuple[type[Instruction], bytes], _Shared] = {}
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
        with np.errstate(all="ignore"):
            for row, calls in enumerate(self._calls()):
                try:
                    for function, arguments in calls:
                        function(*arguments)
                except Fault as fault:
                    raise located(fault, self.program, row) from None
        return self._observed

    def steps(self) -> Iterator[int]:
        """Perform one row at each step, giving its number after it was done; Fault as in `run`."""
        for row, calls in enumerate(self._calls()):
            try:
                make(calls)
            except Fault as fault:
                raise located(fault, self.program, row) from None
            yield row

    def _calls(self) -> Iterator[Calls]:
        """The calls of every row in turn; those of a row are made before the next row's are asked for."""
        yield from self._prepared
        table = self.program.table
        for row, record, packed in table.packed(len(self._prepared)):
            shared = self._shared.get((record, packed))
            if shared is None or shared.instruction.context(self.state) != shared.context:
                instruction = record.of(table.unpacked(record, packed))
                try:
                    calls = instruction.calls(self.state)
                except Fault as fault:
                    raise located(fault, self.program, row) from None
                shared = _Shared(instruction, instruction.context(self.state), calls)
                self._shared[record, packed] = shared
            calls = shared.calls
            if record.opcode in _TELLING:
                calls = (*calls, (self._observe, (row, shared.instruction)))
            self._prepared.append(calls)
            yield calls

    def _observe(self, row: int, instruction: Instruction) -> None:
        """Note what a `load.extent` or gather that was just performed found."""
        instruction = instruction.resolved(self.state)
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
