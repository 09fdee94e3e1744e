"""How many DRAM bursts and on-chip accesses a strided copy costs: exact counts, for numbers and columns.

The rule. Dimensions are taken in order of their DRAM stride, smallest first, starting from one element.
While a stride is no longer than the run so far, the run grows over the dimension's whole span (contiguous,
overlapping or repeated data); a stride below one burst is fetched as one run over its span too, gaps and all.
Every run that remains costs each burst it touches.

On chip, a piece is what is contiguous in DRAM and on chip alike; each piece costs one access for every line
of `access_bytes` that it touches.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .blocks import count_lines
from .columns import Column, Int64Array, as_vector, common_length, is_column

_LAST = np.int64(1) << 62


def _sorted_dimensions(
    extents: Sequence[Column], strides: Sequence[Column], others: Sequence[Column], size: int
) -> tuple[Int64Array, Int64Array, Int64Array]:
    # Most copies have fewer dimensions than an instruction holds: the others have the number 1 for an extent.
    kept = [place for place, extent in enumerate(extents) if is_column(extent) or extent != 1] or [0]
    n, s, o = (np.stack([as_vector(of[place], size) for place in kept]) for of in (extents, strides, others))
    order = np.argsort(np.where(n == 1, _LAST, np.abs(s)), axis=0, kind="stable")
    return tuple(np.take_along_axis(a, order, axis=0) for a in (n, s, o))  # pyright: ignore[reportReturnType]


def dram_bursts(
    address: Column, extents: Sequence[Column], strides: Sequence[Column], element: Column, burst: int
) -> Column:
    """Bursts of `burst` bytes that a copy of elements of `element` bytes moves; strides in bytes, signed."""
    length = common_length(address, element, *extents, *strides)
    size = 1 if length is None else length
    n, s, _ = _sorted_dimensions(extents, strides, strides, size)
    low = as_vector(address, size) + np.minimum((n - 1) * s, 0).sum(axis=0)
    s = np.abs(s)
    empty = (n == 0).any(axis=0)
    run = as_vector(element, size).copy()
    rest: list[Int64Array] = []
    for extent, stride in zip(n, s, strict=True):
        joins = (extent > 1) & ((stride <= run) | (stride < burst))
        run = np.where(joins, (extent - 1) * stride + run, run)
        rest.append(np.where(joins, 1, extent))
    total = count_lines(low, rest, list(s), run, burst)
    total = np.where(empty, 0, total)
    return total if length is not None else int(total[0])


def on_chip_accesses(
    address: Column,
    extents: Sequence[Column],
    strides: Sequence[Column],
    dram_strides: Sequence[Column],
    element: Column,
    access: int,
) -> Column:
    """Accesses of `access` bytes that the on-chip side of a copy makes (`address`, `strides` on chip)."""
    length = common_length(address, element, *extents, *strides, *dram_strides)
    size = 1 if length is None else length
    n, d, c = _sorted_dimensions(extents, dram_strides, strides, size)
    empty = (n == 0).any(axis=0)
    piece = as_vector(element, size).copy()
    whole = np.ones(size, dtype=np.bool_)
    rest: list[Int64Array] = []
    for extent, dram_stride, chip_stride in zip(n, d, c, strict=True):
        joins = whole & (extent > 1) & (dram_stride == piece) & (chip_stride == piece)
        piece = np.where(joins, extent * piece, piece)
        whole = whole & (joins | (extent == 1))
        rest.append(np.where(joins, 1, extent))
    total = count_lines(as_vector(address, size), rest, list(c), piece, access)
    total = np.where(empty, 0, total)
    return total if length is not None else int(total[0])


def targets_overlap(extents: Sequence[Column], strides: Sequence[Column], element: Column) -> NDArray[np.bool_]:
    """Bool vector: whether elements of a copy's target may land on one another.

    They may not when the dimensions nest: each stride is at least the span of those with smaller strides.
    """
    length = common_length(element, *extents, *strides)
    size = 1 if length is None else length
    n, s, _ = _sorted_dimensions(extents, strides, strides, size)
    span = as_vector(element, size)
    wrong = np.zeros(size, dtype=np.bool_)
    for extent, stride in zip(n, np.abs(s), strict=True):
        wrong |= (extent > 1) & (stride < span)
        span = np.where(extent > 1, (extent - 1) * stride + span, span)
    return wrong & (n > 0).all(axis=0)
