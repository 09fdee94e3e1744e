"""Arithmetic that works alike on Python ints and on int64 columns (one value an instruction).

Costs, reads and writes of instructions are written with it, so that one call answers for one instruction, for
thousands of tile candidates, or for a whole program.
"""

from __future__ import annotations

from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

Column: TypeAlias = Any
"""A Python int, or an int64 array with one value an instruction; the arithmetic is the same."""

Int64Array = NDArray[np.int64]


def is_column(value: object) -> bool:
    """Whether `value` is an array (one value an instruction) and not one number."""
    return isinstance(value, np.ndarray)


def choose(condition: Column, if_true: Column, if_false: Column) -> Column:
    """`if_true` where `condition` holds, else `if_false`."""
    if is_column(condition):
        return cast(Any, np.where(condition, if_true, if_false))
    return if_true if condition else if_false


def larger(a: Column, b: Column) -> Column:
    """The larger of two."""
    if is_column(a) or is_column(b):
        return np.maximum(a, b)
    return max(a, b)


def smaller(a: Column, b: Column) -> Column:
    """The smaller of two."""
    if is_column(a) or is_column(b):
        return np.minimum(a, b)
    return min(a, b)


def ceiling(value: Column, divisor: Column) -> Column:
    """`value / divisor` rounded up, for positive `divisor`."""
    return -(-value // divisor)


def lookup(table: Int64Array, index: Column) -> Column:
    """`table[index]`, as int for an int index."""
    return table[index] if is_column(index) else int(table[index])


def both(a: Column, b: Column) -> Column:
    """Logical and of two conditions."""
    return a & b if is_column(a) or is_column(b) else bool(a and b)


def either(a: Column, b: Column) -> Column:
    """Logical or of two conditions."""
    return a | b if is_column(a) or is_column(b) else bool(a or b)


def as_vector(value: Column, length: int) -> Int64Array:
    """`value` as an int64 vector of `length` (a number is repeated)."""
    vector: Int64Array = np.asarray(value, dtype=np.int64)
    return vector if vector.shape == (length,) else np.full(length, vector)


def common_length(*values: Column) -> int | None:
    """The length of those values that are columns; None if all are numbers."""
    for value in values:
        if is_column(value) and value.ndim:
            return len(value)
    return None
