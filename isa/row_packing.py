"""How the kept elements of a mask are packed into rows of the array."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .columns import Column, ceiling
from .formats import Array
from .frozen import frozen

if TYPE_CHECKING:
    from .machine import Machine


@frozen
class RowPacking:
    """At most `width` kept elements go into a row of the array, of one window of `window` columns and `height` rows.

    With a height of 1, sums of a row of the array are those of one row of the mask (Lu et al., "Sanger", MICRO 2021:
    pack and split); with more, multipliers of a row add to sums of different rows (AccelTran's lanes).
    """

    window: int
    width: int
    height: int = 1

    @staticmethod
    def of(machine: Machine, width: int) -> RowPacking:
        """The best that a machine has."""
        return RowPacking(machine.sparse.window, width, machine.sparse.height)

    def count(self, mask: Array) -> int:
        """Into how many rows of the array the bools of a mask [rows, columns] go."""
        rows, columns = mask.shape
        strips, windows = -(-rows // self.height), -(-columns // self.window)
        padded = np.zeros((strips * self.height, windows * self.window), np.bool_)
        padded[:rows, :columns] = mask
        kept = padded.reshape(strips, self.height, windows, self.window).sum(axis=(1, 3), dtype=np.int64)
        return int((-(-kept // self.width)).sum())

    def expected(self, rows: Column, columns: Column, share: float) -> Column:
        """Into how many masks of rows x columns that keep a share are reckoned to go: in each piece of a mask half a
        row of the array is not full."""
        pieces = ceiling(rows, self.height) * ceiling(columns, self.window)
        return np.asarray(np.ceil(share * rows * columns / self.width + pieces / 2), np.int64)

    def most(self, rows: int, columns: int) -> int:
        """Into how many a mask of so many rows and columns goes that keeps all."""
        return sum(
            count * -(-height * width // self.width) * times
            for height, count in _pieces(rows, self.height)
            for width, times in _pieces(columns, self.window)
        )


def _pieces(extent: int, size: int) -> tuple[tuple[int, int], ...]:
    """(size, how many) of whole pieces and of the one that is left."""
    whole, rest = divmod(extent, size)
    return ((size, whole), (rest, bool(rest)))
