"""Tiles of an irregular cut, each size with how often it occurs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...dialects.key_runs import Ints
from ...isa.frozen import frozen
from .rates import Column


@frozen(eq=False)
class Counted:
    """Tiles of a layout: how often each (rows, columns) occurs."""

    times: Ints
    rows: Ints
    columns: Ints

    @staticmethod
    def of(rows: Ints, columns: Ints) -> Counted:
        """From one pair of sizes a tile."""
        sizes, times = np.unique(np.stack([rows, columns]), axis=1, return_counts=True)
        return Counted(times.astype(np.int64), sizes[0], sizes[1])

    def cut(self, keys: int) -> Counted:
        """With columns in pieces of `keys`."""
        whole, rest = self.columns // keys, self.columns % keys
        times = np.concatenate([self.times * whole, self.times * (rest > 0)])
        columns = np.concatenate([np.full_like(rest, keys), np.maximum(rest, 1)])
        return Counted(times, np.tile(self.rows, 2), columns)

    def total(self, cost: Callable[[Column, Column], Column]) -> int:
        """`cost(rows, columns)` over all tiles."""
        return int((self.times * cost(self.rows, self.columns)).sum())
