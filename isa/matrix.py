"""The matrix engine's arithmetic: modes, and the product of two arrays as the engine computes it."""

from __future__ import annotations

from enum import Enum
from functools import cache

import numpy as np

from .calls import Calls, WorkingMemory, make
from .errors import UsageError
from .formats import Array, Format, assign
from .packed import fields_of_bytes, signed_field, unpacking

EXACT_INT8_DEPTH = 1024
"""int8 products of this depth stay below 2^24 whatever the values (1024 * 128 * 128), exact in float32."""

EXACT_PACKED_DEPTH = 4096
"""Products of packed modes of this depth stay below 2^24 (4096 * 255 * 15 < 2^24), exact in float32."""

_F32 = np.dtype(np.float32)
_I32 = np.dtype(np.int32)


class MatrixMode(Enum):
    """An arithmetic of the matrix engine: name, code, format of A and B, format of the accumulator.

    Operands of the packed modes i4, ternary and binary lie packed along K, and may have other values than the
    mode's own (`Values`): an A of more bits is taken in as many turns, so that cycles go with the bits of A.
    """

    F32 = ("f32", 0, Format.F32, Format.F32)
    F16 = ("f16", 1, Format.F16, Format.F32)
    BF16 = ("bf16", 2, Format.BF16, Format.F32)
    I8 = ("i8", 3, Format.I8, Format.I32)
    I4 = ("i4", 4, Format.I4, Format.I32)
    TERNARY = ("ternary", 5, Format.I2, Format.I32)
    BINARY = ("binary", 6, Format.B1, Format.I32)

    def __init__(self, label: str, code: int, operand: Format, accumulator: Format) -> None:
        self.label = label
        self.code = code
        self.operand = operand
        self.accumulator = accumulator

    def __str__(self) -> str:
        return self.label

    @property
    def packed(self) -> bool:
        """Whether operands lie packed along K."""
        return self.operand.packed

    @staticmethod
    def parse(name: str) -> MatrixMode:
        """The mode called `name`; UsageError if there is none."""
        for mode in MatrixMode:
            if mode.label == name:
                return mode
        raise UsageError(f"no matrix mode {name!r}", "one of " + ", ".join(mode.label for mode in MatrixMode))


MODES_BY_CODE: dict[int, MatrixMode] = {mode.code: mode for mode in MatrixMode}

MODE_NAMES: tuple[str, ...] = tuple(mode.label for mode in sorted(MatrixMode, key=lambda mode: mode.code))
"""Every mode, by code."""

MODE_BITS: dict[str, int] = {mode.label: mode.operand.bits for mode in MatrixMode}
"""Bits of an operand element in each mode: its rate holds for an A of so many."""


class Values(Enum):
    """What the operands of a packed mode hold: name, code, stored format.

    `own` is the mode's format: i4 two's complement, ternary two bits of two's complement (-1, 0 and 1), binary
    bipolar. Bits are bipolar (1 is +1, 0 is -1) or unipolar (1 is 1, 0 is 0).
    """

    OWN = ("own", 0, None)
    BIPOLAR = ("bipolar", 1, Format.B1)
    UNIPOLAR = ("unipolar", 2, Format.B1)
    I2 = ("i2", 3, Format.I2)
    U2 = ("u2", 4, Format.U2)
    I4 = ("i4", 5, Format.I4)
    U4 = ("u4", 6, Format.U4)
    I8 = ("i8", 7, Format.I8)
    U8 = ("u8", 8, Format.U8)

    def __init__(self, label: str, code: int, stored: Format | None) -> None:
        self.label = label
        self.code = code
        self.stored = stored


@cache
def values_of_bytes(values: Values) -> Array:
    """[256, elements of a byte]: what every byte holds, float32. Not for `own`."""
    stored = values.stored
    assert stored is not None
    fields = fields_of_bytes(stored.bits)
    if values is Values.BIPOLAR:
        return (2 * fields.astype(np.int32) - 1).astype(np.float32)
    return (signed_field(fields, stored.bits) if stored.signed else fields).astype(np.float32)


VALUES_BY_CODE: dict[int, Values] = {values.code: values for values in Values}

OWN_VALUES: dict[MatrixMode, Values] = {
    MatrixMode.I4: Values.I4,
    MatrixMode.TERNARY: Values.I2,
    MatrixMode.BINARY: Values.BIPOLAR,
}
"""What `own` means in each packed mode."""

RIGHT_VALUES: dict[MatrixMode, tuple[Values, ...]] = {
    MatrixMode.I4: (Values.OWN, Values.I4, Values.U4),
    MatrixMode.TERNARY: (Values.OWN, Values.I2),
    MatrixMode.BINARY: (Values.OWN, Values.BIPOLAR, Values.UNIPOLAR),
}
"""What B may hold in each packed mode; A may hold anything."""


def operand_values(mode: MatrixMode, code: int) -> Values:
    """The values of an operand of a packed mode by the code in its instruction."""
    values = VALUES_BY_CODE[code]
    return OWN_VALUES[mode] if values is Values.OWN else values


def _bits(mode: int, code: int) -> int:
    if mode not in MODES_BY_CODE or code not in VALUES_BY_CODE:
        return 0
    stored = VALUES_BY_CODE[code].stored
    return MODES_BY_CODE[mode].operand.bits if stored is None else stored.bits


OPERAND_BITS = np.array([[_bits(mode, code) for code in range(16)] for mode in range(16)], dtype=np.int64).ravel()
"""Bits of an element of A or B by 16 * mode code + values code; 0 for codes that are not used."""

OWN_BITS = OPERAND_BITS[::16].copy()
"""Bits of an element of the mode's own by mode code."""


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


def packed_product(
    a: Array,
    b: Array,
    acc: Array,
    values: tuple[Values, Values],
    depth: int,
    accumulate: bool,
    working: WorkingMemory,
) -> Calls:
    """The calls that multiply packed `a` [m, bytes] and `b` [n, bytes], `depth` values of K each, into `acc` [m, n] or
    add to it; exact.

    Products are at most 255 * 15 in size, so float32 sums of a chunk stay below 2^24.
    """
    left, right = (working.array(place, (stored.shape[0], depth), _F32) for place, stored in (("a", a), ("b", b)))
    partial = working.array("product", acc.shape, _F32)
    calls: Calls = (
        (unpacking(values_of_bytes(values[0])), (a, left)),
        (unpacking(values_of_bytes(values[1])), (b, right)),
    )
    for start in range(0, depth, EXACT_PACKED_DEPTH):
        stop = start + EXACT_PACKED_DEPTH
        calls = (*calls, (np.matmul, (left[:, start:stop], right[:, start:stop].T, partial)))
        if not accumulate and start == 0:
            calls = (*calls, (assign, (partial, acc)))
        else:
            whole = working.array("whole", acc.shape, _I32)
            calls = (*calls, (assign, (partial, whole)), (np.add, (acc, whole, acc)))
    return calls
