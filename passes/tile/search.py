"""Searching tile sizes: what sizes are worth trying, and the cost of all tiles of all candidates at once.

Every candidate is a column of a few numpy arrays, so that one call of a record's cost function answers for all.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from .rates import MAXIMUM_EXTENT, Column, TileCost

PARTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024, 2048, 4096, 8192)
"""Into how many pieces an axis is tried to be cut."""

MOST_SIZES = 10
"""The most sizes that are tried along one axis of a tile."""

ALIGNMENT = 64
"""Buffers on chip start at multiples of this many bytes."""

CHANNEL_SHARE = 0.1
"""What a DRAM cycle that hides behind another engine still counts: other kernels' loads want the channel too."""

INSTRUCTION_CYCLES = 8
"""What an instruction counts beyond its cycles: of plans about as fast, the shorter program is better."""


def pieces(extent: int, unit: int) -> tuple[int, ...]:
    """Sizes that cut `extent` into equal pieces, rounded up to `unit`, from the whole down to one unit."""
    sizes: dict[int, None] = {}
    for part in PARTS:
        size = -(-extent // part)
        size = min(-(-size // unit) * unit, extent)
        if size <= MAXIMUM_EXTENT:
            sizes[size] = None
        if size <= unit:
            break
    found = list(sizes) or [MAXIMUM_EXTENT // unit * unit]
    small = found[-MOST_SIZES:]
    return tuple(small if small[0] > 16 * unit else found[:MOST_SIZES])


def row_pieces(extent: int, unit: int) -> tuple[int, ...]:
    """As `pieces`, but also sizes that cut `extent` evenly without padding the last piece (197 as 5 x 33 + 32)."""
    even = {-(-extent // part) for part in PARTS if -(-extent // part) >= min(unit, extent)}
    return tuple(sorted({*pieces(extent, unit), *(size for size in even if size <= MAXIMUM_EXTENT)}, reverse=True))


def ceil(value: Any, by: Any) -> Any:
    """`value / by` rounded up; numbers and columns alike."""
    return -(-value // by)


def aligned(size: Any) -> Column:
    """Bytes, perhaps of parts of one, rounded up to where the next buffer can start."""
    return np.asarray(np.ceil(size), dtype=np.int64) + (ALIGNMENT - 1) & -ALIGNMENT


def where(condition: Any, there: Any, elsewhere: Any) -> Column:
    """`numpy.where` of integers."""
    return np.asarray(np.where(condition, there, elsewhere), dtype=np.int64)


def _tiles(extent: int, size: Column) -> tuple[tuple[Column, Column], ...]:
    """(count, size) of the whole pieces and of the last, shorter one (count 0 where there is none)."""
    rest = extent % size
    return (extent // size, size), (np.minimum(rest, 1), np.maximum(rest, 1))


def total(cost: TileCost, *axes: tuple[int, Column]) -> Column:
    """`cost(sizes...)` summed over all tiles of the axes, each an extent and a column of tile sizes.

    `cost` gives a column, or an array of several columns; it is asked once for each distinct tile.
    """

    def summed(*sizes: Column) -> Column:
        corners = product(*(_tiles(extent, size) for (extent, _), size in zip(axes, sizes, strict=True)))
        counted = [(np.multiply.reduce([count for count, _ in corner]), corner) for corner in corners]
        found = [(count, corner) for count, corner in counted if count.any()] or counted[:1]
        tiles = (np.concatenate([corner[axis][1] for _, corner in found]) for axis in range(len(axes)))
        costs = np.asarray(cost(*tiles))
        costs = costs.reshape(*costs.shape[:-1], len(found), -1)
        return (costs * np.stack([count for count, _ in found])).sum(axis=-2)

    return distinct(summed, *(size for _, size in axes))


def distinct(cost: TileCost, *sizes: Column) -> Column:
    """`cost(*sizes)`, asked once for each distinct tile."""
    code = sizes[0]
    for size in sizes[1:]:
        code = code * (MAXIMUM_EXTENT + 1) + size
    first, inverse = _groups(np.asarray(code, dtype=np.int64).tobytes())
    return np.asarray(cost(*(size[first] for size in sizes)))[..., inverse]


@lru_cache(maxsize=512)
def _groups(code: bytes) -> tuple[Column, Column]:
    """Where each distinct number of a column is first, and which of them each one is. Candidates of like kernels, and
    the costs of one kernel, ask for the same columns over and over."""
    _, first, inverse = np.unique(np.frombuffer(code, dtype=np.int64), return_index=True, return_inverse=True)
    return first, inverse
