"""The stored values that passes over tiles read: which are loaded once for many tiles, and which with each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...dialects.affine_form import AffineForm
from ...isa.frozen import frozen
from .build import Span, TileBuilder
from .kernel import Scope
from .lane_graph import Extent
from .lane_passes import Held
from .tiles import Spread, elements, hold, load, tile_bytes, tile_place

WHOLE_SHARE = {Extent.FULL: 6, Extent.ROW: 20, Extent.COLUMN: 20, Extent.SCALAR: 1}
"""What many tiles share is kept whole on chip where it takes at most this part of the SRAM."""


@frozen(eq=False)
class TileLeaves:
    """Stored leaves of lane graphs over tiles of `rows` x `columns`, inside outer loops.

    `by_tile`: what repeats for every row comes with the columns that it is for, never for all columns at once.
    """

    scope: Scope
    leaves: tuple[Spread, ...]
    rows: int
    columns: int
    by_tile: bool = False

    def in_place(self, leaf: Spread) -> bool:
        """Whether passes read a stored value where it lies."""
        return leaf.root in self.scope.residents and leaf.usable_in_place

    def is_whole(self, leaf: Spread) -> bool:
        """Whether a value is loaded once for many tiles rather than with each."""
        if leaf.extent is Extent.FULL and leaf.level == len(leaf.outer):
            return False
        if self.by_tile and leaf.extent is Extent.ROW:
            return False
        size = leaf.form.run_bytes(elements(leaf.extent, self.rows, self.columns))
        return size * WHOLE_SHARE[leaf.extent] <= self.scope.machine.sram.bytes

    @property
    def whole_bytes(self) -> int:
        """SRAM for the values that are loaded once (two of each that outer loops replace)."""
        return sum(
            tile_bytes(leaf.extent, self.rows, self.columns, leaf.form) * (2 if leaf.level else 1)
            for leaf in self.leaves
            if self.is_whole(leaf) and not self.in_place(leaf)
        )

    def with_each(self, extent: Extent) -> float:
        """Bytes an element of the values of `extent` that are loaded with each tile."""
        return sum(
            leaf.form.width
            for leaf in self.leaves
            if leaf.extent is extent and not self.in_place(leaf) and not self.is_whole(leaf)
        )


@dataclass(eq=False)
class LeafRun:
    """Leaves while their kernel is emitted: what has been loaded so far."""

    leaves: TileLeaves
    builder: TileBuilder
    held: dict[Spread, Held] = field(default_factory=dict[Spread, Held])
    corner: tuple[AffineForm, AffineForm] = (AffineForm(), AffineForm())
    of_columns: dict[Spread, tuple[Held, AffineForm]] = field(default_factory=dict[Spread, "tuple[Held, AffineForm]"])

    def preload(self, indices: Sequence[AffineForm], rows: Span | None = None, columns: Span | None = None) -> None:
        """Load what all tiles inside the open outer loops (their `indices`) share, and no larger set of tiles does.

        `rows` and `columns`: the part of the domain that the tiles lie in, where that is not all of it.
        """
        leaves = self.leaves
        rows, columns = rows or Span.of(0, leaves.rows), columns or Span.of(0, leaves.columns)
        self.corner = (rows.start, columns.start)
        for leaf in leaves.leaves:
            if leaves.in_place(leaf) or not leaves.is_whole(leaf) or leaf.level != len(indices):
                continue
            self.held[leaf] = hold(self.builder, leaf.extent, leaves.rows, leaves.columns, leaf.form)
            self._load(leaf, self.held[leaf], indices, rows, columns, 0)

    def load_columns(self, indices: Sequence[AffineForm], columns: Span) -> None:
        """Load what repeats for every row of `columns`, where that comes by tile."""
        leaves = self.leaves
        for leaf in leaves.leaves:
            if leaves.by_tile and leaf.extent is Extent.ROW and not leaves.in_place(leaf):
                target = hold(self.builder, leaf.extent, 1, columns.limit, leaf.form)
                self._load(leaf, target, indices, Span.of(0, 1), columns, 0)
                self.of_columns[leaf] = (target, columns.start)

    def _load(
        self, leaf: Spread, target: Held, indices: Sequence[AffineForm], rows: Span, columns: Span, stage: int
    ) -> None:
        start = leaf.start(indices, rows.start, columns.start)
        source = tile_place(self.leaves.scope.buffers[leaf.root], leaf, start, rows.size, columns.size)
        load(self.builder, source, target, leaf.extent, rows.size, columns.size, stage)

    def find(self, leaf: Spread, indices: Sequence[AffineForm], rows: Span, columns: Span, stage: int = 0) -> Held:
        """A leaf for the tile at `rows` x `columns`, loaded now if it was not yet."""
        if self.leaves.in_place(leaf):
            start = leaf.start(indices, rows.start, columns.start)
            return Held(self.leaves.scope.buffers[leaf.root], start, leaf.row)
        held = self.held.get(leaf)
        if held is not None:
            pitch = held.pitch if leaf.extent is Extent.FULL else 1
            row, column = self.corner
            by_row = (rows.start - row) * pitch if leaf.extent & Extent.COLUMN else AffineForm()
            by_column = columns.start - column if leaf.extent & Extent.ROW else AffineForm()
            return Held(held.buffer, held.offset + by_row + by_column, held.pitch)
        if leaf in self.of_columns:
            held, first = self.of_columns[leaf]
            return Held(held.buffer, held.offset + (columns.start - first), held.pitch)
        target = hold(self.builder, leaf.extent, rows.limit, columns.limit, leaf.form)
        self._load(leaf, target, indices, rows, columns, stage)
        return target
