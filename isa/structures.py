"""N:M structured sparsity: of every M consecutive values along K, at most N are not zero.

A matrix [K, N'] of a structure is stored compressed: the kept values of its groups, [N ceil(K / M), N'], and the place
in its group of each, as many indices of 1, 2 or 4 bits. Density-bound blocks (Liu et al., "S2TA", HPCA 2022) are the
structures of groups of 8.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import total_ordering

import numpy as np

from .columns import Column, Int64Array, ceiling
from .errors import UsageError
from .formats import Array, Format
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


def grouped(matrix: Array, group: int) -> Array:
    """[..., K, N] as [..., ceil(K / group), group, N], with zeros behind K."""
    *outer, depth, columns = matrix.shape
    groups = -(-depth // group)
    padded = matrix
    if groups * group != depth:
        padded = np.zeros((*outer, groups * group, columns), matrix.dtype)
        padded[..., :depth, :] = matrix
    return padded.reshape(*outer, groups, group, columns)


def least_structure(matrix: Array, structures: Iterable[Structure]) -> Structure | None:
    """Of the `structures` that a matrix [..., K, N] has, the one that leaves fewest rows, and of those the one of least
    indices; None where it has none."""
    depth = matrix.shape[-2]
    most: dict[int, int] = {}
    for structure in sorted(structures, key=lambda one: (one.rows(depth), one.group)):
        if structure.group not in most:
            counts = np.count_nonzero(grouped(matrix, structure.group), axis=-2)
            most[structure.group] = int(counts.max(initial=0))
        if most[structure.group] <= structure.kept:
            return structure
    return None


def compressed(matrix: Array, structure: Structure) -> tuple[Array, Array]:
    """The values of a matrix [..., K, N] that its structure keeps, and their places in their groups (uint8): both
    [..., N ceil(K / M), N'], in the order of the places. Of a group with fewer, zeros of it fill up.

    Raises ValueError for a matrix that has not the structure.
    """
    groups = grouped(matrix, structure.group)
    present = groups != 0
    if int(np.count_nonzero(present, axis=-2).max(initial=0)) > structure.kept:
        raise ValueError(f"a group has more than {structure.kept} values of {structure.group} that are not zero")
    # Those that are not zero first, then by place.
    order = np.argsort(~present, axis=-2, kind="stable")[..., : structure.kept, :]
    places = np.sort(order, axis=-2)
    values = np.take_along_axis(groups, places, axis=-2)
    shape = (*matrix.shape[:-2], structure.rows(matrix.shape[-2]), matrix.shape[-1])
    return values.reshape(shape), places.astype(np.uint8).reshape(shape)


def pruned(matrix: Array, structure: Structure) -> Array:
    """A matrix [..., K, N] with zeros in the place of all but the greatest magnitudes of each group; of equal ones
    those of lower rows stay, and NaN counts as infinite."""
    groups = grouped(matrix, structure.group)
    size = np.abs(groups.astype(np.float32))
    size[np.isnan(size)] = np.inf
    order = np.argsort(-size, axis=-2, kind="stable")[..., : structure.kept, :]
    result = np.zeros_like(groups)
    np.put_along_axis(result, order, np.take_along_axis(groups, order, axis=-2), axis=-2)
    return result.reshape(*matrix.shape[:-2], -1, matrix.shape[-1])[..., : matrix.shape[-2], :]


def named_rows(places: Array, kept: int, group: int) -> Int64Array:
    """Which row of a matrix each value of a compressed one stands for, by its place in its group: of that, the lowest
    bits that a group needs."""
    return np.arange(len(places))[:, None] // kept * group + (places & group - 1)


def spread(values: Array, rows: Int64Array, kept: int, out: Array) -> None:
    """Put compressed `values` [j, n] at their `rows` (`named_rows`) of `out` [groups * group, n], zeros elsewhere; what
    meets in one place is added up."""
    out.fill(0)
    columns: int = out.shape[1]
    where = rows * columns + np.arange(columns)
    flat = out.reshape(-1)
    # Of one place in each group: none of these names an element twice.
    for place in range(kept):
        flat[where[place::kept]] += values[place::kept]
