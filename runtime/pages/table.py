"""Tables of a page: what a column means, and cells that sort by their values."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import isfinite

from ...isa.frozen import frozen

Cell = str | float | None
"""What stands in a cell; None is a figure that is not there."""


@frozen
class Column:
    """A column: its title, its unit, and what it means.

    digits: of numbers, behind the point; negative for so many significant ones, whole numbers whole; None for a column
    of text.
    """

    title: str
    unit: str = ""
    note: str = ""
    digits: int | None = None

    def text(self, cell: Cell) -> str:
        """A cell as people read it."""
        if cell is None:
            return "-"
        if isinstance(cell, str):
            return cell
        if not isfinite(cell):
            return "not finite"
        digits = self.digits or 0
        if digits >= 0:
            return f"{cell:,.{digits}f}"
        return f"{cell:,.0f}" if cell == int(cell) or abs(cell) >= 10**-digits else f"{cell:.{-digits}g}"


@frozen
class Table:
    """A table of a page: `name` is its anchor, `rows` have a cell for each of `columns`; `total` is its last row.

    Columns in which nothing stands are not shown. anchors: the anchor of each row.
    """

    name: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    total: Sequence[Cell] = ()
    anchors: Sequence[str] = ()

    @cached_property
    def _shown(self) -> list[int]:
        """The columns in which anything stands."""
        return [place for place in range(len(self.columns)) if any(row[place] not in ("", None) for row in self.rows)]

    @property
    def shown_columns(self) -> list[Column]:
        """The columns in which anything stands."""
        return [self.columns[place] for place in self._shown]

    @property
    def lines(self) -> list[tuple[str, list[tuple[Column, Cell]]]]:
        """The anchor of each row and its shown cells, each with its column."""
        anchors = self.anchors or [""] * len(self.rows)
        return [(anchor, self._line(row)) for anchor, row in zip(anchors, self.rows, strict=True)]

    @property
    def last_line(self) -> list[tuple[Column, Cell]]:
        """The shown cells of `total`, each with its column."""
        return self._line(self.total)

    def _line(self, row: Sequence[Cell]) -> list[tuple[Column, Cell]]:
        return [(self.columns[place], row[place]) for place in self._shown]


@frozen
class EnergyUnit:
    """A unit of energy by its name and size."""

    name: str
    picojoules: float


def energy_unit(picojoules: float) -> EnergyUnit:
    """The unit in which a whole of so many picojoules reads well, and its parts too."""
    units = (EnergyUnit("J", 1e12), EnergyUnit("mJ", 1e9), EnergyUnit("uJ", 1e6), EnergyUnit("nJ", 1e3))
    return next((unit for unit in units if picojoules >= unit.picojoules), EnergyUnit("pJ", 1.0))
