"""What a form of attention asks of one head: multiply-accumulates, and rows that are read."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from ...isa.frozen import frozen

if TYPE_CHECKING:
    from ..key_runs import KeyRuns

BY_COST, SCORES, CONTEXT = "cost", "scores", "context"


@frozen
class Extents:
    """Those of one head."""

    queries: int
    keys: int
    key_width: int
    value_width: int

    def macs(self, order: str) -> int:
        """Multiplications with additions of the product of queries, keys and values in an order."""
        if order == SCORES:
            return self.queries * self.keys * (self.key_width + self.value_width)
        return self.key_width * self.value_width * (self.keys + self.queries)

    def between(self, order: str) -> int:
        """Elements of what stands between the two products."""
        return self.queries * self.keys if order == SCORES else self.key_width * self.value_width


class Product(StrEnum):
    """Which product multiply-accumulates are of: queries with keys, weights with values, queries with keys as levels of
    few bits, or any of a linear form."""

    SCORES = "scores"
    VALUES = "values"
    LEVELS = "levels"
    LINEAR = "linear"


@frozen
class Macs:
    """Multiply-accumulates of a product, of levels of so many `bits`: at least and at most, which differ where data say
    what is kept."""

    product: Product
    least: int
    most: int
    bits: int = 0


@frozen
class Work:
    """What is asked of one head: multiply-accumulates, and how many rows of keys and of values are read."""

    macs: tuple[Macs, ...]
    key_rows: int
    value_rows: int

    @staticmethod
    def of_runs(shown: KeyRuns, extents: Extents) -> Work:
        """Of a form that computes what it shows."""
        macs = products(extents, shown.pairs, shown.pairs, shown.pairs, shown.pairs)
        seen = int(shown.grouped([0, extents.queries]).counts.sum())
        return Work(macs, seen, seen)

    @staticmethod
    def of_rows(extents: Extents, *macs: Macs) -> Work:
        """Of a form that reads every key and value."""
        return Work(macs, extents.keys, extents.keys)

    def read_bytes(self, extents: Extents, key_bytes: float, value_bytes: float) -> int:
        """Bytes of the keys and values that are read, given those of an element."""
        keys, values = self.key_rows * extents.key_width, self.value_rows * extents.value_width
        return round(keys * key_bytes + values * value_bytes)


def products(extents: Extents, scored: int, most_scored: int, valued: int, most_valued: int) -> tuple[Macs, Macs]:
    """The two exact products, of so many pairs of a query and a key."""
    keys, values = extents.key_width, extents.value_width
    return (
        Macs(Product.SCORES, scored * keys, most_scored * keys),
        Macs(Product.VALUES, valued * values, most_valued * values),
    )


def kept_pairs(shown: KeyRuns, most: int) -> int:
    """Pairs of a query and a key where each query keeps at most so many of those that it sees."""
    return int(np.minimum(shown.counts, most).sum())
