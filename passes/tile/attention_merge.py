"""Attention over pieces of keys: weights by the greatest score so far, and outputs that are merged.

For each piece of keys j, of scores s, with m the greatest score so far, l the sum of weights and o the output so far:

    m' = max(m, max s),  a = exp(m - m'),  w = exp(s - m'),  l' = a l + sum w,  o' = a o + w v

(Milakov and Gimelshein, 2018, Online normalizer calculation for softmax, algorithm 3; Dao et al., 2022,
FlashAttention, algorithm 1). m begins with the least float32 rather than with -inf, so that pieces of which nothing
is seen get weights of zero: a row that sees nothing at all has l = 0 in the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...dialects.affine_form import AffineForm, Minimum
from ...isa.formats import Format
from ...isa.frozen import frozen
from ...isa.lanes import LaneProgram
from .attention_emit import ZERO, AttentionEmission, Block, Piece
from .attention_plan import AT_ONCE, AttentionPart, AttentionPlan
from .attention_sight import PanelSight, Prefix
from .build import Span, TileBuilder
from .lane_graph import Extent
from .lane_passes import ONE, Held
from .tiles import hold

if TYPE_CHECKING:
    from .attention import AttentionLowering

LEAST = float(np.finfo(np.float32).min)

NOTHING = LaneProgram.parse("out 0.0")
NO_ROW = LaneProgram.parse(f"out 0.0; reduce max({LEAST:.8e}); reduce max({LEAST:.8e})")
"""Sums of 0, and the least number as maximum and as maximum before."""

RESCALE = LaneProgram.parse("r0 = sub(a, b); r1 = exp(r0); r2 = mul(r1, c0); out r1; reduce sum(r2); reduce max(b)")
"""From the maximum before (a), the maximum (b) and the sums (c0): the factor of what came before; the sums by it; and
the maximum, as the maximum before from now on."""


@frozen
class _State:
    """What the pieces of a panel are merged into: a value for each row, and the output."""

    maximum: Held
    before: Held
    total: Held
    output: Held

    def at(self, offset: int) -> _State:
        """The part from a row of the panel on."""
        output = replace(self.output, offset=self.output.offset + offset * self.output.pitch)
        maximum, before, total = (
            replace(held, offset=held.offset + offset) for held in (self.maximum, self.before, self.total)
        )
        return _State(maximum, before, total, output)


class MergedEmission(AttentionEmission):
    """Writes the tile operations of an attention whose keys come in pieces."""

    def __init__(
        self, lowering: AttentionLowering, part: AttentionPart, tiling: AttentionPlan, builder: TileBuilder
    ) -> None:
        super().__init__(lowering, part, tiling, builder)
        self._merge = lowering.graphs.merged()

    def panels(self, panels: Sequence[PanelSight], around: bool) -> None:
        for panel in panels:
            self._panel(panel)

    def _panel(self, panel: PanelSight) -> None:
        rows = panel.rows
        state = self._begin(rows)
        # Block by block, so that a panel need not wait for all of its queries.
        queries = [self.queries(block.rows) for block in panel.blocks]
        outside = self.builder.depth
        for piece in self.pieces(panel.stretches):
            key, value = self.keys(piece.keys, self.key), self.values(piece.keys, self.value)

            def scored(block: Block, piece: Piece = piece, key: Held = key) -> None:
                self._piece_weights(block, self._of(block, piece), key, state.at(block.sight.offset))

            def multiplied(block: Block, stage: int, piece: Piece = piece, value: Held = value) -> None:
                self._piece_values(block, self._of(block, piece), value, state.at(block.sight.offset), stage)

            blocks = self.blocks(panel, queries, piece.keys.limit)
            self.stagger(blocks, scored, multiplied, self.builder.depth > outside)
        stored = 0 if self.finish.epilogue.stores_in_place else self.finish.epilogue.output.form.bytes
        at_once = self.tiling.panel * self.kernel.value_width * stored <= AT_ONCE
        parts = [(0, rows)] if at_once else [(block.offset, block.rows) for block in panel.blocks]
        for offset, part in parts:
            done = state.at(offset)
            self.store(part, {"output": done.output, "total": done.total}, 0)

    def _begin(self, rows: Span) -> _State:
        builder, width = self.builder, self.kernel.value_width
        output = hold(builder, Extent.FULL, rows.limit, width, Format.F32)
        state = _State(self.column(rows), self.column(rows), self.column(rows), output)
        columns = [("rows", held.vector(rows.size)) for held in (state.maximum, state.before)]
        builder.lane_pass(NO_ROW, ONE, rows.size, out=state.total.line(rows.size), reductions=columns)
        builder.lane_pass(NOTHING, rows.size, width, out=output.full(rows.size, Minimum.of(width)))
        return state

    @property
    def _causal(self) -> bool:
        return isinstance(self.part.sight, Prefix) and self.part.sight.visible is not None

    def _of(self, block: Block, piece: Piece) -> Piece:
        """The part of a piece of a panel's keys that a block sees."""
        if not self._causal:
            return piece
        left = tuple(form - piece.keys.start for form in block.sight.width.forms)
        return replace(piece, keys=Span(piece.keys.start, Minimum((*piece.keys.size.forms, *left))))

    def _piece_weights(self, block: Block, piece: Piece, key: Held, state: _State) -> None:
        """Scores of a block and a piece, the maximum and the sum so far, and the weights."""
        span = piece.keys
        acc = self.scores(block, span, key)
        second = self.graphs[1]
        kept = hold(self.builder, Extent.FULL, block.rows.limit, span.limit, Format.F32)
        self.score_passes(0, block, piece, {"acc": acc}, {0: kept, 1: state.maximum}, 1)
        rows = self._rows(block, span)
        self.builder.lane_pass(
            RESCALE,
            ONE,
            rows.size,
            [state.before.line(rows.size), state.maximum.line(rows.size)],
            [("row", state.total.vector(rows.size))],
            block.column.line(rows.size),
            [("rows", state.total.vector(rows.size)), ("rows", state.before.vector(rows.size))],
        )
        given = {"kept": kept, "maximum": state.maximum}
        self.passes(second, block.rows, span, given, {0: block.weights, 1: state.total}, 1)

    def _piece_values(self, block: Block, piece: Piece, value: Held, state: _State, stage: int) -> None:
        """The piece's weights times its values, and what came before."""
        kernel, span = self.kernel, piece.keys
        columns = Span.of(0, kernel.value_width)
        acc = self.accumulator(block.rows, kernel.value_width, kernel.valuing.mode.accumulator)
        self.add_values(block, span, ZERO, value, acc, ZERO, stage)
        given = {"acc": acc, "output": state.output, "factor": block.column}
        self.passes(self._merge, self._rows(block, span), columns, given, {0: state.output}, stage=stage)

    def _rows(self, block: Block, span: Span) -> Span:
        """The rows of a block, none where it sees none of the piece."""
        if not self._causal:
            return block.rows
        limit = block.rows.limit
        seen = tuple((form - span.start) * limit for form in block.sight.width.forms)
        return Span(block.rows.start, Minimum((*block.rows.size.forms, *(AffineForm.of(form) for form in seen))))
