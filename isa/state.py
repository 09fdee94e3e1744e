"""What instructions act on: memories as bytes with typed strided views, extent registers, vector programs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .blocks import Space
from .errors import Fault
from .fields import ACC_BIT, EXTENT_REGISTERS
from .formats import Array
from .lanes import CompiledLanes, LaneProgram
from .machine import Machine

Bytes = NDArray[np.uint8]


class VectorSlot:
    """A lane program as written to a slot, with its compiled forms by operand formats."""

    __slots__ = ("compiled", "program")

    def __init__(self, program: LaneProgram) -> None:
        self.program = program
        self.compiled: dict[tuple[int, ...], CompiledLanes] = {}


class State:
    """The state of a machine: `dram`, `sram` and `acc` bytes, `extent_registers`, `slots` by (queue, slot).

    On-chip memories start filled with `fill`, so that a program that relies on them is wrong at once.
    """

    def __init__(self, machine: Machine, dram: Bytes, fill: int = 0) -> None:
        self.machine = machine
        self.dram = dram
        self.sram: Bytes = np.full(machine.sram.bytes, fill, dtype=np.uint8)
        self.acc: Bytes = np.full(machine.acc.bytes, fill, dtype=np.uint8)
        self.extent_registers = [0] * EXTENT_REGISTERS
        self.slots: dict[tuple[int, int], VectorSlot] = {}
        self._views: dict[tuple[Any, ...], Array] = {}

    def memory(self, space: Space) -> Bytes:
        """The bytes of a memory."""
        return {Space.DRAM: self.dram, Space.SRAM: self.sram, Space.ACC: self.acc}[space]

    def on_chip(self, address: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """A view of SRAM or ACC at an on-chip address; strides in bytes. Fault when it leaves the memory.

        Views are kept: programs touch the same places again and again.
        """
        key = (address, shape, strides, dtype)
        view = self._views.get(key)
        if view is None:
            if address & ACC_BIT:
                view = _view(self.acc, "ACC", address ^ ACC_BIT, shape, strides, dtype)
            else:
                view = _view(self.sram, "SRAM", address, shape, strides, dtype)
            self._views[key] = view
        return view

    def in_dram(self, address: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """A view of DRAM; strides in bytes. Fault when it leaves the program's memory."""
        return _view(self.dram, "DRAM", address, shape, strides, dtype)

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
    low, high = address, address + dtype.itemsize
    for extent, stride in zip(shape, strides, strict=True):
        if stride < 0:
            low += (extent - 1) * stride
        else:
            high += (extent - 1) * stride
    if low < 0 or high > len(memory):
        raise Fault(f"bytes {low} to {high - 1} of {name} are outside its {len(memory)} bytes")
    return np.ndarray(shape, dtype, memory, address, strides)
