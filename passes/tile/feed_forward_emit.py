"""The loops of a feed-forward pair: a panel of the hidden is made on chip, then used up, then the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ...dialects.affine_form import AffineForm, Minimum
from ...isa.frozen import frozen
from .build import Span, TileBuilder
from .lane_passes import Held
from .product_operand import PackedOperand
from .tile_epilogue import EpilogueRun, TileEpilogue, strips_of
from .tile_leaves import LeafRun

if TYPE_CHECKING:
    from .feed_forward import FeedForwardLowering
    from .feed_forward_problem import FeedForwardTiling
    from .matmul import MatmulLowering

Left = Callable[[Span, int], Held]
"""The rows of a left operand that lies on chip, for a piece of its depth (by number)."""

Chunks = Sequence[Span]
"""Pieces of the depth of a product."""


class FeedForwardEmission:
    """Writes the tile operations of one pair."""

    def __init__(self, lowering: FeedForwardLowering, tiling: FeedForwardTiling, builder: TileBuilder) -> None:
        self.kernel = lowering
        self.tiling = tiling
        self.builder = builder
        self.ups = [_Product(up, tiling.n, builder) for up in lowering.ups]
        self.up_epilogues = lowering.up_epilogues(tiling)
        self.down = _Product(lowering.down, tiling.down_n, builder)
        self.down_leaves = LeafRun(lowering.down.epilogue.leaves, builder)

    def run(self) -> None:
        """All loops."""
        kernel, tiling, builder = self.kernel, self.tiling, self.builder
        kernel.keep_on_chip(tiling, builder)
        self.down_leaves.preload(())
        stages = kernel.stages(tiling)
        count = -(-kernel.hidden // tiling.panel)
        for block in parts(builder, Span.of(0, kernel.rows), tiling.rows):
            left = self._left(block)
            panel = Span.of(0, min(tiling.panel, kernel.hidden))
            self._make(block, panel, left, tiling.lead)
            self._use(block, panel, stages.first, tiling.tail if count == 1 else 0)
            for middle in parts(builder, Span.of(tiling.panel, max(0, count - 2) * tiling.panel), tiling.panel):
                self._make(block, middle, left)
                self._use(block, middle, stages.middle)
            if count > 1:
                start = (count - 1) * tiling.panel
                panel = Span.of(start, kernel.hidden - start)
                self._make(block, panel, left)
                self._use(block, panel, stages.last, tiling.tail)

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

    def _make(self, block: Span, panel: Span, left: Left, lead: int = 0) -> None:
        """The up products of a panel for a block of rows."""
        tiling, builder = self.tiling, self.builder
        runs: list[EpilogueRun] = []
        for epilogue in self.up_epilogues:
            leaves = LeafRun(epilogue.leaves, builder)
            leaves.preload((), block, panel)
            runs.append(EpilogueRun(epilogue, builder, leaves))
        chunks = pieces_of(Span.of(0, self.kernel.depth), tiling.k)
        for tile in self._tiles(self.ups, chunks, panel, tiling.n, block, lead, 0):
            indices = (block.start, panel.start, tile.rows.start, tile.columns.start)
            for up, weights, run in zip(self.ups, tile.weights, runs, strict=True):
                acc = up.accumulate(tile.rows, tile.columns, chunks, left, weights)
                for strip, given in strips_of(builder, tile.rows, tiling.up_strip, {0: acc}):
                    run.tile(indices, strip, tile.columns, given)

    def _use(self, block: Span, panel: Span, epilogue: TileEpilogue, tail: int = 0) -> None:
        """The down product of a panel for a block of rows."""
        kernel, tiling, builder = self.kernel, self.tiling, self.builder
        indices = (block.start, panel.start)
        chunks = pieces_of(panel, tiling.down_k)
        hidden = kernel.hidden_panel(tiling)

        def made(rows: Span, chunk: int) -> Held:
            start = hidden.start(indices, rows.start, chunks[chunk].start)
            return Held(kernel.scope.buffers[hidden.root], start, hidden.row)

        run = EpilogueRun(epilogue, builder, self.down_leaves)
        columns = Span.of(0, kernel.columns)
        for tile in self._tiles([self.down], chunks, columns, tiling.down_n, block, 0, tail):
            acc = self.down.accumulate(tile.rows, tile.columns, chunks, made, tile.weights[0])
            for strip, given in strips_of(builder, tile.rows, tiling.strip, {0: acc}):
                run.tile(indices, strip, tile.columns, given)

    def _tiles(
        self, products: Sequence[_Product], chunks: Chunks, axis: Span, size: int, block: Span, lead: int, tail: int
    ) -> Iterator[_Tile]:
        """Tiles of a block of rows by the columns of `axis`: chunk by chunk of `size` columns; the first `lead` chunks
        and the last `tail` together, edge by edge of the rows."""
        count = -(-axis.limit // size)
        lead = min(lead, count)
        tail = min(tail, count - lead)
        starts = range(0, axis.limit, size)
        spans = [Span.of(axis.start + start, min(size, axis.limit - start)) for start in starts]
        yield from self._edge(products, chunks, spans[:lead], block)
        middle = sum(span.limit for span in spans[lead : count - tail])
        for columns in parts(self.builder, Span.of(axis.start + lead * size, middle), size):
            several = self.tiling.m < block.limit
            weights = [product.weights(columns, chunks) if several else None for product in products]
            for rows in parts(self.builder, block, self.tiling.m):
                yield _Tile(rows, columns, weights)
        yield from self._edge(products, chunks, spans[count - tail :], block)

    def _edge(
        self, products: Sequence[_Product], chunks: Chunks, spans: Sequence[Span], block: Span
    ) -> Iterator[_Tile]:
        """Tiles of some chunks of columns whose weights are all on chip together."""
        held = [[product.weights(columns, chunks) for product in products] for columns in spans]
        if spans:
            for rows in parts(self.builder, block, self.tiling.edge):
                for columns, weights in zip(spans, held, strict=True):
                    yield _Tile(rows, columns, weights)


@frozen
class _Tile:
    """A tile of products of the same rows and columns, and the weights of each (None: to be brought)."""

    rows: Span
    columns: Span
    weights: Sequence[Sequence[Held] | None]


class _Product:
    """One product of the pair: its weights, and sums in ACC."""

    def __init__(self, lowering: MatmulLowering, columns: int, builder: TileBuilder) -> None:
        self._lowering = lowering
        self._builder = builder
        self._packed: PackedOperand | None = None
        if lowering.packed:
            width = min(columns, lowering.columns)
            self._packed = PackedOperand.make(lowering.right, (), lowering.right_view, width, builder.block)

    def weights(self, columns: Span, chunks: Chunks) -> Sequence[Held]:
        """The weights of a chunk of columns, on chip before its first product."""
        return [self._weight(columns, chunk) for chunk in chunks]

    def _weight(self, columns: Span, chunk: Span) -> Held:
        right = self._lowering.right
        sides = (columns, chunk) if right.turned else (chunk, columns)
        if right.ready:
            return right.place((), *sides)
        return right.fetch(self._builder, (), *sides, self._packed)

    def accumulate(self, rows: Span, columns: Span, chunks: Chunks, left: Left, weights: Sequence[Held] | None) -> Held:
        """A tile of the accumulator; each weight is brought with its product unless they are there."""
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
                values=lowering.arithmetic.values,
            )
        return acc


def parts(builder: TileBuilder, span: Span, size: int) -> Iterator[Span]:
    """A loop over the pieces of `size` of a span."""
    count = -(-span.limit // size)
    if count == 1:
        yield span
    elif count:
        with builder.loop(count) as index:
            start = index * size
            whole = span.size.constant is not None and span.limit % size == 0
            forms = () if whole else tuple(form - start for form in span.size.forms)
            yield Span(span.start + start, Minimum((AffineForm.of(size), *forms)))


def pieces_of(span: Span, size: int) -> Chunks:
    """The pieces of `size` of a span of constant length, written out."""
    return tuple(Span.of(span.start + low, min(size, span.limit - low)) for low in range(0, span.limit, size))
