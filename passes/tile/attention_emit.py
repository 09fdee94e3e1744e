"""The loops of an attention: key heads, the query heads that share them, panels and blocks of queries, pieces of keys.

Blocks are staggered: the array makes the next block's scores before it multiplies this one's weights with the values,
so that the vector engine makes weights of scores meanwhile. A loop's last block waits behind the first scores of its
next iteration: the next head's, panel's or piece's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from ...dialects.affine_form import AffineForm, Minimum
from ...dialects.tile import MASKED, buffer_type
from ...isa.formats import Format
from ...isa.frozen import frozen
from ...isa.instructions.masked_product import LEFT, RESULT
from .attention_graph import Graph
from .attention_masked import ORDINARY, MaskedTiles, masked_tiles, packing_of
from .attention_masks import MaskTiles
from .attention_plan import AttentionPart, AttentionPlan, ScoreForm
from .attention_sight import BlockSight, PanelLoop, PanelSight, Shown, Stretch
from .build import Mask, Span, TileBuilder
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


@frozen
class Block:
    """A block of queries: what it looks at, its queries on chip, the keys and values on chip that its panel's stretches
    lie in (None where they come piece by piece), and where its weights and their sums (or factors) go."""

    sight: BlockSight
    query: Held
    keys: Sequence[Held | None]
    values: Sequence[Held | None]
    weights: Held
    column: Held

    @property
    def rows(self) -> Span:
        """Its queries."""
        return self.sight.rows


@frozen
class Piece:
    """Keys of a stretch that are computed at once: the number of the piece in its block, which keys, where they start
    in the stretch, and the stretch."""

    number: AffineForm
    keys: Span
    start: AffineForm
    stretch: Stretch

    @property
    def place(self) -> AffineForm:
        """Where its scores go in the block's row of scores."""
        return self.start + self.stretch.place


