"""Constant matrices of few values: whole numbers, a scale for the tensor or for each column, and perhaps an offset.

Exporters write quantized weights as float tables, and simplifiers fold their scales into them.
"""

from __future__ import annotations

import numpy as np

from ...dialects.constants import Array
from ...isa.frozen import frozen

SAMPLED = 64
"""So many first values of a constant tell most matrices that have many levels."""

LARGEST = 8
"""The greatest whole number that is looked for under a scale: that of 4 bits."""

BYTE = 127


@frozen
class Levels:
    """A float array as levels * scale + offset, exactly (with an offset, to rounding); scale and offset have one
    element, or one for each index of an axis, and stretch to it. Levels are small whole numbers."""

    scale: Array
    offset: Array | None = None

    def whole(self, array: Array) -> Array:
        """The levels of the array, int8."""
        wide = array.astype(np.float32, copy=False)
        moved = wide if self.offset is None else wide - self.offset
        return np.rint(moved / self.scale).astype(np.int8)


def levels_of(array: Array, axis: int) -> Levels | None:
    """The levels of a constant with scales along `axis` (one for all where that does); None for a constant of other
    values."""
    if not array.size or _has_many_magnitudes(array, axis):
        return None
    array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        return None
    others = tuple(other for other in range(array.ndim) if other != axis)
    for reduced in (None, others):
        scale = np.abs(array).max(axis=reduced, keepdims=reduced is not None)
        if ((np.abs(array) == scale) | (array == 0)).all():
            return Levels(np.where(scale > 0, scale, 1).astype(np.float32))
    if np.abs(array).max() <= BYTE and (array == np.floor(array)).all():
        return Levels(np.ones((), np.float32))
    for reduced in (None, others):
        found = _scaled(array, reduced) or _two_values(array, reduced)
        if found is not None:
            return found
    return None


def _scaled(array: Array, reduced: tuple[int, ...] | None) -> Levels | None:
    """Whole numbers of up to LARGEST times a scale that gives back every value."""
    largest = np.abs(array).max(axis=reduced, keepdims=reduced is not None).astype(np.float32)
    scale = np.zeros_like(largest)
    for top in range(LARGEST, 1, -1):
        near = np.where(largest > 0, largest, 1) / np.float32(top)
        for candidate in (near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(np.inf))):
            same = np.rint(array / candidate) * candidate == array
            scale = np.where(same.all(axis=reduced, keepdims=reduced is not None), candidate, scale)
    return Levels(scale.astype(np.float32)) if (scale > 0).all() else None


def _two_values(array: Array, reduced: tuple[int, ...] | None) -> Levels | None:
    """-1 and 1 times half the distance of two values, around their middle."""
    high = array.max(axis=reduced, keepdims=reduced is not None).astype(np.float32)
    low = array.min(axis=reduced, keepdims=reduced is not None).astype(np.float32)
    if not ((array == high) | (array == low)).all() or (high == low).any():
        return None
    half = (high - low) / np.float32(2)
    return Levels(half, (low + half).astype(np.float32)) if np.isfinite(half).all() else None


def _has_many_magnitudes(array: Array, axis: int) -> bool:
    """What a glance at a few elements of one index of `axis` tells; most weights need no closer look."""
    sample = np.abs(array.take(0, axis).ravel()[:SAMPLED])
    return len(set(sample.tolist()) - {0}) > LARGEST and bool((sample != np.floor(sample)).any())
