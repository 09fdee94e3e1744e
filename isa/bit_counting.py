"""Products of bits by counting them, compiled: the extra `fast` (numba), to be imported where many are needed.

A bit x is worth (1 + p) x - p, p being 1 for +-1 and 0 for 0 and 1, and likewise y of the other side with q. With n(.)
the number of bits set, a sum over K bits of the products is therefore

    (1 + p) (1 + q) n(x & y) - (1 + p) q n(x) - p (1 + q) n(y) + p q K.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

WORD = 64
"""Bits that are counted at once."""

_SIGNATURE = "void(uint8[:, :], uint8[:, :], int64, int64, int64, boolean, uint64[:, ::1], int64[:, ::1], int32[:, :])"

_Function = Callable[..., Any]

# What numba exports has no types.
_numba: Any = numba
_intrinsic: Any = intrinsic


def _compiled(function: _Function) -> _Function:
    """The function compiled, or as it was kept the last time."""
    try:
        return _numba.njit(_SIGNATURE, cache=True)(function)
    except RuntimeError:  # There is no place to keep it.
        return _numba.njit(_SIGNATURE)(function)


def _counting(context: Any, word: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(*arguments)

    return _numba.int64(_numba.uint64), code


def _loading(context: Any, address: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(*arguments, ir.IntType(64).as_pointer()), align=1)

    return _numba.uint64(_numba.uintp), code


_count: _Function = _intrinsic(_counting)
"""How many bits of a word are set."""

_word_at: _Function = _intrinsic(_loading)
"""The word at an address, which need not be a multiple of its bytes."""


@_numba.njit
def _word(packed: Any, row: int, index: int, k: int) -> Any:
    """The `index`-th word of a row of k packed bits, whose bytes follow each other; zeros behind the last bit."""
    first, left = WORD // 8 * index, k - WORD * index
    if left >= WORD:
        return _word_at(np.uint64(packed.ctypes.data) + np.uint64(row * packed.strides[0] + first))
    word = np.uint64(0)
    for byte in range((left + 7) // 8):
        word |= np.uint64(packed[row, first + byte]) << np.uint64(8 * byte)
    return word & ((np.uint64(1) << np.uint64(left)) - np.uint64(1))


@_compiled
def multiply_bits(a: Any, b: Any, k: int, p: int, q: int, accumulate: bool, words: Any, counts: Any, acc: Any) -> None:
    """Write the product of packed bits `a` [m, bytes] and `b` [n, bytes], k each, to int32 `acc` [m, n], or add it.

    p, q: 1 where bits are +-1, 0 where they are 0 and 1. words: uint64 [words of k, n], and counts: int64 [2, n], for
    what is known on the way.
    """
    columns, depth = len(b), len(words)
    both, single = counts[0], counts[1]
    single[:] = 0
    for column in range(columns):
        for index in range(depth):
            word = _word(b, column, index, k)
            words[index, column] = word
            single[column] += p * (1 + q) * _count(word)
    for row in range(len(a)):
        both[:] = 0
        ones = 0
        for index in range(depth):
            word = _word(a, row, index, k)
            ones += _count(word)
            for column in range(columns):
                both[column] += _count(word & words[index, column])
        start: int = p * q * k - (1 + p) * q * ones
        if accumulate:
            for column in range(columns):
                acc[row, column] += (1 + p) * (1 + q) * both[column] - single[column] + start
        else:
            for column in range(columns):
                acc[row, column] = (1 + p) * (1 + q) * both[column] - single[column] + start
