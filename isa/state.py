"""What instructions act on: memories as bytes with typed strided views, extent registers, vector programs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .blocks import Space
from .errors import Fault
from .fields import EXTENT_REGISTERS, on_chip_offset
from .formats import Array
from .kernels import Number, Operand, WorkingMemory, aligned_bytes
from .lanes import SLOTS, LaneProgram
from .machine import Machine

Bytes = NDArray[np.uint8]


class State:
    """The state of a machine: `dram`, `sram` and `acc` bytes, `extent_registers`, `slots` by (queue, slot);
    and `working`, arrays for what instructions compute on the way.

    On-chip memories start filled with `fill`, so that a program that relies on them is wrong at once. `compiled` asks
    for kernels of compiled code where there are any (the extra `fast`); they compute the same.
    """

    def __init__(self, machine: Machine, dram: Bytes, fill: int = 0, compiled: bool = False) -> None:
        self.machine = machine
        self.compiled = compiled
        self.dram = dram
        self.sram: Bytes = aligned_bytes(machine.sram.bytes)
        self.acc: Bytes = aligned_bytes(machine.acc.bytes)
        self.sram.fill(fill)
        self.acc.fill(fill)
        self.extent_registers = [0] * EXTENT_REGISTERS
        self.slots: dict[tuple[int, int], LaneProgram] = {}
        self._numbers: dict[Number, tuple[Array, ...]] = {}
        self.working = WorkingMemory()

    def memory(self, space: Space) -> Bytes:
        """The bytes of a memory."""
        return {Space.DRAM: self.dram, Space.SRAM: self.sram, Space.ACC: self.acc}[space]

    def view(self, operand: Operand, address: int) -> Array:
        """The array of `operand` at the address that its field holds; Fault when it leaves the memory."""
        shape, strides, dtype = operand.shape, operand.strides, operand.dtype
        memory, start = self.memory(operand.space), address
        if operand.space is not Space.DRAM:
            start = on_chip_offset(address)
        try:
            return np.ndarray(shape, dtype, memory, start, strides)
        except ValueError:
            reaches = [(extent - 1) * stride for extent, stride in zip(shape, strides, strict=True)]
            low = start + sum(min(reach, 0) for reach in reaches)
            high = start + sum(max(reach, 0) for reach in reaches) + dtype.itemsize
            reason = f"bytes {low} to {high - 1} of {operand.space.name} are outside its {len(memory)} bytes"
            raise Fault(reason) from None

    def views(self, operand: Operand) -> Array | None:
        """The views of `operand` at every offset from 0 on at which it fits its memory, as one array with the offset
        as first axis; None where it reaches below its address, or fits nowhere."""
        memory = self.memory(operand.space)
        reach = sum((extent - 1) * stride for extent, stride in zip(operand.shape, operand.strides, strict=True))
        count = len(memory) - reach - operand.dtype.itemsize + 1
        if count <= 0 or min(operand.strides, default=0) < 0:
            return None
        return np.ndarray((count, *operand.shape), operand.dtype, memory, 0, (1, *operand.strides))

    def numbers(self, number: Number) -> tuple[Array, ...]:
        """By slot, the array that holds this number of its lane program."""
        found = self._numbers.get(number)
        if found is None:
            found = self._numbers[number] = tuple(np.zeros((), number.dtype) for _ in range(SLOTS))
        return found

    def write_slot(self, queue: int, slot: int, program: LaneProgram) -> None:
        """Write a lane program into a slot of the engine of `queue`."""
        self.slots[queue, slot] = program
        for number, value in zip(program.structure.numbers(queue), program.immediates, strict=True):
            self.numbers(number)[slot][...] = value

    def set_extent(self, register: int, value: int, maximum: int) -> None:
        """Set an extent register; Fault when the value is negative or above the declared maximum."""
        if not 0 <= value <= maximum:
            raise Fault(f"extent e{register} would be {value}, declared 0..{maximum}")
        self.extent_registers[register] = value
