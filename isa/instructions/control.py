"""Instructions of every queue: waiting, and setting extent registers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..blocks import Block, Space
from ..columns import Column
from ..fields import EXTENT_REGISTERS
from ..formats import Array
from ..kernels import Kernel, Operand, nothing
from ..record import Condition, Cost, Instruction, instruction, on_chip_address, unsigned, wait

if TYPE_CHECKING:
    from ..machine import Machine
    from ..state import State

_ID = np.dtype(np.int32)


@instruction("sync", engine=None, opcode=0x01)
class Sync(Instruction):
    """Wait for up to twelve more instructions than the header names, then retire."""

    wait0: Column = wait("further wait")
    wait1: Column = wait("further wait")
    wait2: Column = wait("further wait")
    wait3: Column = wait("further wait")
    wait4: Column = wait("further wait")
    wait5: Column = wait("further wait")
    wait6: Column = wait("further wait")
    wait7: Column = wait("further wait")
    wait8: Column = wait("further wait")
    wait9: Column = wait("further wait")
    wait10: Column = wait("further wait")
    wait11: Column = wait("further wait")

    def reads(self) -> tuple[Block, ...]:
        """Nothing."""
        return ()

    def writes(self) -> tuple[Block, ...]:
        """Nothing."""
        return ()

    def cost(self, machine: Machine) -> Cost:
        """One issue (`control_cycles`)."""
        return Cost(busy=machine.control_cycles + self.wait0 * 0)

    def execute(self, state: State) -> Kernel:
        """Nothing: waiting is a matter of time."""
        return Kernel(nothing)


SYNC_WAITS = tuple(item.name for item in Sync.fields)
"""Names of the further waits of `sync`."""


def _register_block(register: Column) -> Block:
    return Block(Space.REGISTER, register * 4, (), (), register * 0 + 4)


@instruction("set.extent", engine=None, opcode=0x02)
class SetExtent(Instruction):
    """e[register] = value. A value above `maximum` faults; static ranges and costs count with `maximum`."""

    register: Column = unsigned("extent register", 5)
    value: Column = unsigned("new value", 16, "element")
    maximum: Column = unsigned("largest value that the register may hold from here on", 16, "element")

    def reads(self) -> tuple[Block, ...]:
        """Nothing."""
        return ()

    def writes(self) -> tuple[Block, ...]:
        """The register."""
        return (_register_block(self.register),)

    def cost(self, machine: Machine) -> Cost:
        """One issue (`control_cycles`)."""
        return Cost(busy=machine.control_cycles + self.register * 0)

    def faults(self, machine: Machine) -> tuple[Condition, ...]:
        """The value lies above the declared maximum."""
        return ((self.value > self.maximum, "the extent is above its declared maximum"),)

    def execute(self, state: State) -> Kernel:
        """Set the register."""
        return Kernel(partial(state.set_extent, self.register, self.value, self.maximum))


@instruction("load.extent", engine=None, opcode=0x03)
class LoadExtent(Instruction):
    """e[register] = the int32 at `address`. A value below 0 or above `maximum` faults."""

    register: Column = unsigned("extent register", 5)
    address: Column = on_chip_address("where the int32 stands")
    maximum: Column = unsigned("largest value that the register may hold from here on", 16, "element")

    def reads(self) -> tuple[Block, ...]:
        """The four bytes of the value."""
        return (_value_block(self.address),)

    def writes(self) -> tuple[Block, ...]:
        """The register."""
        return (_register_block(self.register),)

    def cost(self, machine: Machine) -> Cost:
        """One issue (`control_cycles`) and a read of four bytes."""
        from_acc = (self.address >> 31) & 1
        return Cost(
            busy=machine.control_cycles + self.register * 0,
            events={"sram.read": 4 * (1 - from_acc), "acc.read": 4 * from_acc},
        )

    def execute(self, state: State) -> Kernel:
        """Set the register."""

        def load(value: Array) -> None:
            state.set_extent(self.register, int(value[0]), self.maximum)

        return Kernel(load, (Operand.on_chip("address", self.address, (1,), (4,), _ID),))


def _value_block(address: Column) -> Block:
    return Block(Space.SRAM + ((address >> 31) & 1), address & 0x7FFFFFFF, (), (), address * 0 + 4)


assert EXTENT_REGISTERS == 1 << 5
