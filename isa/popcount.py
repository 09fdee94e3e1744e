"""Products of bits by counting them: sums over K of words of 64 bits that agree, or that are both set.

With x the bits of a row of a and y those of a row of b, n(.) the number of bits set, over K bits:

    bipolar  a, bipolar  b    K - 2 n(x ^ y)
    unipolar a, bipolar  b    2 n(x & y) - n(x)
    bipolar  a, unipolar b    2 n(x & y) - n(y)
    unipolar a, unipolar b    n(x & y)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .formats import Array
from .kernels import WorkingMemory

WORD = 64

BLOCK = 1 << 15
"""Words of a block of rows of the result by all columns, so that what is counted stays in the nearer caches."""

_U8, _U16, _I32, _U64 = (np.dtype(kind) for kind in (np.uint8, np.uint16, np.int32, np.uint64))


def bit_product(
    m: int, n: int, k: int, bipolar: tuple[bool, bool], working: WorkingMemory
) -> Callable[[Array, Array], Array]:
    """The function that multiplies packed bits `a` [m, bytes] and `b` [n, bytes], k each, into int32 [m, n].

    What lies behind the k bits of a row does not count. `bipolar` says of each side whether a bit is +-1, not 0 or 1.
    The result is overwritten by the next product of the same `working` memory. k is below 2^16.
    """
    words = -(-k // WORD)
    rows = max(1, min(m, BLOCK // max(n, 1)))
    left, right = (_Words(f"{side} words", extent, k, working) for side, extent in (("a", m), ("b", n)))
    both = working.array("both", (rows, n), _U64)
    counts = working.array("counts", (rows, n), _U8)
    sums = working.array("sums", (rows, n), _U16)
    result = working.array("whole", (m, n), _I32)
    combine = np.bitwise_xor if all(bipolar) else np.bitwise_and
    factor = -2 if all(bipolar) else 2 if any(bipolar) else 1

    def multiply(a: Array, b: Array) -> Array:
        x, y = left.of(a), right.of(b)
        for start in range(0, m, rows):
            size = min(rows, m - start)
            word, count, total = both[:size], counts[:size], sums[:size]
            total.fill(0)
            for index in range(words):
                combine(x[index, start : start + size, None], y[index], word)
                np.bitwise_count(word, count)
                np.add(total, count, total)
            np.multiply(total, factor, out=result[start : start + size], dtype=_I32)
        if all(bipolar):
            np.add(result, k, result)
        elif any(bipolar):
            single, axis = (y, 0) if bipolar[0] else (x, 1)
            np.subtract(result, np.expand_dims(_set_bits(single), axis), result)
        return result

    return multiply


def _set_bits(words: Array) -> Array:
    """How many bits of each row [words, rows] are set."""
    return np.bitwise_count(words).sum(axis=0, dtype=np.int32)


class _Words:
    """Packed rows as words [words, rows], zeros behind the last bit."""

    def __init__(self, place: str, rows: int, k: int, working: WorkingMemory) -> None:
        words = -(-k // WORD)
        self._stored = -(-k // 8)
        self._rest = k % 8
        self._bytes = working.array(f"{place} by row", (rows, words * WORD // 8), _U8)
        self._words = working.array(place, (words, rows), _U64)

    def of(self, packed: Array) -> Array:
        """The words of `packed` [rows, bytes]."""
        self._bytes[:, : self._stored] = packed
        self._bytes[:, self._stored :] = 0
        if self._rest:
            self._bytes[:, self._stored - 1] &= np.uint8((1 << self._rest) - 1)
        self._words[...] = self._bytes.view(np.uint64).T
        return self._words
