"""For each row of a program the rows that must have retired before it issues."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise

import numpy as np

from ..isa.columns import Int64Array
from ..isa.frozen import frozen
from ..isa.table import Table


@frozen
class Waits:
    """Row r waits for `rows[first[r]:first[r + 1]]`; int64 arrays."""

    first: Int64Array
    rows: Int64Array

    @staticmethod
    def of_pairs(waiting: Int64Array, rows: Int64Array, length: int) -> Waits:
        """The waits of `length` rows: row `waiting[i]` waits for `rows[i]`. Those of one row keep their order."""
        order = np.argsort(waiting, kind="stable")
        first = np.zeros(length + 1, dtype=np.int64)
        np.cumsum(np.bincount(waiting, minlength=length), out=first[1:])
        return Waits(first, rows[order])

    @cached_property
    def waiting(self) -> Int64Array:
        """For each wait the row that waits, ascending."""
        return np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))

    def and_pairs(self, waiting: Int64Array, rows: Int64Array) -> Waits:
        """These and further waits, behind those of their row."""
        both = np.concatenate([self.waiting, waiting]), np.concatenate([self.rows, rows])
        return Waits.of_pairs(*both, len(self.first) - 1)

    def lists(self) -> list[list[int]]:
        """For each row the rows that it waits for."""
        rows: list[int] = self.rows.tolist()
        ends: list[int] = self.first.tolist()
        return [rows[first:last] for first, last in pairwise(ends)]


def waited_rows(table: Table) -> Waits:
    """For each row the rows that its waits name."""
    waiting, queues, counts = table.waits()
    named = np.zeros(len(waiting), dtype=np.int64)
    for queue in np.unique(queues):
        chosen = queues == queue
        named[chosen] = np.flatnonzero(table.queue == queue)[counts[chosen] - 1]
    return Waits.of_pairs(waiting, named, len(table))
