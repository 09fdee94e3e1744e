"""What of a product's operand is on chip: rows or columns of it over several pieces of K, a buffer each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...dialects.affine_form import AffineForm
from ...isa.frozen import frozen
from .build import Span, TileBuilder
from .lane_passes import Held
from .product_operand import PackedOperand, ProductOperand


@frozen
class Chunk:
    """A piece of K: which of a panel's buffers has it, its number among those summed up in one accumulator (a
    constant, or the index of a loop), and its span."""

    place: int
    number: AffineForm
    span: Span


@frozen
class Panel:
    """An operand on chip over the pieces of K from piece `first` on: `held`, a buffer each.

    It begins at `start` of the operand's rows (`by_rows`) or columns, which lie in the blocks of a `packed` weight.
    """

    start: AffineForm
    first: int
    held: Sequence[Held]
    packed: PackedOperand | None
    by_rows: bool

    def tile(self, extent: Span, chunk: Chunk) -> Held:
        """The part of the panel at `extent` for a piece of K."""
        held = self.held[chunk.place - self.first]
        moved = extent.start - self.start
        if self.by_rows:
            return replace(held, offset=held.offset + moved * held.pitch)
        if self.packed is None:
            return replace(held, offset=held.offset + moved)
        # Tiles begin where blocks do.
        blocks = moved.grouped(1, self.packed.packing.columns)
        return replace(held, offset=held.offset + blocks * self.packed.block_elements(chunk.span))


@frozen
class Side:
    """An operand of a product as its loops use it: by rows of the left one, by columns of the right one, which may be
    a packed constant."""

    operand: ProductOperand
    right: bool
    packed: PackedOperand | None = None

    @property
    def by_rows(self) -> bool:
        """Whether its extent (rows or columns of the product) lies along the rows of its tiles."""
        return not self.right or self.operand.turned

    def panel(
        self, builder: TileBuilder, indices: Sequence[AffineForm], extent: Span, chunks: Sequence[Chunk], step: int
    ) -> Panel:
        """`extent` of the operand over pieces of K, brought on chip so that tiles of `step` are whole one by one."""
        pieces = [chunk.span for chunk in chunks]
        several = extent.size.constant is not None and extent.limit > step and self.operand.packing is None
        if several and self.packed is not None:
            held = self.packed.fetch_by_blocks(builder, indices, pieces, extent)
        elif several and not self.right:
            held = self.operand.fetch_by_rows(builder, indices, extent, pieces, step)
        else:
            held = [self._fetch(builder, indices, extent, piece) for piece in pieces]
        blocks = self.packed if self.operand.packing is None else None
        return Panel(extent.start, chunks[0].place, held, blocks, self.by_rows)

    def tile(
        self, builder: TileBuilder, indices: Sequence[AffineForm], panel: Panel | None, extent: Span, chunk: Chunk
    ) -> Held:
        """`extent` of the operand by a piece of K: where it lies, from a panel, or brought on chip now."""
        if self.operand.ready:
            return self.operand.place(indices, *self._oriented(extent, chunk.span))
        if panel is None:
            return self._fetch(builder, indices, extent, chunk.span)
        return panel.tile(extent, chunk)

    def _oriented(self, extent: Span, depth: Span) -> tuple[Span, Span]:
        return (extent, depth) if self.by_rows else (depth, extent)

    def _fetch(self, builder: TileBuilder, indices: Sequence[AffineForm], extent: Span, depth: Span) -> Held:
        return self.operand.fetch(builder, indices, *self._oriented(extent, depth), self.packed)
