"""Calls: what an instruction does, as functions with their arguments, to be made as often as it runs.

The arguments are views of memory and working arrays, so that nothing is looked up again when the same
instruction runs again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .formats import Array

_ALIGNMENT = 64

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function and its arguments."""

Calls = tuple[Call, ...]
"""Calls in the order in which they are made."""


def make(calls: Calls) -> None:
    """Make `calls`; floating-point errors give what IEEE says, silently."""
    with np.errstate(all="ignore"):
        for function, arguments in calls:
            function(*arguments)


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
            size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            memory = self._bytes.get(place)
            if memory is None or len(memory) < size:
                memory = self._bytes[place] = aligned_bytes(size)
            found = self._arrays[key] = np.ndarray(shape, dtype, memory)
        return found
