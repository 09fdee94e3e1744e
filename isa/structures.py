"""N:M structured sparsity: of every M consecutive values along K, at most N are not zero.

A matrix [K, N'] of a structure is stored compressed: the kept values of its groups, [N ceil(K / M), N'], and the place
in its group of each, as many indices of 1, 2 or 4 bits. Density-bound blocks (Liu et al., "S2TA", HPCA 2022) are the
structures of groups of 8.
"""

from __future__ import annotations

import re
from functools import total_ordering

import numpy as np

from .columns import Column, Int64Array, ceiling
from .errors import UsageError
from .formats import Format
from .frozen import frozen

GROUPS: dict[int, int] = {0: 2, 1: 4, 2: 8, 3: 16}
"""How many values a group has, by its code in instructions."""

GROUP_SIZES: Int64Array = np.array(list(GROUPS.values()), dtype=np.int64)
"""The same as a column to look up in."""

INDEX_FORMATS: dict[int, Format] = {2: Format.B1, 4: Format.U2, 8: Format.U4, 16: Format.U4}
"""How the place in a group is stored, by the size of the group: a whole part of a byte."""

INDEX_BITS: Int64Array = np.array([INDEX_FORMATS[size].bits for size in GROUPS.values()], dtype=np.int64)
"""Bits of an index, by the code of the group."""

LARGEST_KEPT = 15

_TEXT = re.compile(r"(\d{1,2}):(\d{1,2})")


def kept_rows(k: Column, kept: Column, group: Column) -> Column:
    """Rows that `k` values of each column take when compressed: a last group of fewer than `group` is as the others."""
    return ceiling(k, group) * kept


@total_ordering
@frozen
class Structure:
    """At most `kept` of every `group` consecutive values along K are not zero, the first group beginning at 0.

    Of two structures the lesser is the one that multiplies less, then the one that stores less.
    """

    kept: int
    group: int

    def __post_init__(self) -> None:
        if self.group not in INDEX_FORMATS or not 1 <= self.kept < self.group:
            groups = ", ".join(map(str, INDEX_FORMATS))
            raise UsageError(f"{self} is no structure", f"N:M has an M of {groups}, and an N from 1 to M - 1")

    def __str__(self) -> str:
        return f"{self.kept}:{self.group}"

    def __lt__(self, other: Structure) -> bool:
        return (self.density, self.group) < (other.density, other.group)

    @staticmethod
    def parse(text: str) -> Structure:
        """From "2:4". Raises UsageError."""
        found = _TEXT.fullmatch(text)
        if found is None:
            raise UsageError(f"{text!r} is no structure", "write N:M, as 2:4")
        return Structure(int(found[1]), int(found[2]))

    @property
    def density(self) -> float:
        """The part of the products that is left."""
        return self.kept / self.group

    @property
    def group_code(self) -> int:
        """The code of the group in instructions."""
        return next(code for code, size in GROUPS.items() if size == self.group)

    @property
    def code(self) -> int:
        """A number of its own: what `structure_codes` gives for its fields."""
        return 4 * self.kept + self.group_code

    @property
    def index_format(self) -> Format:
        """How a place in a group is stored."""
        return INDEX_FORMATS[self.group]

    def rows(self, k: int) -> int:
        """Rows that `k` values of each column take when compressed."""
        return kept_rows(k, self.kept, self.group)


CODES = 4 * (LARGEST_KEPT + 1)
"""Codes of structures are below this."""


def structure_codes(kept: Column, group: Column) -> Column:
    """`Structure.code` of the fields of instructions: how many are kept, and the code of the group."""
    return 4 * kept + group
