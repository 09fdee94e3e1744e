"""The loops of a feed-forward pair: a panel of the hidden is made on chip, then used up, then the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ...dialects.affine_form import AffineForm, Minimum
from .build import Span, TileBuilder
from .lane_passes import Held
from .product_operand import PackedOperand
from .tile_epilogue import EpilogueRun, TileEpilogue, strips_of
from .tile_leaves import LeafRun

if TYPE_CHECKING:
    from .feed_forward import FeedForwardLowering
    from .feed_forward_search import FeedForwardTiling
    from .matmul import MatmulLowering

Left = Callable[[Span, int], Held]
"""The rows of a left operand that lies on chip, for a piece of its depth (by number)."""


class FeedForwardEmission:
    """Writes the tile operations of one pair."""

    def __init__(self, lowering: FeedForwardLowering, tiling: FeedForwardTiling, builder: TileBuilder) -> None:
        self.kernel = lowering
        self.tiling = tiling
        self.builder = builder
        several = tiling.m < tiling.rows
        self.ups = [_Product(up, tiling.n, several, builder) for up in lowering.ups]
        self.up_epilogues = lowering.up_epilogues(tiling)
        self.down = _Product(lowering.down, tiling.down_n, several, builder)
        self.down_leaves = LeafRun(lowering.down.epilogue.leaves, builder)

    def run(self) -> None:
        """All loops."""
        kernel, tiling, builder = self.kernel, self.tiling, self.builder
        kernel.keep_on_chip(tiling, builder)
        self.down_leaves.preload(())
        last = -(-kernel.hidden // tiling.panel) - 1
        stages = kernel.stages(tiling)
        for number, block in parts(builder, Span.of(0, kernel.rows), tiling.rows):
            left = self._left(block)
            self._panel((number, AffineForm()), block, left, stages.first)
            if last > 1:
                with builder.loop(last - 1) as index:
                    self._panel((number, index + 1), block, left, stages.middle)
            if last:
                self._panel((number, AffineForm.of(last)), block, left, stages.last)

    def _left(self, block: Span) -> Left:
        """The rows of a block of the pair's input, over all of its depth."""
        operand = self.kernel.ups[0].left
        chunks = pieces_of(Span.of(0, self.kernel.depth), self.tiling.k)
        if operand.ready:
            return lambda rows, chunk: operand.place((), rows, chunks[chunk])
        held = [operand.fetch(self.builder, (), block, chunk) for chunk in chunks]

        def tile(rows: Span, chunk: int) -> Held:
            here = held[chunk]
            return Held(here.buffer, here.offset + (rows.start - block.start) * here.pitch, here.pitch)

        return tile

    def _panel(self, place: tuple[AffineForm, AffineForm], block: Span, left: Left, epilogue: TileEpilogue) -> None:
        """A panel of the hidden of a block of rows (`place` has their numbers), made and used up."""
        kernel, tiling, builder = self.kernel, self.tiling, self.builder
        start = place[1] * tiling.panel
        width = min(tiling.panel, kernel.hidden - start.constant) if start.is_constant else tiling.panel
        panel = Span.of(start, width)
        self._make(place, block, panel, left)
        chunks = pieces_of(panel, tiling.down_k)
        hidden = kernel.hidden_panel(tiling)

        def made(rows: Span, chunk: int) -> Held:
            return Held(
                kernel.scope.buffers[hidden.root], hidden.start(place, rows.start, chunks[chunk].start), hidden.row
            )

        run = EpilogueRun(epilogue, builder, self.down_leaves)
        for _, columns in parts(builder, Span.of(0, kernel.columns), tiling.down_n):
            weights = self.down.weights(columns, chunks)
            for _, rows in parts(builder, block, tiling.m):
                acc = self.down.accumulate(rows, columns, chunks, made, weights)
                for strip, given in strips_of(builder, rows, tiling.strip, {0: acc}):
                    run.tile(place, strip, columns, given)

    def _make(self, place: tuple[AffineForm, AffineForm], block: Span, panel: Span, left: Left) -> None:
        """The up products of a panel."""
        tiling, builder = self.tiling, self.builder
        runs: list[EpilogueRun] = []
        for epilogue in self.up_epilogues:
            leaves = LeafRun(epilogue.leaves, builder)
            leaves.preload((), block, panel)
            runs.append(EpilogueRun(epilogue, builder, leaves))
        chunks = pieces_of(Span.of(0, self.kernel.depth), tiling.k)
        for column, columns in parts(builder, panel, tiling.n):
            weights = [up.weights(columns, chunks) for up in self.ups]
            for row, rows in parts(builder, block, tiling.m):
                for up, held, run in zip(self.ups, weights, runs, strict=True):
                    acc = up.accumulate(rows, columns, chunks, left, held)
                    for strip, given in strips_of(builder, rows, tiling.up_strip, {0: acc}):
                        run.tile((*place, column, row), strip, columns, given)


class _Product:
    """One product of the pair: its weights, and sums in ACC. `several` tiles of rows use a weight one after another."""

    def __init__(self, lowering: MatmulLowering, columns: int, several: bool, builder: TileBuilder) -> None:
        self._lowering = lowering
        self._builder = builder
        self._several = several
        self._packed: PackedOperand | None = None
        if lowering.packed:
            width = min(columns, lowering.columns)
            self._packed = PackedOperand.make(lowering.right, (), lowering.right_view, width, builder.block)

    def weights(self, columns: Span, chunks: Sequence[Span]) -> Sequence[Held] | None:
        """The weights of a chunk of columns, on chip before its first product; None to bring each with its product."""
        return [self._weight(columns, chunk) for chunk in chunks] if self._several else None

    def _weight(self, columns: Span, chunk: Span) -> Held:
        right = self._lowering.right
        sides = (columns, chunk) if right.turned else (chunk, columns)
        if right.ready:
            return right.place((), *sides)
        return right.fetch(self._builder, (), *sides, self._packed)

    def accumulate(
        self, rows: Span, columns: Span, chunks: Sequence[Span], left: Left, weights: Sequence[Held] | None
    ) -> Held:
        """A tile of the accumulator."""
        lowering, builder = self._lowering, self._builder
        acc = Held(builder.alloc("acc", (rows.limit, columns.limit), lowering.mode.accumulator), pitch=columns.limit)
        turned = lowering.right.turned
        for number, chunk in enumerate(chunks):
            weight = self._weight(columns, chunk) if weights is None else weights[number]
            sizes = (columns.size, chunk.size) if turned else (chunk.size, columns.size)
            builder.product(
                left(rows, number).full(rows.size, chunk.size),
                weight.full(*sizes),
                acc.full(rows.size, columns.size),
                lowering.mode.label,
                turned,
                number,
            )
        return acc


def parts(builder: TileBuilder, span: Span, size: int) -> Iterator[tuple[AffineForm, Span]]:
    """A loop over the pieces of `size` of a span: the number of each, and where it lies."""
    count = -(-span.limit // size)
    with builder.loop(count) as index:
        start = index * size
        if count == 1:
            length = span.size
        elif span.size.constant is not None and span.limit % size == 0:
            length = Minimum.of(size)
        else:
            length = Minimum((AffineForm.of(size), *(form - start for form in span.size.forms)))
        yield index, Span(span.start + start, length)


def pieces_of(span: Span, size: int) -> tuple[Span, ...]:
    """The pieces of `size` of a span of constant length, written out."""
    return tuple(Span.of(span.start + low, min(size, span.limit - low)) for low in range(0, span.limit, size))
