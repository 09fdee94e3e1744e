"""The values of a run: every instruction performed in file order, which is the reference order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ..isa.columns import Int64Array
from ..isa.errors import Fault
from ..isa.fields import on_chip_offset, on_chip_space
from ..isa.formats import Array, Format
from ..isa.instructions import Compact, Gather, LoadExtent, Product
from ..isa.matrix import MatrixMode, Values, operand_values
from ..isa.program import Program
from ..isa.state import State
from .steps import prepared_steps

UNWRITTEN = 0xA5
"""On-chip memories start filled with this byte, so that a program that reads what it never wrote shows."""

_ID = np.dtype(np.int32)

_TELLING = (LoadExtent.opcode, Gather.opcode, Compact.opcode)

_BITS = [values.code for values in Values if operand_values(MatrixMode.BINARY, values.code).stored is Format.B1]

COMPILED_FROM = 5_000_000_000
"""Products of bits in a program from which on compiled code for them pays: it takes as long to load as it saves in two
inferences, at the most."""


@dataclass
class Observed:
    """What a run showed that no table says: the value that each `load.extent` row read, which table rows each gather
    fetched, as (first byte, one past last) in DRAM, int64 [rows, 2] each, and of how many columns each `sx.compact` row
    listed how many."""

    loaded: dict[int, int] = field(default_factory=dict[int, int])
    gathered: list[Int64Array] = field(default_factory=list[Int64Array])
    listed: dict[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])


class Executor:
    """The machine's state with a program in it. `state.dram` holds weights from the start; inputs are written
    there.

    """

    def __init__(self, program: Program) -> None:
        self.program = program
        compiled = _products_of_bits(program) >= COMPILED_FROM
        self.state = State(program.machine, program.initial_dram(), UNWRITTEN, compiled)
        self._observed = Observed()
        self._steps = prepared_steps(program, self.state)
        for row in np.flatnonzero(np.isin(program.table.opcode, _TELLING)).tolist():
            function, arrays = self._steps[row]
            self._steps[row] = (partial(self._perform_observed, row, function), arrays)

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

    def run(self, after: Callable[[int], None] | None = None) -> Observed:
        """Perform all rows; Fault with row, instruction and node where one faults. `after` is called with each row when
        it was performed."""
        if after is not None:
            self._observed = Observed()
            for row in self.steps():
                after(row)
            return self._observed
        self._observed = Observed()
        row = 0
        try:
            with np.errstate(all="ignore"):
                for function, arrays in self._steps:
                    function(*arrays)
                    row += 1
        except Fault as fault:
            raise located(fault, self.program, row) from None
        return self._observed

    def steps(self) -> Iterator[int]:
        """Perform one row at each step, giving its number after it was done; Fault as in `run`."""
        for row, (function, arrays) in enumerate(self._steps):
            try:
                with np.errstate(all="ignore"):
                    function(*arrays)
            except Fault as fault:
                raise located(fault, self.program, row) from None
            yield row

    def _perform_observed(self, row: int, function: Callable[..., Any], *arrays: Array) -> None:
        """Perform a `load.extent`, gather or `sx.compact`, and note what it found."""
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
        elif isinstance(instruction, Compact) and not instruction.empty:
            memory = self.state.memory(on_chip_space(instruction.count))
            start = on_chip_offset(instruction.count)
            (found,) = memory[start : start + _ID.itemsize].view(_ID).tolist()
            self._observed.listed[row] = instruction.columns, found


def _products_of_bits(program: Program) -> int:
    """How many products of one bit and another a program sums up."""
    product = program.analysis.instances.get(Product.mnemonic)
    if product is None:
        return 0
    fields = vars(product)
    of_bits = (fields["mode"] == MatrixMode.BINARY.code) & np.isin(fields["a_values"], _BITS)
    return int((fields["m"] * fields["n"] * fields["k"] * of_bits).sum())


def located(fault: Fault, program: Program, row: int) -> Fault:
    """`fault` with its row, the instruction's text and its nodes."""
    if fault.row is not None:
        return fault
    return fault.at(row, program.table.text(row), ", ".join(program.row_nodes(row)) or None)
