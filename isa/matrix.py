"""The matrix engine's arithmetic: modes, and the product of two arrays as the engine computes it."""

from __future__ import annotations

from enum import Enum

import numpy as np

from .calls import Calls, WorkingMemory, make
from .errors import UsageError
from .formats import Array, Format, assign

EXACT_INT8_DEPTH = 1024
"""int8 products of this depth stay below 2^24 whatever the values (1024 * 128 * 128), exact in float32."""


_F32 = np.dtype(np.float32)
_I32 = np.dtype(np.int32)


class MatrixMode(Enum):
    """An arithmetic of the matrix engine: name, code, format of A and B, format of the accumulator.

    Codes 4 to 6 are left for i4, ternary and binary.
    """

    F32 = ("f32", 0, Format.F32, Format.F32)
    F16 = ("f16", 1, Format.F16, Format.F32)
    BF16 = ("bf16", 2, Format.BF16, Format.F32)
    I8 = ("i8", 3, Format.I8, Format.I32)

    def __init__(self, label: str, code: int, operand: Format, accumulator: Format) -> None:
        self.label = label
        self.code = code
        self.operand = operand
        self.accumulator = accumulator

    def __str__(self) -> str:
        return self.label

    @staticmethod
    def parse(name: str) -> MatrixMode:
        """The mode called `name`; UsageError if there is none."""
        for mode in MatrixMode:
            if mode.label == name:
                return mode
        raise UsageError(f"no matrix mode {name!r}", "one of " + ", ".join(mode.label for mode in MatrixMode))


MODES_BY_CODE: dict[int, MatrixMode] = {mode.code: mode for mode in MatrixMode}

MODE_NAMES: tuple[str, ...] = ("f32", "f16", "bf16", "i8", "i4", "ternary", "binary")
"""Every mode that a machine file may give a rate for, by code; those without a MatrixMode come later."""

MODE_BITS: dict[str, int] = {"f32": 32, "f16": 16, "bf16": 16, "i8": 8, "i4": 4, "ternary": 2, "binary": 1}
"""Bits of an operand element in each mode, for the port rule."""

_OPERAND_BYTES = [MODES_BY_CODE[code].operand.bytes if code in MODES_BY_CODE else 0 for code in range(16)]
MODE_OPERAND_BYTES = np.array(_OPERAND_BYTES, dtype=np.int64)
"""Bytes of an element of A or B by mode code."""


def multiply(a: Array, b: Array, mode: MatrixMode) -> Array:
    """The product of `a` [m, k] and `b` [k, n], views of any strides, as new float32 or int32 [m, n]."""
    result = np.empty((a.shape[0], b.shape[1]), mode.accumulator.dtype)
    make(product(a, b, result, mode, accumulate=False, working=WorkingMemory()))
    return result


def product(a: Array, b: Array, acc: Array, mode: MatrixMode, accumulate: bool, working: WorkingMemory) -> Calls:
    """The calls that multiply `a` [m, k] and `b` [k, n] into `acc` [m, n] or add to it, views of any strides.

    f32, f16 and bf16 operands are multiplied and summed in float32 in no fixed order. i8 is exact: float32
    products in chunks of EXACT_INT8_DEPTH, added as int32 (k is below 2^16, so no sum of one product wraps).
    """
    left, right, calls = a, b, ()
    if mode is not MatrixMode.F32:
        left = working.array("a", a.shape, _F32)
        right = working.array("b", b.shape, _F32)
        calls = ((np.copyto, (left, a)), (np.copyto, (right, b)))
    partial = working.array("product", acc.shape, _F32)
    depth = a.shape[1]
    chunk = EXACT_INT8_DEPTH if mode is MatrixMode.I8 else depth
    for start in range(0, depth, chunk):
        stop = start + chunk
        calls = (*calls, (np.matmul, (left[:, start:stop], right[start:stop], partial)))
        if not accumulate and start == 0:
            calls = (*calls, (assign, (partial, acc)))
        elif mode is MatrixMode.I8:
            whole = working.array("whole", acc.shape, _I32)
            calls = (*calls, (assign, (partial, whole)), (np.add, (acc, whole, acc)))
        else:
            calls = (*calls, (np.add, (acc, partial, acc)))
    return calls
