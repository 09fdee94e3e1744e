"""The loops of an attention: key heads, the query heads that share them, panels and blocks of queries, pieces of keys.

Blocks are staggered: the array makes the next block's scores before it multiplies this one's weights with the values,
so that the vector engine makes weights of scores meanwhile. A loop's last block waits behind the first scores of its
next iteration: the next head's, panel's or piece's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ...dialects.affine_form import AffineForm, Minimum
from ...isa.formats import Format
from .attention_graph import Graph
from .attention_plan import AttentionPlan, ScoreForm
from .build import Span, TileBuilder
from .lane_graph import Extent
from .lane_passes import Held, emit_pass
from .pack import Slot
from .product_operand import ProductOperand
from .tile_epilogue import EpilogueRun
from .tile_leaves import LeafRun
from .tiles import hold

if TYPE_CHECKING:
    from .attention import AttentionLowering

ZERO = AffineForm()


@dataclass(frozen=True)
class Block:
    """A block of queries: its rows, from where on in its panel, how many keys they see, its queries on chip, and where
    its weights and their sums (or factors) go."""

    rows: Span
    offset: int
    seen: Minimum
    query: Held
    weights: Held
    column: Held


class AttentionEmission:
    """Writes the tile operations of one attention."""

    def __init__(self, lowering: AttentionLowering, tiling: AttentionPlan, builder: TileBuilder) -> None:
        self.kernel = lowering
        self.tiling = tiling
        self.builder = builder
        self.graphs = lowering.form_graphs(tiling.form)
        self.leaves = LeafRun(lowering.score_leaves(self.graphs), builder)
        self.finish = lowering.finish_of(tiling.form)
        self.epilogue = EpilogueRun(self.finish.epilogue, builder)
        self.indices: tuple[AffineForm, ...] = ()
        self.key: Held | None = None
        self.value: Held | None = None

    def run(self) -> None:
        """All loops."""
        kernel, builder = self.kernel, self.builder
        with ExitStack() as stack:
            self._preload()
            for depth, extent in enumerate(kernel.outer):
                if depth == 2:
                    self.key = self._held(kernel.key)
                    self.value = self._held(kernel.value)
                self.indices = (*self.indices, stack.enter_context(builder.loop(extent)))
                self._preload()
            self.panel(stack.enter_context(builder.tiles(kernel.queries, self.tiling.panel)))

    def _preload(self) -> None:
        self.leaves.preload(self.indices)
        self.epilogue.preload(self.indices)

    def _held(self, operand: ProductOperand) -> Held | None:
        """All keys or values of a head on chip, None where they come in pieces or lie there already."""
        if operand.ready or not self.tiling.held:
            return None
        rows, columns = operand.shape
        return operand.fetch(self.builder, (*self.indices, ZERO), Span.of(0, rows), Span.of(0, columns))

    def panel(self, rows: Span) -> None:
        """One panel of queries."""
        query = self.queries(rows)
        moved = [replace(query, offset=query.offset + offset * query.pitch) for offset, _ in self.parts(rows)]
        if self.tiling.form is ScoreForm.SWEEPS:
            for block in self.blocks(rows, moved, min(self.tiling.keys, self.kernel.keys)):
                self._sweeps(block)
        else:
            blocks = self.blocks(rows, moved, None)
            self.stagger(blocks, self._weights, self._values, self.builder.depth > 0)

    def blocks(self, panel: Span, queries: Sequence[Held], columns: int | None) -> list[Block]:
        """The blocks of a panel, with room for the weights of `columns` keys (None: of all that a block sees)."""
        found: list[Block] = []
        for (offset, rows), query in zip(self.parts(panel), queries, strict=True):
            seen = self.seen(rows)
            width = seen.bound if columns is None else columns
            assert width is not None
            weights = hold(self.builder, Extent.FULL, rows.limit, width, self.kernel.graphs.weight_form)
            found.append(Block(rows, offset, seen, query, weights, self.column(rows)))
        return found

    def parts(self, panel: Span) -> Iterator[tuple[int, Span]]:
        """The rows of each block of a panel, with where they are in it."""
        size = self.tiling.rows
        for offset in range(0, panel.limit, size):
            left = tuple(form - offset for form in panel.size.forms)
            rows = Span(panel.start + offset, Minimum((AffineForm.of(size), *left)))
            yield offset, rows if rows.size.constant is None else Span.of(rows.start, rows.size.constant)

    def stagger(
        self,
        blocks: Sequence[Block],
        first: Callable[[Block], None],
        second: Callable[[Block, int], None],
        around: bool,
    ) -> None:
        """`first` of every block before `second` of the one before it; `second` of the last one waits for the next
        iteration of the loop `around`."""
        if not self.kernel.staggered:
            for block in blocks:
                first(block)
                second(block, 0)
            return
        waiting = (blocks[-1], 1) if around else None
        for block in blocks:
            first(block)
            if waiting is not None:
                second(*waiting)
            waiting = (block, 0)
        if waiting is not None and not around:
            second(*waiting)

    def queries(self, rows: Span) -> Held:
        """The queries of some rows."""
        operand = self.kernel.query
        columns = Span.of(0, operand.shape[1])
        if operand.ready:
            return operand.place(self.indices, rows, columns)
        return operand.fetch(self.builder, self.indices, rows, columns)

    def seen(self, rows: Span) -> Minimum:
        """How many keys, from the first, some rows look at: all where a block of them sees none."""
        keys, visible = self.kernel.keys, self.kernel.visible
        least = min(rows.limit, self.tiling.rows)
        if visible is None or rows.start.constant + least + visible - 1 < 1:
            return Minimum.of(keys)
        end = rows.start + (rows.limit + visible - 1)
        if end.is_constant:
            return Minimum.of(min(end.constant, keys))
        return Minimum((AffineForm.of(keys), end))

    def pieces(self, seen: Minimum, stage: int = 0) -> Iterator[tuple[AffineForm, Span]]:
        """Pieces of the keys that are seen, as the body of a loop in a pipeline stage: (number, span)."""
        size = self.tiling.keys
        limit = seen.bound
        assert limit is not None
        if size >= limit and not stage:
            yield ZERO, Span(ZERO, seen)
            return
        with self.builder.loop(-(-limit // size), stage) as index:
            start = index * size
            left = tuple(form - start for form in seen.forms)
            yield index, Span(start, Minimum((AffineForm.of(size), *left)))

    def right(self, operand: ProductOperand, whole: Held | None, columns: Span, depth: Span) -> Held:
        """A right operand's tile: `depth` of what is summed over, by `columns`."""
        rows, width = (columns, depth) if operand.turned else (depth, columns)
        if operand.ready:
            return operand.place(self.indices, rows, width)
        if whole is None:
            return operand.fetch(self.builder, self.indices, rows, width)
        return replace(whole, offset=whole.offset + rows.start * whole.pitch + width.start)

    def keys(self, span: Span) -> Held:
        """A piece of the keys."""
        return self.right(self.kernel.key, self.key, span, Span.of(0, self.kernel.key_width))

    def scores(self, block: Block, span: Span, key: Held) -> Held:
        """q k^T of a block and a piece of keys, in ACC."""
        kernel = self.kernel
        depth = Minimum.of(kernel.key_width)
        acc = self.accumulator(block.rows, span.limit, kernel.score_mode.accumulator)
        turned = kernel.key.turned
        self.builder.product(
            block.query.full(block.rows.size, depth),
            key.full(span.size, depth) if turned else key.full(depth, span.size),
            acc.full(block.rows.size, span.size),
            kernel.score_mode.label,
            turned,
        )
        return acc

    def accumulator(self, rows: Span, columns: int, form: Format) -> Held:
        """A new tile in ACC."""
        return Held(self.builder.alloc("acc", (rows.limit, columns), form), ZERO, columns)

    def column(self, rows: Span) -> Held:
        """A new float32 value for each row."""
        return hold(self.builder, Extent.COLUMN, rows.limit, 1, Format.F32)

    def passes(
        self,
        graph: Graph,
        rows: Span,
        columns: Span,
        given: Mapping[str, Held],
        outputs: Mapping[int, Held],
        accumulate: AffineForm | int = 0,
        stage: int = 0,
    ) -> None:
        """The passes of a graph over a tile; its outputs go to `outputs`."""
        packing = self.kernel.packing(graph)
        leaves = [
            given[source] if isinstance(source, str) else self.leaves.find(source, self.indices, rows, columns)
            for source in graph.sources
        ]
        placed = {packing.outputs[index]: held for index, held in outputs.items()}
        temporaries = [
            placed.get(index) or hold(self.builder, t.extent, rows.limit, columns.limit, t.form)
            for index, t in enumerate(packing.temporaries)
        ]

        def find(slot: Slot) -> Held:
            return leaves[slot.index] if slot.leaf else temporaries[slot.index]

        for plan in packing.passes:
            again = accumulate if plan.reductions else 0
            emit_pass(self.builder, plan, rows.size, columns.size, find, again, stage)

    def _weights(self, block: Block) -> None:
        """Scores of a block, and weights from them."""
        outputs = {0: block.weights, 1: block.column}
        whole = Span(ZERO, block.seen)
        if self.tiling.form is ScoreForm.WHOLE:
            acc = self.scores(block, whole, self.keys(whole))
            self.passes(self.graphs[0], block.rows, whole, {"acc": acc}, outputs)
            return
        limit = block.seen.bound
        assert limit is not None
        kept = hold(self.builder, Extent.FULL, block.rows.limit, limit, Format.F32)
        maximum = self.column(block.rows)
        for index, span in self.pieces(block.seen):
            acc = self.scores(block, span, self.keys(span))
            piece = replace(kept, offset=span.start)
            self.passes(self.graphs[0], block.rows, span, {"acc": acc}, {0: piece, 1: maximum}, index)
        self.passes(self.graphs[1], block.rows, whole, {"score": kept, "maximum": maximum}, outputs)

    def _values(self, block: Block, stage: int) -> None:
        """Weights times values, finished and stored."""
        kernel = self.kernel
        columns = Span.of(0, kernel.value_width)
        acc = self.accumulator(block.rows, kernel.value_width, kernel.value_mode.accumulator)
        if self.value is None and not kernel.value.ready:
            for index, span in self.pieces(block.seen, stage):
                self.add_values(block, span, self.right(kernel.value, None, columns, span), acc, index)
        else:
            span = Span(ZERO, block.seen)
            self.add_values(block, span, self.right(kernel.value, self.value, columns, span), acc, ZERO, stage)
        self.store(block.rows, {"acc": acc, "total": block.column}, stage)

    def add_values(
        self, block: Block, span: Span, value: Held, acc: Held, index: AffineForm, stage: int = 0, start: int = 1
    ) -> None:
        """The weights of a piece of keys times their values, added to `acc` from the second piece on; the piece's
        weights lie at its place in the row (`start` 1) or at the front (0)."""
        kernel = self.kernel
        columns = Minimum.of(kernel.value_width)
        turned = kernel.value.turned
        piece = replace(block.weights, offset=block.weights.offset + span.start * start)
        self.builder.product(
            piece.full(block.rows.size, span.size),
            value.full(columns, span.size) if turned else value.full(span.size, columns),
            acc.full(block.rows.size, columns),
            kernel.value_mode.label,
            turned,
            index,
            stage,
        )

    def store(self, rows: Span, known: Mapping[str, Held], stage: int) -> None:
        """The finished output of some rows."""
        sources = enumerate(self.finish.graph.sources)
        leaves = {index: known[source] for index, source in sources if isinstance(source, str)}
        self.epilogue.tile(self.indices, rows, Span.of(0, self.kernel.value_width), leaves, stage)

    def _sweeps(self, block: Block) -> None:
        """Maximum (and sum) over all pieces of keys, then weights and their product with the values piece by piece."""
        names = ("maximum", "total")
        columns = Span.of(0, self.kernel.value_width)
        given: dict[str, Held] = {}
        for name, graph in zip(names, self.graphs[:-1], strict=False):
            given[name] = self.column(block.rows)
            for index, span in self.pieces(block.seen):
                acc = self.scores(block, span, self.keys(span))
                known = {key: held for key, held in given.items() if key != name}
                self.passes(graph, block.rows, span, {"acc": acc, **known}, {0: given[name]}, index)
        result = self.accumulator(block.rows, columns.limit, self.kernel.value_mode.accumulator)
        outputs = {0: block.weights}
        if len(self.graphs[-1].graph.outputs) > 1:
            outputs[1] = block.column
        for index, span in self.pieces(block.seen):
            acc = self.scores(block, span, self.keys(span))
            self.passes(self.graphs[-1], block.rows, span, {"acc": acc, **given}, outputs, index)
            value = self.right(self.kernel.value, self.value, columns, span)
            self.add_values(block, span, value, result, index, start=0)
        self.store(block.rows, {"acc": result, "total": block.column}, 0)
