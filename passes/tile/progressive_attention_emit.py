"""The tile operations of attention whose keys come by their high and low bits (see `progressive_attention`)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ...dialects.affine_form import Access, Minimum
from ...dialects.tile import Place
from ...isa.formats import Format
from ...isa.lanes import LaneProgram
from .attention_emit import ZERO, AttentionEmission, Block, Piece
from .attention_plan import AttentionPart, AttentionPlan
from .build import Span, TileBuilder
from .lane_graph import Extent
from .lane_passes import ONE, Held
from .pruned_attention_emit import packed_mask
from .tiles import hold

if TYPE_CHECKING:
    from .progressive_attention import ProgressiveLowering

NOTHING = LaneProgram.parse("out 0")

SINCE = LaneProgram.parse("r0 = max(a, b); r1 = sub(r0, a); out r1; reduce max(r0)")
"""From how many keys have come (a) and how many a block needs (b): how many come now, and how many have come then."""


class ProgressiveEmission(AttentionEmission):
    """Writes the tile operations of an attention of the form progressive."""

    def __init__(
        self,
        lowering: ProgressiveLowering,
        part: AttentionPart,
        tiling: AttentionPlan,
        builder: TileBuilder,
        importance: Held | None = None,
    ) -> None:
        super().__init__(lowering, part, tiling, builder, importance)
        self._lowering = lowering
        self._low: Held | None = None
        self._come: Held | None = None

    def begin_head(self) -> None:
        """Keys by their high bits, values, and zeros where low bits will come."""
        super().begin_head()
        low = self._lowering.low
        if low.ready:
            return
        keys, width = low.shape
        self._low = hold(self.builder, Extent.FULL, keys, width, low.form)
        self._come = self._word()
        self.builder.lane_pass(NOTHING, keys, width, out=self._low.full(Minimum.of(keys), Minimum.of(width)))
        self.builder.lane_pass(NOTHING, 1, 1, out=self._come.line(ONE))

    def _word(self) -> Held:
        return hold(self.builder, Extent.SCALAR, 1, 1, Format.I32)

    def make_weights(self, block: Block) -> None:
        """Scores of the high bits, those of all bits where they are needed, and weights."""
        graphs, rows = self._lowering.bit_graphs, block.rows
        row = self._row(block)
        maximum = self.column(rows)
        for piece in self.pieces(block.sight.stretches):
            found = {0: self._at(row, piece), 1: maximum}
            self.score_passes(0, block, piece, {"acc": self.scored(block, piece)}, found, piece.number)
        whole = Span(ZERO, block.sight.width)
        bits = hold(self.builder, Extent.FULL, rows.limit, block.sight.limit, Format.B1)
        greatest = self.column(rows)
        self.passes(graphs.again(), rows, whole, {"kept": row, "maximum": maximum}, {0: bits, 1: greatest})
        self._fetch(rows, greatest)
        exact, maximum = row if self._lowering.in_place else self._row(block), self.column(rows)
        for piece in self.pieces(block.sight.stretches):
            given = {"kept": self._at(row, piece), "acc": self._of_low(block, piece, bits)}
            found = {0: self._at(exact, piece), 1: maximum}
            self.passes(graphs.whole_keys(), rows, piece.keys, given, found, piece.number)
        given = {"kept": exact, "maximum": maximum}
        self.passes(self.graphs[1], rows, whole, given, self.weight_outputs(block))

    def _row(self, block: Block) -> Held:
        return hold(self.builder, Extent.FULL, block.rows.limit, block.sight.limit, Format.F32)

    @staticmethod
    def _at(row: Held, piece: Piece) -> Held:
        return replace(row, offset=row.offset + piece.place)

    def _fetch(self, rows: Span, greatest: Held) -> None:
        """The low bits of all keys of the head, if a row's greatest probability asks for them and they are not there
        yet."""
        low, builder = self._lowering.low, self.builder
        if self._low is None or self._come is None:
            return
        keys, width = low.shape
        threshold = self._lowering.bit_graphs.form.threshold
        needed, now = self._word(), self._word()
        # The last block of a group may have no rows, and a pass over none writes nothing.
        builder.lane_pass(NOTHING, 1, 1, out=needed.line(ONE))
        text = f"r0 = lt(a, {threshold:.9e}); r1 = select(r0, {keys}, 0); reduce max(r1)"
        streams, found = [greatest.line(rows.size)], [("columns", needed.vector(ONE))]
        builder.lane_pass(LaneProgram.parse(text), 1, rows.size, streams, reductions=found)
        streams, found = [self._come.line(ONE), needed.line(ONE)], [("columns", self._come.vector(ONE))]
        builder.lane_pass(SINCE, 1, 1, streams, out=now.line(ONE), reductions=found)
        leaf, sizes = low.main, (Minimum.of(keys), Minimum.of(width))
        source = Access(leaf.start(self.indices), sizes, (leaf.row, leaf.column))
        builder.counted_copy(
            Place(self.kernel.scope.buffers[leaf.root], source), self._low.full(*sizes), now.vector(ONE)
        )

    def _of_low(self, block: Block, piece: Piece, bits: Held) -> Held:
        """Queries times the low bits of a piece of keys, where scores are made again."""
        lowering, span = self._lowering, piece.keys
        arithmetic, depth = lowering.low_scoring, Minimum.of(lowering.key_width)
        acc = self.accumulator(block.rows, span.limit, arithmetic.mode.accumulator)
        key = self.right(lowering.low, self._low, span, Span.of(0, lowering.key_width))
        machine = self.kernel.scope.machine
        self.builder.product(
            block.query.full(block.rows.size, depth),
            key.full(span.size, depth),
            acc.full(block.rows.size, span.size),
            arithmetic.mode.label,
            transpose_b=True,
            values=arithmetic.values,
            mask=packed_mask(machine, "result", self._at(bits, piece), block.rows, span, arithmetic.mode),
        )
        return acc
