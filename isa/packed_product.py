"""Products of packed values, exact: float32 products of what the bytes hold, or bits counted by compiled code.

Sums of products of few bits are small, and a float32 has room for two of them: the rows of b are multiplied in pairs,
as first + 2^shift second, and the two sums that come out as one number are taken apart. That halves the work.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from .formats import Array, Format
from .kernels import WorkingMemory
from .matrix import Add, MatrixMode, Multiply, Values, addition, parts, values_of_bytes
from .packed import packed_bytes, unpacking

EXACT = 1 << 24
"""float32 holds every whole number up to this size."""

PAIRED = 2047
"""The largest size of two sums in one float32, 12 bits with its sign: 2047 + 2^12 * 2047 < 2^24."""

PAIRED_DEPTH = 256
"""Pairs whose sums may be of so many products at least save more than it takes to take them apart."""

_F32, _I32, _I64, _U64 = (np.dtype(kind) for kind in (np.float32, np.int32, np.int64, np.uint64))


def packed_product(
    m: int,
    n: int,
    k: int,
    values: tuple[Values, Values],
    accumulate: bool,
    working: WorkingMemory,
    compiled: bool = False,
) -> Multiply:
    """The function that multiplies packed `a` [m, bytes] and `b` [n, bytes], k values each, into int32 `acc` [m, n], or
    adds to it.

    What lies behind the k values of a row does not count. `compiled` counts bits, where the extra `fast` is installed.
    """
    counting = _counting() if compiled and all(side.stored is Format.B1 for side in values) else None
    if counting is not None:
        return _counted(counting, n, k, values, accumulate, working)
    largest = _largest(values[0]) * _largest(values[1])
    paired = n > 1 and PAIRED // largest >= PAIRED_DEPTH
    # K in chunks whose sums are exact, of about the same depth.
    depth = (PAIRED if paired else EXACT) // largest
    depth = -(-k // -(-max(k, 1) // depth))
    left, unpack_left = _unpacked("a", m, k, values[0], working)
    if not paired:
        right, unpack_right = _unpacked("b", n, k, values[1], working)
        add = addition(m, n, MatrixMode.BINARY, working)
    else:
        shift = (depth * largest).bit_length() + 1
        right, unpack_right = _unpacked_pairs(n, k, values[1], shift, working)
        add = _addition_of_pairs(m, n, shift, working)
    products = parts(left, right.T, depth, working)

    def multiply_unpacked(a: Array, b: Array, acc: Array) -> None:
        unpack_left(a)
        unpack_right(b)
        old = accumulate
        for part in products:
            np.matmul(*part)
            add(acc, old)
            old = True

    return multiply_unpacked


@cache
def _counting() -> Callable[..., None] | None:
    """The compiled product of bits, None where there is no compiler."""
    try:
        from .bit_counting import multiply_bits
    except ImportError:
        return None
    return multiply_bits


def _counted(
    counting: Callable[..., None],
    n: int,
    k: int,
    values: tuple[Values, Values],
    accumulate: bool,
    working: WorkingMemory,
) -> Multiply:
    p, q = (int(side is Values.BIPOLAR) for side in values)
    words, counts = working.array("words", (-(-k // 64), n), _U64), working.array("counts", (2, n), _I64)

    def multiply_bits(a: Array, b: Array, acc: Array) -> None:
        counting(a, b, k, p, q, accumulate, words, counts, acc)

    return multiply_bits


def _largest(values: Values) -> int:
    return int(np.abs(values_of_bytes(values)).max())


def _unpacked(
    place: str, rows: int, k: int, values: Values, working: WorkingMemory, scale: int = 1
) -> tuple[Array, Callable[[Array], None]]:
    """An array [rows, k] for the values of packed rows times `scale`, and what unpacks rows into it."""
    table = values_of_bytes(values) * _F32.type(scale)
    whole = working.array(place, (rows, packed_bytes(k, 8 // table.shape[1]) * table.shape[1]), _F32)
    unpack = unpacking(table)
    return whole[:, :k], lambda stored: unpack(stored, whole)


def _unpacked_pairs(
    n: int, k: int, values: Values, shift: int, working: WorkingMemory
) -> tuple[Array, Callable[[Array], None]]:
    """As `_unpacked`, for the first half of the n rows, to which 2^shift times the second half is added."""
    half = -(-n // 2)
    first, unpack_first = _unpacked("b", half, k, values, working)
    second, unpack_second = _unpacked("second half of b", n - half, k, values, working, 1 << shift)
    lower = first[: n - half]

    def unpack(stored: Array) -> None:
        unpack_first(stored[:half])
        unpack_second(stored[half:])
        np.add(lower, second, lower)

    return first, unpack


def _addition_of_pairs(m: int, n: int, shift: int, working: WorkingMemory) -> Add:
    """As `addition`, of sums in pairs: those of the second half of the columns count 2^shift times."""
    half = -(-n // 2)
    partial, sums, upper = (
        working.array(place, (m, half), dtype) for place, dtype in (("product", _F32), ("whole", _I32), ("upper", _I32))
    )
    bits, mask, middle = (np.array(number, _I32) for number in (shift, (1 << shift) - 1, 1 << shift - 1))
    both, above = sums[:, : n - half], upper[:, : n - half]

    def add(acc: Array, old: bool) -> None:
        first, second = acc[:, :half], acc[:, half:]
        sums[...] = partial
        # From 0 on, so that the bits of the lower sum are its own.
        np.add(sums, middle, sums)
        if old:
            np.right_shift(both, bits, above)
            np.add(second, above, second)
        else:
            np.right_shift(both, bits, second)
        np.bitwise_and(sums, mask, sums)
        if old:
            np.subtract(sums, middle, sums)
            np.add(first, sums, first)
        else:
            np.subtract(sums, middle, first)

    return add
