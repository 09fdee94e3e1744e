"""Attention whose keys come by their high bits, and by their low bits where a row needs them.

Rows of scores lie on chip whole, as those of `pruned_attention` do. For each block of queries:

1. Queries times the high bits of all keys give scores.
2. Vector passes find each row's greatest probability, and a bit for each score that is made again.
3. The low bits of a head's keys are loaded by the first block that needs them: an extent of the load is what a pass has
   found. Until then there are zeros in their place.
4. `mx.masked` multiplies queries with the low bits where bits say so; the sums are added to the scores.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import cast

from xdsl.ir import SSAValue

from ...dialects.elements import element_type
from ...dialects.forms.progressive import Progressive
from ...dialects.key_runs import KeyRuns
from ...isa.formats import Format
from ...isa.frozen import frozen
from .arithmetic import Arithmetic
from .attention import AttentionLowering, AttentionTiling
from .attention_graph import AttentionGraphs, Graph, Maker
from .attention_plan import AttentionProblem, Passes, ScoreForm
from .build import TileBuilder
from .kernel import Kernel, Plan, Scope
from .lane_graph import Extent
from .pack import reads_before_writing
from .product_operand import ProductOperand
from .progressive_attention_emit import ProgressiveEmission
from .pruned_attention_graph import Row
from .tiles import tile_bytes

BITS = 1 / 8
"""Bytes of a bit of a mask."""


@frozen(eq=False)
class ProgressiveGraphs(AttentionGraphs):
    """Makes the graphs of an attention of the form progressive: `score` and `scores` are of the high bits."""

    low_form: Format = Format.I32

    @property
    def form(self) -> Progressive:
        """The form."""
        form = self.op.form.progressive
        assert form is not None
        return form

    @property
    def scale(self) -> float:
        return self.op.scale.value.data * (1 << self.form.low_bits)

    def again(self) -> Graph:
        """From kept scores and their maximum to the bits of those that are made again, and each row's greatest
        probability."""
        make = Maker()
        score = make.given("kept", Format.F32, Extent.FULL)
        row = Row(make.builder, score, make.given("maximum", Format.F32, Extent.COLUMN))
        make.builder.output(self.form.again(row, score), Format.B1, full=True)
        make.builder.output(self.form.greatest(row, score), Format.F32, full=False)
        return make.build()

    def whole_keys(self) -> Graph:
        """From kept scores and a product with low bits in ACC to scores of all bits, and the maximum so far."""
        make = Maker()
        b, score = make.builder, make.given("kept", Format.F32, Extent.FULL)
        low = b.as_kind(make.given("acc", self.low_form, Extent.FULL), "float")
        for factor in (self.factors.query, self.factors.key):
            if factor is not None:
                low = b.apply("mul", low, make.stored(factor))
        low = b.apply("mul", low, b.immediate(self.op.scale.value.data))
        score = b.apply("add", score, low)
        b.output(score, Format.F32, full=True)
        b.output(b.reduce("max", score), Format.F32, full=False)
        return make.build()


class ProgressiveLowering(AttentionLowering):
    """Lowers an `sattn.attention` whose keys come by their high and low bits, with the elementwise operations behind
    it."""

    def __init__(self, kernel: Kernel, scope: Scope) -> None:
        super().__init__(kernel, scope)
        op = self.op
        if op.k_low is None:
            raise self.refused(op.form.text, "keys are not split into high and low bits", "the pass split-keys")
        self.low_scoring = Arithmetic.of_elements(element_type(op.q), element_type(op.k_low))
        by_key = self.split.of_groups(scope.view(op.k_low)).turned
        self.low: ProductOperand = self._operand(op.k_low, by_key, right=True)
        if not (self.key.turned and self.low.turned):
            raise self.refused(op.form.text, "keys do not lie row by row", "another form of attention")
        made = ProgressiveGraphs.extending(self.graphs)
        self.graphs = self.bit_graphs = replace(made, low_form=self.low_scoring.mode.accumulator)
        self.hiding_graphs = replace(self.bit_graphs, hiding=True)

    def _runs(self) -> tuple[KeyRuns, ...] | None:
        return None

    @property
    def forms(self) -> tuple[ScoreForm, ...]:
        return (ScoreForm.ROWS,)

    @property
    def in_place(self) -> bool:
        """Whether scores of all bits are written over those of the high ones."""
        graph = self.bit_graphs.whole_keys()
        packing = self.packing(graph)
        return reads_before_writing(packing, graph.sources.index("kept"), packing.outputs[0])

    @property
    def problem(self) -> AttentionProblem:
        """As of dense attention, with passes and memory for the bits; products with low bits, of rows that only the run
        knows, are left out."""
        problem = super().problem
        again, whole = self._passes(self.bit_graphs.again()), self._passes(self.bit_graphs.whole_keys())
        pieces, rows = problem.passes[ScoreForm.ROWS], problem.over_rows
        joined = Passes(pieces.count + whole.count, max(pieces.kept, whole.kept))
        passes = (*problem.passes[: ScoreForm.ROWS], joined, *problem.passes[ScoreForm.ROWS + 1 :])
        kept = max(rows.kept, again.kept) + 2 * BITS + (0 if self.in_place else Format.F32.bytes)
        return replace(problem, passes=passes, over_rows=Passes(rows.count + again.count, kept))

    @property
    def whole_bytes(self) -> int:
        batch, groups, _ = self.outer
        low = 0 if self.low.ready else tile_bytes(Extent.FULL, self.keys, self.key_width, self.low.form)
        return super().whole_bytes + low * (2 if batch * groups > 1 else 1)

    @property
    def shape(self) -> Hashable:
        leaf = self.low.main
        return ProgressiveLowering, self.bit_graphs.form, self.place_of(leaf.root), leaf.strides, super().shape

    def accepts_resident(self, value: SSAValue) -> bool:
        if self.low.main.root is self.scope.view(value).root and not self.low.readable(self.low.main):
            return False
        return super().accepts_resident(value)

    def emit(self, plan: Plan, builder: TileBuilder) -> None:
        if 0 in (*self.outer, self.queries, self.value_width):
            return
        with self.summed(builder) as importance:
            for part, tiling in cast(AttentionTiling, plan).parts:
                ProgressiveEmission(self, part, tiling, builder, importance).run()
