"""Attention that keeps scores by their values: predict, select, and products of what is kept.

Rows of scores lie on chip whole (the form `rows` of `attention_search`), since what is kept of one depends on all of
it. For each block of queries:

1. A round of a form that predicts multiplies levels of few bits; those of a key head's keys are made once. Later
   rounds multiply what the last one kept.
2. `sx.top`, or vector passes, give a bit for each score that is kept.
3. The exact scores of these are made by `mx.masked`, a row of the array for each `sx.pack` of them; without a
   prediction all exact scores were made before the selection.
4. Weights are made of a row, and multiplied with the values by `mx.masked`, packed likewise.

How many rows the masked products take is known when they run, and that is what they cost.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import cast

from ...dialects.key_runs import KeyRuns
from ...isa.errors import CapacityError
from ...isa.formats import Format
from ...isa.instructions.sparse import SELECTION_PASSES
from ...isa.row_packing import RowPacking
from .attention import AttentionLowering, AttentionTiling
from .attention_graph import Graph
from .attention_plan import (
    AttentionDecision,
    AttentionPart,
    AttentionProblem,
    Kept,
    Passes,
    ScoreForm,
)
from .attention_search import search_attention
from .attention_sight import Prefix
from .build import TileBuilder
from .kernel import Budget, Kernel, Plan, Scope
from .lane_graph import Extent
from .pruned_attention_emit import PrunedEmission
from .pruned_attention_graph import Levels, PrunedGraphs
from .tiles import tile_bytes

BITS = 1 / 8
"""Bytes of a bit of a mask."""

SPARE = 4096
"""Bytes left free where the importance of keys is summed up: it stays while blocks of many sizes come and go."""

EXPECTED = 0.25
"""The part of the scores that tilings are chosen for where it is known only when they are made: published densities are
0.08 to 0.27 (Lu et al., 2021, Sanger)."""


class PrunedAttentionLowering(AttentionLowering):
    """Lowers an `sattn.attention` whose form is a pruning, with the elementwise operations behind it."""

    def __init__(self, kernel: Kernel, scope: Scope) -> None:
        super().__init__(kernel, scope)
        pruning = self.op.form.pruning
        assert pruning is not None
        self.pruning = pruning
        self.graphs = self.pruned_graphs = PrunedGraphs.extending(self.graphs)
        self.hiding_graphs = self.pruned_hiding_graphs = replace(self.pruned_graphs, hiding=True)
        self.levels = self._levels()

    def _levels(self) -> Mapping[int, Levels]:
        """The levels that scores are predicted by, by their bits."""
        machine, found = self.scope.machine, dict[int, Levels]()
        for bits in self.pruning.rounds:
            levels = Levels.of(bits, machine.matrix.rates) if bits else None
            if bits and levels is None:
                reason = f"the matrix engine of machine {machine.name} has no mode for levels of {bits} bits"
                raise self.refused(str(self.pruning), reason, "a form that predicts no scores, such as topk:K")
            if bits and not self.key.turned:
                reason = "scores are predicted by levels of keys, which do not lie row by row"
                raise self.refused(str(self.pruning), reason, "a form that predicts no scores, such as topk:K")
            if levels is not None:
                found[bits] = levels
        return found

    def _runs(self) -> tuple[KeyRuns, ...] | None:
        return None

    @property
    def forms(self) -> tuple[ScoreForm, ...]:
        return (ScoreForm.ROWS,)

    def form_graphs(self, form: ScoreForm, hiding: bool = False) -> tuple[Graph, ...]:
        """As of dense attention, whose rows of scores are weighed as the pruning says."""
        if form is not ScoreForm.ROWS:
            return super().form_graphs(form, hiding)
        if self.levels:
            return (self.hiding_graphs.scores(), self.graphs.weights())
        graphs, pruning = self.pruned_graphs, self.pruning
        if pruning.within_softmax:
            return (graphs.scores(), graphs.shown_weights())
        return (graphs.scores(), graphs.weights() if pruning.keep else graphs.selected_weights(pruning))

    @property
    def in_place(self) -> bool:
        """Whether weights are written over the scores that they are made of."""
        graph = self.form_graphs(ScoreForm.ROWS)[1]
        return self.heir(graph, "kept") == self.packing(graph).outputs[0]

    def _over_row(self, graph: Graph) -> Passes:
        """Its passes over rows, and what they keep beside the row itself."""
        found, heir = self._passes(graph), self.heir(graph, "kept")
        return found if heir is None else Passes(found.count, found.kept - Format.F32.bytes)

    @property
    def problem(self) -> AttentionProblem:
        """As of dense attention, with passes and memory for predictions, selections and packing."""
        problem, pruning = super().problem, self.pruning
        pieces, rows = problem.passes[ScoreForm.ROWS], self._over_row(self.form_graphs(ScoreForm.ROWS)[1])
        summing = self.importance is not None
        rounds = sum(bits > 0 for bits in pruning.rounds)
        predicted = self._passes(self.pruned_graphs.predicted()) if rounds else Passes(0, 0)
        selection = Passes(0, 0)
        if rounds and not pruning.keep:
            selection = self._over_row(self.pruned_graphs.selection(pruning))
        products = rounds + 1
        count = (
            rows.count
            + summing
            + products
            + len(pruning.rounds) * (SELECTION_PASSES if pruning.keep else selection.count)
        )
        # The bits of a block stay until its values are multiplied, beside those of the next.
        kept = max(rows.kept, selection.kept) + BITS * (len(pruning.rounds) + 1)
        kept += sum(levels.form.width * self.key_width + 4 for levels in self.levels.values()) / self.keys
        joined = Passes(pieces.count + rounds * predicted.count, max(pieces.kept, predicted.kept))
        passes = (*problem.passes[: ScoreForm.ROWS], joined, *problem.passes[ScoreForm.ROWS + 1 :])
        machine = self.scope.machine
        left = min(1.0, pruning.keep / self.keys) if pruning.keep else EXPECTED
        return replace(
            problem,
            passes=passes,
            over_rows=Passes(count, kept),
            kept=Kept(
                left,
                tuple(self.levels[bits].mode for bits in pruning.rounds if bits),
                RowPacking.of(machine, machine.matrix.columns) if rounds else None,
                RowPacking.of(machine, int(machine.matrix.depths[self.valuing.mode.code])),
            ),
        )

    def _decide(self, part: AttentionPart, room: Budget) -> AttentionDecision:
        """The better of two tilings: of staggered blocks, which need room for two of them, and of one block after the
        other, which leave it to keys and values that stay."""
        assert isinstance(part.sight, Prefix)

        def decision(staggered: bool) -> AttentionDecision:
            problem = replace(self.problem, staggered=staggered)
            found = search_attention(problem, self.rates, room.sram, room.acc)
            return replace(found, chosen=replace(found.chosen, staggered=staggered))

        found = [decision(staggered=False)]
        if self.problem.staggered:
            with suppress(CapacityError):
                found.append(decision(staggered=True))
        return min(found, key=lambda way: way.chosen.cycles + way.chosen.burden)

    @property
    def whole_bytes(self) -> int:
        held = sum(
            tile_bytes(Extent.FULL, self.keys, self.key_width, levels.form)
            + tile_bytes(Extent.ROW, 1, self.keys, Format.F32)
            for levels in self.levels.values()
        )
        batch, groups, _ = self.outer
        spare = SPARE if self.importance is not None else 0
        return super().whole_bytes + held * (2 if batch * groups > 1 else 1) + spare

    @property
    def shape(self) -> Hashable:
        return PrunedAttentionLowering, self.pruning, super().shape

    def emit(self, plan: Plan, builder: TileBuilder) -> None:
        if 0 in (*self.outer, self.queries, self.value_width):
            return
        with self.summed(builder) as importance:
            for part, tiling in cast(AttentionTiling, plan).parts:
                PrunedEmission(self, part, tiling, builder, importance).run()
