"""The loops of an attention: key heads, the query heads that share them, blocks of queries, pieces of keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ...dialects.affine_form import AffineForm, Minimum
from ...isa.formats import Format
from .attention_graph import Graph
from .attention_search import AttentionPlan, ScoreForm
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
class _Block:
    """A block of queries: its rows, how many keys they see, and its queries where they are on chip."""

    rows: Span
    seen: Minimum
    query: Held


@dataclass(frozen=True)
class _Weights:
    """A block's weights on chip, and their sums (None where the weights need no division)."""

    block: _Block
    weights: Held
    given: Mapping[str, Held]


class AttentionEmission:
    """Writes the tile operations of one attention."""

    def __init__(self, lowering: AttentionLowering, tiling: AttentionPlan, builder: TileBuilder) -> None:
        self._kernel = lowering
        self._tiling = tiling
        self._builder = builder
        self._graphs = lowering.form_graphs(tiling.form)
        self._leaves = LeafRun(lowering.score_leaves(self._graphs), builder)
        self._epilogue = EpilogueRun(lowering.epilogue, builder)
        self._indices: tuple[AffineForm, ...] = ()
        self._key: Held | None = None
        self._value: Held | None = None

    def run(self) -> None:
        """All loops."""
        kernel, builder = self._kernel, self._builder
        innermost = 0
        with ExitStack() as stack:
            self._preload()
            for depth, extent in enumerate(kernel.outer):
                if depth == 2:
                    self._key = self._held(kernel.key)
                    self._value = self._held(kernel.value)
                self._indices = (*self._indices, stack.enter_context(builder.loop(extent)))
                innermost = builder.depth
                self._preload()
            if self._tiling.form is ScoreForm.SWEEPS:
                self._swept_blocks()
            elif self._tiling.unrolled:
                self._unrolled_blocks(staged=innermost > 0)
            else:
                self._looped_blocks()

    def _preload(self) -> None:
        self._leaves.preload(self._indices)
        self._epilogue.preload(self._indices)

    def _held(self, operand: ProductOperand) -> Held | None:
        """All keys or values of a head on chip, None where they come in pieces or lie there already."""
        if operand.ready or not self._tiling.held:
            return None
        rows, columns = operand.shape
        return operand.fetch(self._builder, (*self._indices, ZERO), Span.of(0, rows), Span.of(0, columns))

    def _unrolled_blocks(self, staged: bool) -> None:
        """Scores of a block before the values of the one before; those of the last wait for the next head's scores."""
        kernel, size = self._kernel, self._tiling.rows
        whole = Span.of(0, kernel.queries)
        query = self._queries(whole)
        waiting: _Weights | None = None
        for start in range(0, kernel.queries, size):
            rows = Span.of(start, min(size, kernel.queries - start))
            moved = replace(query, offset=query.offset + start * query.pitch)
            made = self._weights(_Block(rows, self._seen(rows), moved))
            if waiting is not None:
                self._values(waiting, 0)
            waiting = made
        assert waiting is not None
        self._values(waiting, 1 if staged else 0)

    def _looped_blocks(self) -> None:
        """A loop over blocks: the scores of block i + 1 come before the values of block i."""
        with self._builder.tiles(self._kernel.queries, self._tiling.rows) as rows:
            made = self._weights(_Block(rows, self._seen(rows), self._queries(rows)))
            self._values(made, 1)

    def _swept_blocks(self) -> None:
        """A loop over blocks whose pieces of keys are walked several times."""
        with self._builder.tiles(self._kernel.queries, self._tiling.rows) as rows:
            self._sweeps(_Block(rows, self._seen(rows), self._queries(rows)))

    def _queries(self, rows: Span) -> Held:
        operand = self._kernel.query
        columns = Span.of(0, operand.shape[1])
        if operand.ready:
            return operand.place(self._indices, rows, columns)
        return operand.fetch(self._builder, self._indices, rows, columns)

    def _seen(self, rows: Span) -> Minimum:
        """How many keys, from the first, a block looks at."""
        keys, visible = self._kernel.keys, self._kernel.visible
        if visible is None or rows.start.constant + rows.limit + visible - 1 < 1:
            return Minimum.of(keys)
        end = rows.start + (rows.limit + visible - 1)
        if end.is_constant:
            return Minimum.of(min(end.constant, keys))
        return Minimum((AffineForm.of(keys), end))

    def _pieces(self, seen: Minimum, stage: int = 0) -> Iterator[tuple[AffineForm, Span]]:
        """Pieces of the keys that a block looks at, as the body of a loop in a pipeline stage: (number, span)."""
        size = self._tiling.keys
        limit = seen.bound
        assert limit is not None
        if size >= limit and not stage:
            yield ZERO, Span(ZERO, seen)
            return
        with self._builder.loop(-(-limit // size), stage) as index:
            start = index * size
            left = tuple(form - start for form in seen.forms)
            yield index, Span(start, Minimum((AffineForm.of(size), *left)))

    def _right(self, operand: ProductOperand, whole: Held | None, columns: Span, depth: Span) -> Held:
        """A right operand's tile: `depth` of what is summed over, by `columns`."""
        rows, width = (columns, depth) if operand.turned else (depth, columns)
        if operand.ready:
            return operand.place(self._indices, rows, width)
        if whole is None:
            return operand.fetch(self._builder, self._indices, rows, width)
        return replace(whole, offset=whole.offset + rows.start * whole.pitch + width.start)

    def _scores(self, block: _Block, span: Span) -> Held:
        """q k^T of a block and a piece of keys, in ACC."""
        kernel = self._kernel
        depth = Span.of(0, kernel.key_width)
        key = self._right(kernel.key, self._key, span, depth)
        acc = self._accumulator(block.rows, span.limit, kernel.score_mode.accumulator)
        turned = kernel.key.turned
        b_place = key.full(span.size, depth.size) if turned else key.full(depth.size, span.size)
        self._builder.product(
            block.query.full(block.rows.size, depth.size),
            b_place,
            acc.full(block.rows.size, span.size),
            kernel.score_mode.label,
            turned,
        )
        return acc

    def _accumulator(self, rows: Span, columns: int, form: Format) -> Held:
        return Held(self._builder.alloc("acc", (rows.limit, columns), form), ZERO, columns)

    def _column(self, rows: Span) -> Held:
        return hold(self._builder, Extent.COLUMN, rows.limit, 1, Format.F32)

    def _run(
        self,
        graph: Graph,
        rows: Span,
        columns: Span,
        given: Mapping[str, Held],
        outputs: Mapping[int, Held],
        accumulate: AffineForm = ZERO,
    ) -> list[Held]:
        """The passes of a graph over a tile of scores; gives where its outputs are, `outputs` or new buffers."""
        packing = self._kernel.packing(graph)
        leaves = [
            given[source] if isinstance(source, str) else self._leaves.find(source, self._indices, rows, columns)
            for source in graph.sources
        ]
        placed = {packing.outputs[index]: held for index, held in outputs.items()}
        temporaries = [
            placed.get(index) or hold(self._builder, t.extent, rows.limit, columns.limit, t.form)
            for index, t in enumerate(packing.temporaries)
        ]

        def find(slot: Slot) -> Held:
            return leaves[slot.index] if slot.leaf else temporaries[slot.index]

        for plan in packing.passes:
            again = accumulate if plan.reductions else ZERO
            emit_pass(self._builder, plan, rows.size, columns.size, find, again)
        return [temporaries[index] for index in packing.outputs]

    def _weights(self, block: _Block) -> _Weights:
        """Scores of a block, and weights from them."""
        if self._tiling.form is ScoreForm.WHOLE:
            span = Span(ZERO, block.seen)
            acc = self._scores(block, span)
            weights, total = self._run(self._graphs[0], block.rows, span, {"acc": acc}, {})
            return _Weights(block, weights, {"total": total})
        limit = block.seen.bound
        assert limit is not None
        kept = hold(self._builder, Extent.FULL, block.rows.limit, limit, Format.F32)
        maximum = self._column(block.rows)
        for index, span in self._pieces(block.seen):
            acc = self._scores(block, span)
            piece = replace(kept, offset=span.start)
            self._run(self._graphs[0], block.rows, span, {"acc": acc}, {0: piece, 1: maximum}, index)
        given = {"score": kept, "maximum": maximum}
        weights, total = self._run(self._graphs[1], block.rows, Span(ZERO, block.seen), given, {})
        return _Weights(block, weights, {"total": total})

    def _values(self, made: _Weights, stage: int) -> None:
        """Weights times values, finished and stored."""
        kernel, block = self._kernel, made.block
        columns = Span.of(0, kernel.value_width)
        acc = self._accumulator(block.rows, kernel.value_width, kernel.value_mode.accumulator)
        if self._value is None and not kernel.value.ready:
            for index, span in self._pieces(block.seen, stage):
                self._add_values(block, made.weights, span, acc, index)
        else:
            self._add_values(block, made.weights, Span(ZERO, block.seen), acc, ZERO, stage)
        self._finish(block, acc, columns, made.given, stage)

    def _add_values(
        self, block: _Block, weights: Held, span: Span, acc: Held, index: AffineForm, stage: int = 0
    ) -> None:
        """The weights of a piece of keys times their values, added to `acc` from the second piece on."""
        kernel = self._kernel
        columns = Span.of(0, kernel.value_width)
        value = self._right(kernel.value, self._value, columns, span)
        turned = kernel.value.turned
        b_place = value.full(columns.size, span.size) if turned else value.full(span.size, columns.size)
        piece = replace(weights, offset=weights.offset + span.start)
        self._builder.product(
            piece.full(block.rows.size, span.size),
            b_place,
            acc.full(block.rows.size, columns.size),
            kernel.value_mode.label,
            turned,
            index,
            stage,
        )

    def _finish(self, block: _Block, acc: Held, columns: Span, given: Mapping[str, Held], stage: int) -> None:
        known = {"acc": acc, **given}
        sources = enumerate(self._kernel.finished.sources)
        leaves = {index: known[source] for index, source in sources if isinstance(source, str)}
        self._epilogue.tile(self._indices, block.rows, columns, leaves, stage)

    def _sweeps(self, block: _Block) -> None:
        """Maximum (and sum) over all pieces of keys, then weights and their product with the values piece by piece."""
        names = ("maximum", "total")
        columns = Span.of(0, self._kernel.value_width)
        given: dict[str, Held] = {}
        for name, graph in zip(names, self._graphs[:-1], strict=False):
            given[name] = self._column(block.rows)
            for index, span in self._pieces(block.seen):
                acc = self._scores(block, span)
                known = {key: held for key, held in given.items() if key != name}
                self._run(graph, block.rows, span, {"acc": acc, **known}, {0: given[name]}, index)
        result = self._accumulator(block.rows, columns.limit, self._kernel.value_mode.accumulator)
        summed = "total" not in given
        total = given.get("total") or self._column(block.rows)
        for index, span in self._pieces(block.seen):
            acc = self._scores(block, span)
            outputs = {1: total} if summed else {}
            weights = self._run(self._graphs[-1], block.rows, span, {"acc": acc, **given}, outputs, index)[0]
            self._add_values(block, replace(weights, offset=weights.offset - span.start), span, result, index)
        self._finish(block, result, columns, {"total": total}, 0)
