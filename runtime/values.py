"""The values of a run: every instruction performed in file order, which is the reference order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

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


class Executor:
    """The machine's state with a program in it. `state.dram` holds weights from the start; inputs are written
    there."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.state = State(program.machine, program.initial_dram(), UNWRITTEN)

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

    def run(self, start: int = 0, stop: int | None = None) -> Observed:
        """Perform rows `start` to `stop` (all by default); Fault with row, instruction and node where one
        faults."""
        observed = Observed()
        state, table = self.state, self.program.table
        row = start
        try:
            for row, instruction in table.walk(start, stop):
                instruction.perform(state)
                if instruction.opcode in _TELLING:
                    observe(row, instruction, state, observed)
        except Fault as fault:
            raise located(fault, self.program, row) from None
        return observed

    def steps(self, start: int = 0) -> Iterator[tuple[int, Instruction]]:
        """Perform one row at each step, giving it after it was done; Fault as in `run`."""
        row = start
        try:
            for row, instruction in self.program.table.walk(start):
                instruction.perform(self.state)
                yield row, instruction
        except Fault as fault:
            raise located(fault, self.program, row) from None


def observe(row: int, instruction: Instruction, state: State, observed: Observed) -> None:
    """Note what a `load.extent` or gather that was just performed found."""
    if isinstance(instruction, LoadExtent):
        observed.loaded[row] = state.extent_registers[instruction.register]
    elif isinstance(instruction, Gather) and instruction.count > 0 and instruction.row_bytes > 0:
        memory = state.memory(on_chip_space(instruction.ids))
        start = on_chip_offset(instruction.ids)
        ids = np.unique(memory[start : start + 4 * instruction.count].view(_ID)).astype(np.int64)
        first = instruction.table + ids * instruction.pitch
        observed.gathered.append(np.stack([first, first + instruction.row_bytes], axis=1))


def located(fault: Fault, program: Program, row: int) -> Fault:
    """`fault` with its row, the instruction's text and its nodes."""
    if fault.row is not None:
        return fault
    return fault.at(row, program.table.text(row), ", ".join(program.row_nodes(row)) or None)
