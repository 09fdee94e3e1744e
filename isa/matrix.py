"""The matrix engine's arithmetic: modes, and the product of two arrays as the engine computes it."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import cache

import numpy as np

from .errors import UsageError
from .formats import Array, Format
from .kernels import WorkingMemory
from .packed import fields_of_bytes, signed_field

EXACT_INT8_DEPTH = 1024
"""int8 products of this depth stay below 2^24 whatever the values (1024 * 128 * 128), exact in float32."""

_F32 = np.dtype(np.float32)


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

    @staticmethod
    def parse(name: str) -> Values:
        """The values called `name`; UsageError if there are none."""
        for values in Values:
            if values.label == name:
                return values
        raise UsageError(f"no operand values {name!r}", "one of " + ", ".join(values.label for values in Values))


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


Multiply = Callable[[Array, Array, Array], None]
"""A function (a, b, acc) that multiplies a and b into `acc` [m, n], or adds to it where it accumulates."""

Add = Callable[[Array, bool], None]
"""A function (acc, old) that writes the float32 product of a part to `acc`, or adds it to an `old` sum."""


def multiply(a: Array, b: Array, mode: MatrixMode) -> Array:
    """The product of `a` [m, k] and `b` [k, n], views of any strides, as new float32 or int32 [m, n]."""
    (m, k), n = a.shape, b.shape[1]
    result = np.empty((m, n), mode.accumulator.dtype)
    product(m, n, k, mode, False, False, WorkingMemory())(a, b, result)
    return result


def product(
    m: int, n: int, k: int, mode: MatrixMode, accumulate: bool, transposed: bool, working: WorkingMemory
) -> Multiply:
    """The function that multiplies `a` [m, k] and `b` [k, n], views of any strides; `transposed` says that elements of
    b along k are the nearer ones.

    f32, f16 and bf16 operands are multiplied and summed in float32 in no fixed order. i8 is exact: float32 products in
    chunks of EXACT_INT8_DEPTH, added as int32 (k is below 2^16, so no sum of one product wraps).
    """
    add = addition(m, n, mode, working)
    if mode is MatrixMode.F32:
        partial = working.array("product", (m, n), _F32)

        def multiply_floats(a: Array, b: Array, acc: Array) -> None:
            np.matmul(a, b, partial)
            add(acc, accumulate)

        return multiply_floats
    left = working.array("a", (m, k), _F32)
    right = working.array("b", (n, k), _F32).T if transposed else working.array("b", (k, n), _F32)
    products = parts(left, right, EXACT_INT8_DEPTH if mode is MatrixMode.I8 else k, working)

    def multiply_converted(a: Array, b: Array, acc: Array) -> None:
        left[...] = a
        right[...] = b
        old = accumulate
        for part in products:
            np.matmul(*part)
            add(acc, old)
            old = True

    return multiply_converted


def parts(left: Array, right: Array, chunk: int, working: WorkingMemory) -> list[tuple[Array, Array, Array]]:
    """The arguments of the float32 products of `left` and `right` in chunks of K."""
    partial = working.array("product", (len(left), right.shape[1]), _F32)
    starts = range(0, len(right), chunk)
    return [(left[:, start : start + chunk], right[start : start + chunk], partial) for start in starts]


def addition(m: int, n: int, mode: MatrixMode, working: WorkingMemory) -> Add:
    """The function (acc, old) that writes the float32 product of a part to `acc`, or adds it to an `old` sum."""
    partial = working.array("product", (m, n), _F32)
    whole = working.array("whole", (m, n), mode.accumulator.dtype)

    def add_floats(acc: Array, old: bool) -> None:
        if old:
            np.add(acc, partial, acc)
        else:
            acc[...] = partial

    def add_integers(acc: Array, old: bool) -> None:
        if old:
            whole[...] = partial
            np.add(acc, whole, acc)
        else:
            acc[...] = partial

    return add_integers if mode.accumulator is Format.I32 else add_floats
