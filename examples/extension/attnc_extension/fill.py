"""`ld.fill`: a block on chip set to one byte, without a transfer from DRAM."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attnc.isa.blocks import Block, count_lines
from attnc.isa.columns import Column
from attnc.isa.engines import Engine
from attnc.isa.fields import on_chip_offset, on_chip_space
from attnc.isa.formats import Array
from attnc.isa.kernels import Kernel, Operand
from attnc.isa.record import (
    Condition,
    Cost,
    Instruction,
    extent,
    instruction,
    on_chip_address,
    on_chip_stride,
    rows_overlap,
    unsigned,
)

if TYPE_CHECKING:
    from attnc.isa.machine import Machine
    from attnc.isa.state import State


@instruction("ld.fill", engine=Engine.LD, opcode=0xC0)
class Fill(Instruction):
    """chip[i, j] = value for i below `rows` and j below `row_bytes`."""

    chip: Column = on_chip_address("row 0 on chip")
    rows: Column = extent("rows to fill", 1, unit="row")
    row_bytes: Column = extent("bytes of a row", unit="byte")
    chip_stride: Column = on_chip_stride("distance between rows")
    value: Column = unsigned("the byte", 8, default=0)

    @property
    def _block(self) -> Block:
        space, offset = on_chip_space(self.chip), on_chip_offset(self.chip)
        return Block(space, offset, (self.rows,), (self.chip_stride,), self.row_bytes).merged()

    def reads(self) -> tuple[Block, ...]:
        """Nothing."""
        return ()

    def writes(self) -> tuple[Block, ...]:
        """The rows."""
        return (self._block,)

    def cost(self, machine: Machine) -> Cost:
        """A cycle for each line of `transfer.access_bytes` that a row touches."""
        lines = count_lines(
            on_chip_offset(self.chip), (self.rows,), (self.chip_stride,), self.row_bytes, machine.transfer.access_bytes
        )
        data, in_acc = self.rows * self.row_bytes, (self.chip >> 31) & 1
        return Cost(busy=lines, events={"sram.write": data * (1 - in_acc), "acc.write": data * in_acc})

    def faults(self, machine: Machine) -> tuple[Condition, ...]:
        """Rows that land on one another."""
        del machine
        return (rows_overlap("rows", self.rows, self.chip_stride, self.row_bytes),)

    def execute(self, state: State) -> Kernel:
        """Fill."""
        del state
        value = self.value

        def fill(rows: Array) -> None:
            rows[...] = value

        shape, strides = (self.rows, self.row_bytes), (self.chip_stride, 1)
        return Kernel(fill, (Operand.on_chip("chip", self.chip, shape, strides, np.dtype(np.uint8)),))