class AttentionEmission:
    """Writes the tile operations of one part of an attention."""

    def __init__(
        self,
        lowering: AttentionLowering,
        part: AttentionPart,
        tiling: AttentionPlan,
        builder: TileBuilder,
        importance: Held | None = None,
    ) -> None:
        self.importance = importance
        self.kernel = lowering
        self.part = part
        self.tiling = tiling
        self.builder = builder
        self.graphs = lowering.form_graphs(tiling.form)
        self.hiding_graphs = lowering.form_graphs(tiling.form, hiding=True)
        self.leaves = LeafRun(lowering.score_leaves(self.graphs), builder)
        self.finish = lowering.finish_of(tiling.form)
        self.epilogue = EpilogueRun(self.finish.epilogue, builder)
        self.indices: tuple[AffineForm, ...] = ()
        self.key: Held | None = None
        self.value: Held | None = None
        self.masks: MaskTiles | None = None
        self.masked: MaskedTiles | None = None
        if isinstance(part.sight, Shown):
            layout = part.sight.layout(tiling.rows, tiling.blocks)
            self.masks = MaskTiles(lowering.scope, layout, builder)
            self.masked = masked_tiles(lowering.problem.products, part.sight, tiling.rows, lowering.rates)

    def run(self) -> None:
        """All loops."""
        kernel, builder = self.kernel, self.builder
        with ExitStack() as stack:
            self._preload()
            if self.masks is not None:
                self.masks.preload()
            for depth, extent in enumerate(kernel.outer):
                if depth == 2:
                    self.begin_head()
                if depth == 0 or self.part.head is None:
                    index = stack.enter_context(builder.loop(extent))
                else:
                    index = AffineForm.of(kernel.split.place(self.part.head)[depth - 1])
                self.indices = (*self.indices, index)
                self._preload()
            # Panels that are written out one by one follow one another as the panels of a loop do.
            loops = self.part.sight.loops(self.tiling.rows, self.tiling.blocks)
            groups = [list(group) for _, group in groupby(loops, lambda loop: loop.count > 1 and id(loop))]
            for group in groups:
                self._group(group, alone=len(groups) == 1)

    def begin_head(self) -> None:
        """What all query heads of a key head share."""
        self.key, self.value = self._held(self.kernel.key), self._held(self.kernel.value)

    def _group(self, loops: Sequence[PanelLoop], alone: bool) -> None:
        """A loop over panels, or several panels written out; `alone` where the loops around have nothing else."""
        with self.builder.loop(loops[0].count) as index:
            around = self.builder.depth > 0 and (alone or loops[0].count > 1)
            self.panels([loop.panel(index) for loop in loops], around)

    def _preload(self) -> None:
        self.leaves.preload(self.indices)
        self.epilogue.preload(self.indices)

    def _held(self, operand: ProductOperand) -> Held | None:
        """All keys or values of a head on chip, None where they come in pieces or lie there already."""
        if operand.ready or not self.tiling.held:
            return None
        rows, columns = operand.shape
        return operand.fetch(self.builder, (*self.indices, ZERO), Span.of(0, rows), Span.of(0, columns))

    def panels(self, panels: Sequence[PanelSight], around: bool) -> None:
        """Panels of queries one after the other; `around`: the last values may wait for a loop's next iteration."""
        if self.tiling.form is ScoreForm.SWEEPS:
            for panel in panels:
                for block in self.blocks(panel, self._moved(panel), min(self.tiling.keys, self.kernel.keys)):
                    self._sweeps(block)
            return
        blocks = [block for panel in panels for block in self.blocks(panel, self._moved(panel), None)]
        self.stagger(blocks, self._weighed, self._values, around)

    def _weighed(self, block: Block) -> None:
        """The weights of a block, and what they add to the importance of keys."""
        self.make_weights(block)
        if self.importance is not None:
            assert self.kernel.importance is not None
            self.kernel.importance.add(self.builder, self.importance, block, self.indices[0])

    def _moved(self, panel: PanelSight) -> list[Held]:
        """The queries of each block of a panel, which come on chip together."""
        query = self.queries(panel.rows)
        return [replace(query, offset=query.offset + block.offset * query.pitch) for block in panel.blocks]

    def blocks(self, panel: PanelSight, queries: Sequence[Held], columns: int | None) -> list[Block]:
        """The blocks of a panel, with room for the weights of `columns` keys (None: of all that a block sees)."""
        keys, values = self._near(self.kernel.key, self.key, panel), self._near(self.kernel.value, self.value, panel)
        found: list[Block] = []
        for sight, query in zip(panel.blocks, queries, strict=True):
            width = sight.limit if columns is None else columns
            weights = hold(self.builder, Extent.FULL, sight.rows.limit, width, self.kernel.graphs.weight_form)
            found.append(Block(sight, query, keys, values, weights, self.column(sight.rows)))
        return found

    def _near(self, operand: ProductOperand, whole: Held | None, panel: PanelSight) -> list[Held | None]:
        """What of the keys or values is on chip for each stretch of a panel, as if all of them began where key 0 would
        be; None where pieces are fetched when they are needed."""
        if whole is not None or operand.ready or self.masks is None or not self.tiling.near:
            return [whole] * len(panel.stretches)
        found: list[Held | None] = []
        by_row = operand.turned == (operand is self.kernel.key)
        for stretch in panel.stretches:
            rows, columns = Span.of(0, operand.shape[0]), Span.of(0, operand.shape[1])
            rows, columns = (stretch.keys, columns) if by_row else (rows, stretch.keys)
            held = operand.fetch(self.builder, self.indices, rows, columns)
            found.append(replace(held, offset=held.offset - stretch.keys.start * (held.pitch if by_row else 1)))
        return found

    def stagger(
        self,
        blocks: Sequence[Block],
        first: Callable[[Block], None],
        second: Callable[[Block, int], None],
        around: bool,
    ) -> None:
        """`first` of every block before `second` of the one before it; `second` of the last one waits for the next
        iteration of the loop `around`."""
        if not (self.kernel.staggered and self.tiling.staggered):
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

    def pieces(self, stretches: Sequence[Stretch], stage: int = 0) -> Iterator[Piece]:
        """Pieces of stretches of keys, each stretch's as the body of a loop in a pipeline stage."""
        size, before = self.tiling.keys, 0
        for stretch in stretches:
            limit = stretch.keys.limit
            if size >= limit and not stage:
                yield Piece(AffineForm.of(before), stretch.keys, ZERO, stretch)
                before += 1
                continue
            count = -(-limit // size)
            with self.builder.loop(count, stage) as index:
                start = index * size
                left = tuple(form - start for form in stretch.keys.size.forms)
                keys = Span(stretch.keys.start + start, Minimum((AffineForm.of(size), *left)))
                yield Piece(index + before, keys, start, stretch)
            before += count

    def right(self, operand: ProductOperand, whole: Held | None, columns: Span, depth: Span) -> Held:
        """A right operand's tile: `depth` of what is summed over, by `columns`."""
        rows, width = (columns, depth) if operand.turned else (depth, columns)
        if operand.ready:
            return operand.place(self.indices, rows, width)
        if whole is None:
            return operand.fetch(self.builder, self.indices, rows, width)
        return replace(whole, offset=whole.offset + rows.start * whole.pitch + width.start)

    def keys(self, span: Span, whole: Held | None) -> Held:
        """Some of the keys, out of those on chip if there are such."""
        return self.right(self.kernel.key, whole, span, Span.of(0, self.kernel.key_width))

    def values(self, span: Span, whole: Held | None) -> Held:
        """Some of the values, likewise."""
        return self.right(self.kernel.value, whole, Span.of(0, self.kernel.value_width), span)

    def scores(self, block: Block, span: Span, key: Held, mask: Mask | None = None) -> Held:
        """q k^T of a block and a piece of keys, in ACC; of a `mask`, what that keeps."""
        kernel = self.kernel
        depth = Minimum.of(kernel.key_width)
        acc = self.accumulator(block.rows, span.limit, kernel.scoring.mode.accumulator)
        turned = kernel.key.turned
        self.builder.product(
            block.query.full(block.rows.size, depth),
            key.full(span.size, depth) if turned else key.full(depth, span.size),
            acc.full(block.rows.size, span.size),
            kernel.scoring.mode.label,
            turned,
            values=kernel.scoring.values,
            mask=mask,
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
        temporaries: Mapping[int, Held] | None = None,
    ) -> None:
        """The passes of a graph over a tile; its outputs go to `outputs`, what is kept between them to `temporaries`,
        over the accumulators that nothing reads any more, or to places of its own."""
        packing = self.kernel.packing(graph)
        leaves = [
            given[source] if isinstance(source, str) else self.leaves.find(source, self.indices, rows, columns)
            for source in graph.sources
        ]
        placed = {packing.outputs[index]: held for index, held in outputs.items()} | dict(temporaries or {})
        heir = self.kernel.heir_in_acc(graph)
        if heir is not None:
            placed.setdefault(heir, self._retyped(given["acc"], packing.temporaries[heir].form))
        found = [
            placed.get(index) or hold(self.builder, t.extent, rows.limit, columns.limit, t.form)
            for index, t in enumerate(packing.temporaries)
        ]

        def find(slot: Slot) -> Held:
            return leaves[slot.index] if slot.leaf else found[slot.index]

        for plan in packing.passes:
            again = accumulate if plan.reductions else 0
            emit_pass(self.builder, plan, rows.size, columns.size, find, again, stage)

    def _retyped(self, acc: Held, form: Format) -> Held:
        """Where an accumulator lies, for values of another format of its width."""
        stored = buffer_type(acc.buffer).format
        return acc if stored is form else replace(acc, buffer=self.builder.retype(acc.buffer, form))

    def score_passes(
        self,
        number: int,
        block: Block,
        piece: Piece,
        given: Mapping[str, Held],
        outputs: Mapping[int, Held],
        accumulate: AffineForm | int = 0,
    ) -> None:
        """The passes of graph `number` over a piece of scores in ACC, with those hidden that a block does not see."""
        graph, tile = self.graphs[number], piece.stretch.tile
        if tile is not None:
            assert self.masks is not None
            graph = self.hiding_graphs[number]
            given = {**given, "shown": self.masks.find(tile, piece.start, piece.keys.size)}
        self.passes(graph, block.rows, piece.keys, given, outputs, accumulate)

    def scored(self, block: Block, piece: Piece) -> Held:
        """q k^T of a block and a piece of its keys, in ACC."""
        mask = self.pattern_mask(RESULT, block, piece.stretch)
        return self.scores(block, piece.keys, self.keys(piece.keys, block.keys[piece.stretch.source]), mask)

    def pattern_mask(self, masked: int, block: Block, stretch: Stretch) -> Mask | None:
        """What a product of a whole stretch leaves out; None where it is an ordinary one."""
        limit = stretch.keys.limit
        if self.masks is None or self.masked is None or stretch.tile is None or limit > self.tiling.keys:
            return None
        rows = int((self.masked.scores if masked == RESULT else self.masked.values)[stretch.tile])
        if rows == ORDINARY:
            return None
        arithmetic = self.kernel.scoring if masked == RESULT else self.kernel.valuing
        packing = packing_of(masked, arithmetic.mode, self.kernel.scope.machine)
        bits = self.masks.find(stretch.tile, ZERO, stretch.keys.size).full(block.rows.size, stretch.keys.size)
        return Mask(MASKED[masked], bits, packing, rows, known=True)

    def make_weights(self, block: Block) -> None:
        """Scores of a block, and weights from them."""
        outputs = self.weight_outputs(block)
        sight = block.sight
        if self.tiling.form is ScoreForm.WHOLE:
            (stretch,) = sight.stretches
            piece = Piece(ZERO, stretch.keys, ZERO, stretch)
            self.score_passes(0, block, piece, {"acc": self.scored(block, piece)}, outputs)
            return
        kept = hold(self.builder, Extent.FULL, block.rows.limit, sight.limit, Format.F32)
        statistic = self.column(block.rows)
        for piece in self.pieces(sight.stretches):
            acc = self.scored(block, piece)
            here = replace(kept, offset=piece.place)
            self.score_passes(0, block, piece, {"acc": acc}, {0: here, 1: statistic}, piece.number)
        whole = Span(ZERO, sight.width)
        given = {"kept": kept, self.kernel.graphs.statistic: statistic}
        self.passes(self.graphs[1], block.rows, whole, given, outputs)

    def weight_outputs(self, block: Block) -> dict[int, Held]:
        """Where the last graph over scores puts the weights, and their sums where it gives some."""
        places = (block.weights, block.column)
        return dict(zip(range(len(self.graphs[-1].graph.outputs)), places, strict=False))

    def _values(self, block: Block, stage: int) -> None:
        """Weights times values, finished and stored."""
        kernel, sight = self.kernel, block.sight
        acc = self.accumulator(block.rows, kernel.value_width, kernel.valuing.mode.accumulator)
        if block.values[0] is None and not kernel.value.ready:
            for piece in self.pieces(sight.stretches, stage):
                mask = self.pattern_mask(LEFT, block, piece.stretch)
                self.add_values(
                    block, piece.keys, piece.place, self.values(piece.keys, None), acc, piece.number, mask=mask
                )
        else:
            for number, stretch in enumerate(sight.stretches):
                value = self.values(stretch.keys, block.values[stretch.source])
                place = AffineForm.of(stretch.place)
                mask = self.pattern_mask(LEFT, block, stretch)
                self.add_values(block, stretch.keys, place, value, acc, AffineForm.of(number), stage, mask)
        self.store(block.rows, {"acc": acc, "total": block.column}, stage)

    def add_values(
        self,
        block: Block,
        span: Span,
        place: AffineForm,
        value: Held,
        acc: Held,
        index: AffineForm,
        stage: int = 0,
        mask: Mask | None = None,
    ) -> None:
        """The weights of a piece of keys, at `place` in the block's row of weights, times their values, added to `acc`
        from the second piece on; of a `mask`, the weights that it keeps."""
        kernel = self.kernel
        columns = Minimum.of(kernel.value_width)
        turned = kernel.value.turned
        piece = replace(block.weights, offset=block.weights.offset + place)
        self.builder.product(
            piece.full(block.rows.size, span.size),
            value.full(columns, span.size) if turned else value.full(span.size, columns),
            acc.full(block.rows.size, columns),
            kernel.valuing.mode.label,
            turned,
            index,
            stage,
            kernel.valuing.values,
            mask,
        )

    def store(self, rows: Span, known: Mapping[str, Held], stage: int) -> None:
        """The finished output of some rows."""
        sources = enumerate(self.finish.graph.sources)
        leaves = {index: known[source] for index, source in sources if isinstance(source, str)}
        self.epilogue.tile(self.indices, rows, Span.of(0, self.kernel.value_width), leaves, stage)

    def _sweeps(self, block: Block) -> None:
        """Maximum and sum, where they are asked for, over all pieces of keys; then weights and their product with the
        values piece by piece."""
        names = ("maximum", "total")[self.kernel.graphs.bounded :]
        columns = Span.of(0, self.kernel.value_width)
        given: dict[str, Held] = {}
        last = len(self.graphs) - 1
        for number in range(last):
            given[names[number]] = self.column(block.rows)
            for piece in self.pieces(block.sight.stretches):
                acc = self.scored(block, piece)
                known = {key: held for key, held in given.items() if key != names[number]}
                found = {0: given[names[number]]}
                self.score_passes(number, block, piece, {"acc": acc, **known}, found, piece.number)
        result = self.accumulator(block.rows, columns.limit, self.kernel.valuing.mode.accumulator)
        outputs = self.weight_outputs(block)
        for piece in self.pieces(block.sight.stretches):
            acc = self.scored(block, piece)
            self.score_passes(last, block, piece, {"acc": acc, **given}, outputs, piece.number)
            value = self.values(piece.keys, block.values[piece.stretch.source])
            mask = self.pattern_mask(LEFT, block, piece.stretch)
            self.add_values(block, piece.keys, ZERO, value, result, piece.number, mask=mask)
        self.store(block.rows, {"acc": result, "total": block.column}, 0)
