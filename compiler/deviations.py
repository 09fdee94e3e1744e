"""How far a value is off its reference: errors, and for values of two levels (bits) how many are on the right side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from math import isfinite
from typing import Any

import numpy as np

from ..dialects.constants import Array
from ..isa.frozen import frozen

_SAMPLE = 4096
"""Elements that are looked at first, to see whether a value can have two levels only."""


@frozen
class Comparison:
    """One ONNX value at one phase: the nodes that made it, whether it agrees, and how far it is off.

    `max_abs_error` is absolute; `relative_error` is that over the reference's greatest magnitude; `cosine` is of the
    flattened values (NaN where they are not finite); `mismatches` counts elements outside the tolerance of `elements`.

    Where the reference has two levels only, `sign_agreement` is the share of elements on the reference's side of their
    middle, and `popcount` the least and the most elements of a row (along the last axis) on the upper side.
    """

    phase: str
    value: str
    nodes: tuple[str, ...]
    agrees: bool
    max_abs_error: float
    relative_error: float
    cosine: float
    mismatches: int
    elements: int
    sign_agreement: float | None = None
    popcount: tuple[int, int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: figures that are not finite become None."""
        fields = asdict(self)
        return {
            name: None if isinstance(value, float) and not isfinite(value) else value for name, value in fields.items()
        }


@frozen
class Yardstick:
    """What values are compared with: the reference by name, and the tolerance element by element."""

    expected: Mapping[str, Array]
    rtol: float
    atol: float

    def compared(self, phase: str, value: str, nodes: tuple[str, ...], given: Array) -> Comparison:
        """How far `given` is off the reference for `value`."""
        expected = self.expected[value]
        if given.shape != expected.shape:
            size = expected.size
            return Comparison(phase, value, nodes, False, np.inf, np.inf, np.nan, size, size)
        left, right = given.astype(np.float64), expected.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            error = np.abs(left - right)
            # Infinities of one sign and NaN agree with their like.
            error[(left == right) | (np.isnan(left) & np.isnan(right))] = 0
            error[np.isnan(error)] = np.inf
            bad = int((error > self.atol + self.rtol * np.abs(np.where(np.isfinite(right), right, 0))).sum())
            norm = float(np.linalg.norm(left) * np.linalg.norm(right))
            cosine = float(left.ravel() @ right.ravel() / norm) if norm else float(bad == 0)
        worst = float(error.max(initial=0))
        magnitude = float(np.abs(right[np.isfinite(right)]).max(initial=0))
        relative = worst / magnitude if magnitude else worst
        middle = middle_of_levels(right)
        if middle is None:
            return Comparison(phase, value, nodes, bad == 0, worst, relative, cosine, bad, right.size)
        above = left > middle
        counts = above.sum(axis=-1)
        return Comparison(
            phase, value, nodes, bad == 0, worst, relative, cosine, bad, right.size,
            sign_agreement=float((above == (right > middle)).mean()),
            popcount=(int(counts.min()), int(counts.max())),
        )  # fmt: skip


def middle_of_levels(values: Array) -> float | None:
    """The middle between the two levels of `values`; None where they have fewer or more."""
    if values.ndim == 0 or not values.size or len(np.unique(values.reshape(-1)[:_SAMPLE])) > 2:
        return None
    low, high = float(values.min()), float(values.max())
    return (low + high) / 2 if low < high and bool(((values == low) | (values == high)).all()) else None
