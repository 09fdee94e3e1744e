"""The axes of a rowwise kernel: a domain of any rank as row axes and column axes, as few as its views allow."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from ...isa.frozen import frozen
from .view import View


@frozen
class Axis:
    """An axis of the domain: its extent, and the stride along it of each view (0 where a view repeats)."""

    extent: int
    strides: tuple[int, ...]


@frozen
class Axes:
    """Row axes, then column axes, outermost first; there is at least one of each (of extent 1 if need be)."""

    rows: tuple[Axis, ...]
    columns: tuple[Axis, ...]

    @property
    def all(self) -> tuple[Axis, ...]:
        """Rows and columns."""
        return self.rows + self.columns

    @property
    def column_count(self) -> int:
        """Elements of a row."""
        return prod(axis.extent for axis in self.columns)


def split_axes(domain: Sequence[int], reduced: Sequence[int], views: Sequence[View]) -> Axes:
    """Reduced axes become the columns; without any, the innermost axis after merging does.

    Axes of extent 1 go, and neighbours merge where every view steps over them evenly. A view may have extent 1 where
    the domain has more: it repeats there.
    """
    rows: list[Axis] = []
    columns: list[Axis] = []
    for index, extent in enumerate(domain):
        if extent == 1:
            continue
        strides = tuple(view.strides[index] if view.shape[index] != 1 else 0 for view in views)
        side = columns if index in reduced else rows
        side.append(Axis(extent, strides))
    rows, columns = merged(rows), merged(columns)
    if not reduced and rows:
        columns = [rows.pop()]
    nothing = Axis(1, (0,) * len(views))
    return Axes(tuple(rows or [nothing]), tuple(columns or [nothing]))


def merged(axes: Sequence[Axis]) -> list[Axis]:
    """The fewest axes that walk the same elements in the same order."""
    result: list[Axis] = []
    for axis in axes:
        last = result[-1] if result else None
        if last is not None and last.strides == tuple(stride * axis.extent for stride in axis.strides):
            result[-1] = Axis(last.extent * axis.extent, axis.strides)
        else:
            result.append(axis)
    return result


def even_step(steps: Sequence[tuple[int, int]]) -> int | None:
    """The one stride of (extent, stride) axes that are walked as one axis; 0 for a single element, None if uneven."""
    kept = [(extent, stride) for extent, stride in steps if extent != 1]
    for (_, outer), (extent, inner) in pairwise(kept):
        if outer != extent * inner:
            return None
    return kept[-1][1] if kept else 0
