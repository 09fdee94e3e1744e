"""What instructions act on: memories as bytes with typed strided views, extent registers, vector programs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .blocks import Space
from .calls import WorkingMemory, aligned_bytes
from .errors import Fault
from .fields import ACC_BIT, EXTENT_REGISTERS
from .formats import Array
from .lane_plan import Frame
from .lanes import MAXIMUM_IMMEDIATES, LaneProgram, Structure
from .machine import Machine

Bytes = NDArray[np.uint8]


class VectorSlot:
    """A slot of a vector engine: the lane program in it, and what was prepared to run programs in it.

    The program's numbers stand in arrays, so that calls made for one program run every one of its structure.
    """

    __slots__ = ("_floats", "_ints", "frames", "program")

    def __init__(self, program: LaneProgram) -> None:
        self._floats = [np.zeros((), dtype=np.float32) for _ in range(MAXIMUM_IMMEDIATES)]
        self._ints = [np.zeros((), dtype=np.int32) for _ in range(MAXIMUM_IMMEDIATES)]
        self.frames: dict[tuple[Structure, tuple[int, ...]], Frame] = {}
        self.write(program)

    def write(self, program: LaneProgram) -> None:
        """Put another program into the slot."""
        self.program = program
        for array, value in zip(self.immediates, program.immediates, strict=True):
            array[...] = value

    @property
    def immediates(self) -> list[Array]:
        """The arrays without dimensions that hold the program's numbers."""
        floats = self.program.structure.floats
        return [self._floats[i] if is_float else self._ints[i] for i, is_float in enumerate(floats)]


class State:
    """The state of a machine: `dram`, `sram` and `acc` bytes, `extent_registers`, `slots` by (queue, slot);
    and `working`, arrays for what instructions compute on the way.

    On-chip memories start filled with `fill`, so that a program that relies on them is wrong at once.
    """

    def __init__(self, machine: Machine, dram: Bytes, fill: int = 0) -> None:
        self.machine = machine
        self.dram = dram
        self.sram: Bytes = aligned_bytes(machine.sram.bytes)
        self.acc: Bytes = aligned_bytes(machine.acc.bytes)
        self.sram.fill(fill)
        self.acc.fill(fill)
        self.extent_registers = [0] * EXTENT_REGISTERS
        self.slots: dict[tuple[int, int], VectorSlot] = {}
        self.working = WorkingMemory()

    def memory(self, space: Space) -> Bytes:
        """The bytes of a memory."""
        return {Space.DRAM: self.dram, Space.SRAM: self.sram, Space.ACC: self.acc}[space]

    def on_chip(self, address: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """A view of SRAM or ACC at an on-chip address; strides in bytes. Fault when it leaves the memory."""
        if address & ACC_BIT:
            return _view(self.acc, "ACC", address ^ ACC_BIT, shape, strides, dtype)
        return _view(self.sram, "SRAM", address, shape, strides, dtype)

    def in_dram(self, address: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """A view of DRAM; strides in bytes. Fault when it leaves the program's memory."""
        return _view(self.dram, "DRAM", address, shape, strides, dtype)

    def write_slot(self, queue: int, number: int, program: LaneProgram) -> None:
        """Write a lane program into a slot of the engine of `queue`."""
        slot = self.slots.get((queue, number))
        if slot is None:
            self.slots[queue, number] = VectorSlot(program)
        else:
            slot.write(program)

    def set_extent(self, register: int, value: int, maximum: int) -> None:
        """Set an extent register; Fault when the value is negative or above the declared maximum."""
        if not 0 <= value <= maximum:
            raise Fault(f"extent e{register} would be {value}, declared 0..{maximum}")
        self.extent_registers[register] = value


def _view(
    memory: Bytes,
    name: str,
    address: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: np.dtype[Any],
) -> Array:
    try:
        return np.ndarray(shape, dtype, memory, address, strides)
    except ValueError:
        reaches = [(extent - 1) * stride for extent, stride in zip(shape, strides, strict=True)]
        low = address + sum(min(reach, 0) for reach in reaches)
        high = address + sum(max(reach, 0) for reach in reaches) + dtype.itemsize
        raise Fault(f"bytes {low} to {high - 1} of {name} are outside its {len(memory)} bytes") from None
