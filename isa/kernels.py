"""Kernels: what instructions of one form do, as a function of the arrays that they work on.

Instructions that differ in addresses only (and slots, where their lane programs are of one structure) are one form. Its
kernel is prepared once, working arrays and all; what
an instruction then does is to call it with views of memory at the instruction's own addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .blocks import Space
from .fields import on_chip_space
from .formats import Array

_ALIGNMENT = 64


class Operand(NamedTuple):
    """An array in memory: `field` holds its address; `shape`, and `strides` in bytes."""

    field: str
    space: Space
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]

    @staticmethod
    def on_chip(
        field: str, address: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype[Any]
    ) -> Operand:
        """An array in the memory, SRAM or ACC, of the on-chip `address` that `field` holds."""
        return Operand(field, Space.ACC if on_chip_space(address) == Space.ACC else Space.SRAM, shape, strides, dtype)


class Number(NamedTuple):
    """A number of the lane program in a slot: of the engine of `queue`, the `place`-th, an array without dimensions."""

    queue: int
    place: int
    dtype: np.dtype[Any]


class Kernel(NamedTuple):
    """What instructions of one form do: `function` takes the arrays of `operands`, in their order, then the `numbers`
    of the slot that the instruction names."""

    function: Callable[..., Any]
    operands: tuple[Operand, ...] = ()
    numbers: tuple[Number, ...] = ()


def nothing() -> None:
    """What an instruction does that has nothing to do but retire."""


def aligned_bytes(count: int) -> NDArray[np.uint8]:
    """`count` bytes, undefined, from an address at which wide loads are fast."""
    memory = np.empty(count + _ALIGNMENT, dtype=np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + count]


class WorkingMemory:
    """Arrays for intermediate results. What one instruction leaves in them the next may overwrite."""

    def __init__(self) -> None:
        self._bytes: dict[Hashable, Array] = {}
        self._arrays: dict[Hashable, Array] = {}

    def array(self, place: Hashable, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """The array of `shape` at `place`: places share no memory, arrays of one place do."""
        key = (place, shape, dtype)
        found = self._arrays.get(key)
        if found is None:
            size = prod(shape) * dtype.itemsize
            memory = self._bytes.get(place)
            if memory is None or len(memory) < size:
                memory = self._bytes[place] = aligned_bytes(size)
            found = self._arrays[key] = np.ndarray(shape, dtype, memory)
        return found
