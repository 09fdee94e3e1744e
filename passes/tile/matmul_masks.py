"""What a product skips of its left operand: bits of what a threshold leaves, and into how many rows of the array they
pack.

Bits are made once for all columns of a panel, by one pass of the vector engine, and counted once by the SX engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ...dialects.affine_form import Access, AffineForm
from ...dialects.tile import PackOp, Place
from ...isa.formats import Format
from ...isa.frozen import frozen
from .build import Mask, Span, TileBuilder
from .comparison import Comparison
from .lane_graph import Extent
from .lane_passes import Held
from .product_panel import Chunk
from .tiles import hold


@frozen
class MaskPanel:
    """Bits of a left operand from row `start` on, over the pieces of K from piece `first` on, a buffer each; and the
    counts of each of its tiles of `step` rows."""

    start: AffineForm
    first: int
    step: int
    bits: Sequence[Held]
    counts: Sequence[Held]
    comparison: Comparison

    def mask(self, rows: Span, chunk: Chunk) -> Mask:
        """That of a tile of the panel."""
        place = chunk.place - self.first
        bits, counts = self.bits[place], self.counts[place]
        moved = rows.start - self.start
        tile = replace(counts, offset=moved.grouped(1, self.step))
        return Mask(
            "left",
            replace(bits, offset=bits.offset + moved * bits.pitch).full(rows.size, chunk.span.size),
            self.comparison.packing,
            self.comparison.packing.most(rows.limit, chunk.span.limit),
            _one(tile),
        )


def mask_panel(
    builder: TileBuilder,
    comparison: Comparison,
    left: Callable[[Span, Chunk], Held],
    rows: Span,
    chunks: Sequence[Chunk],
    step: int,
) -> MaskPanel:
    """The bits and counts of `rows` over pieces of K, tile by tile of `step` rows; `left` tells where a tile of the
    operand lies."""
    step = min(step, rows.limit)
    tiles = -(-rows.limit // step)
    bits = [hold(builder, Extent.FULL, rows.limit, chunk.span.limit, Format.B1) for chunk in chunks]
    counts = [hold(builder, Extent.ROW, 1, tiles, Format.I32) for _ in chunks]
    panel = MaskPanel(rows.start, chunks[0].place, step, bits, counts, comparison)
    with builder.tiles(rows.limit, step) as piece:
        size = piece.size if tiles > 1 else rows.size
        tile = Span(rows.start + piece.start, size)
        for chunk in chunks:
            mask = panel.mask(tile, chunk)
            assert mask.count is not None
            values = left(tile, chunk).full(size, chunk.span.size)
            builder.lane_pass(comparison.program, size, chunk.span.size, [values], out=mask.bits)
            builder.insert(PackOp(mask.bits, mask.count, mask.packing))
    return panel


def _one(held: Held) -> Place:
    return Place(held.buffer, Access.of(held.offset, (1,), (1,)))
