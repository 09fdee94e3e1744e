"""The importance of an attention's keys: what the values are multiplied with, summed over heads and queries on chip.

A pass over each block's weights, behind the one that makes them, divides them by their row's sum and adds up columns:
scores and probabilities are made once for the output and for the importance (Wang et al., 2021, SpAtten, arXiv
2012.09852, accumulates it beside its softmax).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from xdsl.ir import SSAValue

from ...dialects.affine_form import AffineForm, Minimum
from ...isa.formats import Format
from ...isa.frozen import frozen
from ...isa.lanes import LaneProgram
from .attention_graph import LEVELS
from .build import TileBuilder, buffer_bytes
from .lane_graph import Extent
from .lane_passes import Held
from .tiles import hold

if TYPE_CHECKING:
    from .attention import AttentionLowering
    from .attention_emit import Block
    from .kernel import Scope

NOTHING = LaneProgram.parse("out 0.0")

OF_FLOATS = LaneProgram.parse("r0 = div(a, c0); r1 = lt(0.0, c0); r2 = select(r1, r0, 0.0); reduce sum(r2)")
"""Weights (a) over their row's sum (c0), summed by column; zeros of a row that sees nothing."""

OF_LEVELS = LaneProgram.parse(
    f"r0 = to_float(a); r1 = mul(c0, {LEVELS}); r2 = div(r0, r1); r3 = lt(0.0, r1); r4 = select(r3, r2, 0.0);"
    " reduce sum(r4)"
)
"""Levels of weights likewise."""


@frozen(eq=False)
class Importance:
    """Sums [batches, keys] of weights of a format; `result` where they are to be stored."""

    scope: Scope
    result: SSAValue
    batches: int
    keys: int
    weights: Format

    @staticmethod
    def of(lowering: AttentionLowering) -> Importance | None:
        """What a kernel sums up; None where nothing asks for it."""
        result = lowering.op.importance
        if result is None or result not in lowering.kernel.results:
            return None
        return Importance(lowering.scope, result, lowering.outer[0], lowering.keys, lowering.graphs.weight_form)

    @property
    def bytes(self) -> int:
        """SRAM for the sums, where they do not stay."""
        return 0 if self.scope.resident(self.result) else buffer_bytes((self.batches, self.keys), Format.F32)

    def begin(self, builder: TileBuilder) -> Held:
        """Sums of nothing."""
        if self.scope.resident(self.result):
            place = self.scope.place(self.result, [0, 0], [self.batches, self.keys])
            held = Held(place.buffer, place.access.offset, self.keys)
        else:
            held = hold(builder, Extent.FULL, self.batches, self.keys, Format.F32)
        builder.lane_pass(
            NOTHING, self.batches, self.keys, out=held.full(Minimum.of(self.batches), Minimum.of(self.keys))
        )
        return held

    def add(self, builder: TileBuilder, held: Held, block: Block, batch: AffineForm) -> None:
        """Add the weights of a block of queries."""
        for stretch in block.sight.stretches:
            weights = replace(block.weights, offset=block.weights.offset + stretch.place)
            target = replace(held, offset=held.offset + batch * self.keys + stretch.keys.start)
            builder.lane_pass(
                OF_LEVELS if self.weights is Format.I8 else OF_FLOATS,
                block.rows.size,
                stretch.keys.size,
                [weights.full(block.rows.size, stretch.keys.size)],
                [("column", block.column.vector(block.rows.size))],
                reductions=[("rows", target.vector(stretch.keys.size))],
                accumulate=1,
            )

    def end(self, builder: TileBuilder, held: Held) -> None:
        """Store the sums, where they do not lie where they stay."""
        if self.scope.resident(self.result):
            return
        sizes = (self.batches, self.keys)
        source = held.full(*map(Minimum.of, sizes))
        builder.copy(source, self.scope.place(self.result, [0, 0], sizes))
