"""The attention kernel: scores, exact softmax and the product with the values on chip, a block of queries at a time.

Scores never go to DRAM. The next block's scores are issued before this block's product with the values, so that the
array works while the vector engine makes weights of scores. Heads are addressing: queries, keys, values and the output
are strided views. With a causal mask, keys that no query of a block sees are left out.

Queries, keys and values are made by kernels of their own. For BERT-base on `edge` (128 tokens, int8) values stay on
chip and queries and keys go through DRAM: 393 KB of the 11.3 MB that a layer moves, at no idle cycle of the array.
Making them by groups of four heads inside this kernel would save those 3.5 %, were there 98 KB for the group beside
the 98 KB of the input and the weights' buffers; the output then goes to DRAM as it does now.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from functools import cached_property
from itertools import pairwise
from typing import cast

import numpy as np
from xdsl.ir import SSAValue

from ...dialects import nn, sattn
from ...dialects.constants import Array, RefAttr
from ...dialects.elements import element_of, element_type, format_of, shape_of, tensor
from ...dialects.key_runs import KeyRuns
from ...isa.errors import Blocking, UnsupportedError
from ...isa.formats import Format
from ...isa.frozen import frozen
from .arithmetic import Arithmetic
from .attention_emit import AttentionEmission
from .attention_graph import AttentionGraphs, Factors, Graph, HeadSplit
from .attention_importance import Importance
from .attention_merge import MergedEmission
from .attention_plan import (
    AttentionDecision,
    AttentionPart,
    AttentionPlan,
    AttentionProblem,
    Matrix,
    Passes,
    ScoreForm,
)
from .attention_search import search_attention
from .attention_shown_search import search_shown
from .attention_sight import Prefix, Shown, zones
from .build import TileBuilder
from .cluster import Cluster, make_cluster
from .kernel import Budget, Kernel, Lowering, Plan, Scope
from .lane_graph import Extent
from .lane_passes import Held
from .pack import Packing, pack, reads_before_writing
from .product_operand import ProductOperand
from .tile_epilogue import TileEpilogue
from .tile_leaves import TileLeaves
from .tiles import Spread
from .view import View


@frozen
class AttentionTiling(Plan):
    """A plan with the tilings that it stands for, one for each part."""

    parts: tuple[tuple[AttentionPart, AttentionPlan], ...] = field(kw_only=True)


@frozen
class Finish:
    """What is made of weights times values, as a graph and as the passes and the store of a tile."""

    graph: Graph
    epilogue: TileEpilogue


class AttentionLowering(Lowering):
    """Lowers an `sattn.attention` with the elementwise operations behind it. All patterns are one to it: the runs of
    keys that each query sees."""

    # Scores that lie on chip whole are computed once; that is worth more than room for what comes after.
    fill = 1.0

    def __init__(self, kernel: Kernel, scope: Scope) -> None:
        super().__init__(kernel, scope)
        op = kernel.anchor
        assert isinstance(op, sattn.AttentionOp)
        self.op = op
        batch, heads, groups, self.queries, self.keys, self.key_width, self.value_width = op.extents
        self.split = HeadSplit(groups, heads // groups if groups else 1)
        self.outer = (batch, groups, self.split.share)
        self.scoring = Arithmetic.of_elements(element_type(op.q), element_type(op.k))
        self.valuing = Arithmetic.of_elements(op.p_element, element_type(op.v))
        self._check_modes()
        self.runs = self._runs()
        self.graphs = AttentionGraphs(
            op,
            self._factors(),
            self.split,
            self.scoring.mode.accumulator,
            format_of(op.p_element),
            self.valuing.mode.accumulator,
        )
        self.hiding_graphs = replace(self.graphs, hiding=True)
        self.divisions = self._divisions()
        by_key = self.split.of_groups(scope.view(op.k)).turned
        self.query = self._operand(op.q, self.split.of_heads(scope.view(op.q)), right=False)
        self.key = self._operand(op.k, by_key, right=True)
        by_value = self.split.of_groups(scope.view(op.v))
        if op.has_packed_values:
            by_value = by_value.turned
        self.value = self._operand(op.v, by_value, right=True)
        after = [operation for operation in kernel.operations if operation is not op]
        cluster = make_cluster(after, kernel.results[:1], scope, {op.result: Format.F32})
        self.importance = Importance.of(self)
        self._summed = self._finish(cluster, merged=False)
        self._merged = self._finish(cluster, merged=True) if ScoreForm.MERGED in self.forms else self._summed
        self.rates = scope.rates

    def _finish(self, cluster: Cluster, merged: bool) -> Finish:
        scope, output = self.scope, cluster.outputs[0]
        graph = self.graphs.finished(cluster, merged)
        epilogue = TileEpilogue(
            graph.graph,
            graph.spreads,
            TileLeaves(scope, graph.stored, self.queries, self.value_width),
            Spread.of(self.split.of_heads(output.view.broadcast(shape_of(self.op.result))), output.form),
            graph.given,
            graph.accs,
        )
        return Finish(graph, epilogue)

    def finish_of(self, form: ScoreForm) -> Finish:
        """How a form ends: merged pieces lie in SRAM, other sums in ACC."""
        return self._merged if form is ScoreForm.MERGED else self._summed

    @property
    def staggered(self) -> bool:
        """Whether the scores of a block come before the product with the values of the one before it."""
        return self.scope.options.stagger_heads

    def _check_modes(self) -> None:
        machine = self.scope.machine
        reasons = [
            (f"the matrix engine of machine {machine.name} has no {mode} mode", "--precision")
            for mode in (self.scoring.mode, self.valuing.mode)
            if mode.label not in machine.matrix.rates
        ]
        if not self.keys or not self.key_width:
            reasons.append(("attention over nothing", "at least one key of one element"))
        if reasons:
            reason, remedy = reasons[0]
            raise UnsupportedError((Blocking(self.kernel.path or "?", "Attention", reason, remedy),))

    def _runs(self) -> tuple[KeyRuns, ...] | None:
        """What a pattern shows the queries of all heads alike or of each, a causal mask taken into it; None where the
        first keys are all that is seen (see `visible`)."""
        op = self.op
        if op.form.is_dense:
            return None
        runs = op.runs(*(self._known(value) for value in (op.pattern, op.order)))
        if runs is None:
            raise self.refused(op.form.text, f"attention form '{op.form.text}' has no lowering", "another form")
        if op.causal is not None and math.isinf(op.fill.value.data):
            ends = np.arange(self.queries, dtype=np.int64) + (op.causal_offset.value.data + 1)
            causal = KeyRuns.one_each(self.keys, 0, ends)
            runs = tuple(each.intersection(causal) for each in runs)
        if all(each.is_full for each in runs):
            return None
        if op.p_zero_point.value.data:
            raise self.refused(
                op.form.text,
                f"weights have the zero point {op.p_zero_point.value.data}, so that hidden keys count too",
                "the form dense, or weights with a zero point of 0 as int8",
            )
        return runs

    def _known(self, value: SSAValue | None) -> Array | None:
        made = None if value is None else value.owner
        if made is None:
            return None
        if not isinstance(made, nn.ConstantOp):
            raise self.refused("pattern", "the pattern is no constant", "a bitmap that is known to the compiler")
        return self.scope.store.array(made.data)

    def refused(self, subject: str, reason: str, remedy: str) -> UnsupportedError:
        """The error of an attention that cannot be lowered."""
        return UnsupportedError((Blocking(self.kernel.path or subject, "Attention", reason, remedy),))

    def _divisions(self) -> tuple[tuple[AttentionPart, ...], ...]:
        """Ways to divide heads and queries into parts that look at their keys with a plan each."""
        if self.runs is None:
            return ((AttentionPart(None, Prefix(self.queries, self.keys, self.visible)),),)
        gap = self.scope.machine.matrix.columns // 2
        grain = max(self.graphs.weight_form.grain, self.scope.form(self.op.v).grain)
        each = [(None if len(self.runs) == 1 else head, runs) for head, runs in enumerate(self.runs)]

        def parts(cut: Callable[[KeyRuns], list[int]]) -> tuple[AttentionPart, ...]:
            return tuple(
                AttentionPart(head, Shown(runs, first, last, gap, grain))
                for head, runs in each
                for first, last in pairwise(cut(runs))
            )

        return tuple(dict.fromkeys((parts(lambda runs: [0, runs.queries]), parts(zones))))

    def _operand(self, value: SSAValue, view: View, right: bool) -> ProductOperand:
        form = self.scope.form(value)
        return ProductOperand.of(self.scope, (view,), (form,), None, form, right, packable=False)

    def _factors(self) -> Factors:
        op, split = self.op, self.split
        batch, heads, groups, queries, keys, _, width = op.extents

        def spread(
            value: SSAValue | None, shape: tuple[int, ...], of_heads: bool, turned: bool = False
        ) -> Spread | float | None:
            if value is None:
                return None
            number = self.scope.scalar(value)
            if number is not None and self.scope.form(value).kind == "float":
                return float(number)
            view = self.scope.view(value)
            if turned:
                view = view.broadcast((batch, groups, keys, 1)).transpose((0, 1, 3, 2))
            view = view.broadcast(shape)
            return Spread.of(split.of_heads(view) if of_heads else split.of_groups(view), self.scope.form(value))

        def thresholds() -> Iterator[Spread | float]:
            value = op.p_thresholds
            for level in range(op.p_levels.value.data if value is not None else 0):
                assert value is not None
                view = self.scope.view(value).last(level)
                number = self.scope.number(view, Format.F32)
                spread = Spread.of(split.of_heads(view.broadcast(scores)), Format.F32)
                yield spread if number is None else float(number)

        scores = (batch, heads, queries, keys)
        mask: Spread | None = None
        if op.mask is not None:
            view = split.of_heads(self.scope.view(op.mask).broadcast(scores))
            mask = Spread.of(view, self.scope.form(op.mask))
        key_index = last_key = None
        absorbed = self.runs is not None and math.isinf(op.fill.value.data)
        if op.causal is not None and op.causal_offset.value.data < keys - 1 and not absorbed:
            offset = op.causal_offset.value.data
            key_index = self._line(np.arange(keys, dtype=np.int32), column=True)
            last_key = self._line(np.arange(queries, dtype=np.int32) + np.int32(offset), column=False)
        return Factors(
            spread(op.q_scale, scores, of_heads=True),
            spread(op.k_scale, (batch, groups, queries, keys), of_heads=False, turned=True),
            mask,
            spread(op.p_scale, scores, of_heads=True),
            tuple(thresholds()),
            spread(op.v_scale, (batch, groups, queries, width), of_heads=False),
            spread(op.v_offset, (batch, groups, queries, width), of_heads=False),
            spread(op.q_offset, scores, of_heads=True),
            spread(op.k_offset, (batch, groups, queries, keys), of_heads=False, turned=True),
            key_index,
            last_key,
        )

    def _line(self, values: np.ndarray[tuple[int], np.dtype[np.int32]], column: bool) -> Spread:
        """A small constant that varies with keys (`column`) or queries."""
        store = self.scope.store
        constant = nn.ConstantOp(RefAttr(store.anonymous(values)), tensor(element_of(Format.I32), len(values)))
        step = 0 if len(values) == 1 else 1
        return Spread(constant.result, Format.I32, 0, (0, 0, 0), 0 if column else step, step if column else 0)

    @property
    def visible(self) -> int | None:
        """How many keys query 0 sees at most, where keys can be left out: hidden scores are -inf, so that their
        weights are exactly zero, and zeros of a zero point of 0."""
        op = self.op
        if op.causal is None or not math.isinf(op.fill.value.data) or op.p_zero_point.value.data:
            return None
        if self.runs is not None:
            return None
        return op.causal_offset.value.data + 1

    @property
    def key_block(self) -> int:
        """Pieces of how many keys make the weights; 0 where a whole row of scores does."""
        block = self.op.key_block.value.data
        return block if block < self.keys else 0

    @property
    def forms(self) -> tuple[ScoreForm, ...]:
        """The forms that there are. Weights are made by the greatest score so far where they are not rounded to levels
        of the whole row's greatest, or of its sum; importance is summed of whole rows."""
        if self.graphs.by_score:
            return ScoreForm.WHOLE, ScoreForm.SWEEPS
        if self.importance is not None:
            return ScoreForm.WHOLE, ScoreForm.ROWS
        if self.key_block:
            return (ScoreForm.MERGED,)
        last = ScoreForm.SWEEPS if self.graphs.weight_form.kind != "float" else ScoreForm.MERGED
        return ScoreForm.WHOLE, ScoreForm.ROWS, last

    def score_leaves(self, graphs: Sequence[Graph]) -> TileLeaves:
        """The stored leaves of graphs over scores."""
        stored = dict.fromkeys(spread for graph in graphs for spread in graph.stored)
        return TileLeaves(self.scope, tuple(stored), self.queries, self.keys)

    def packing(self, graph: Graph) -> Packing:
        """The passes of a graph over scores."""
        given = iter(graph.given)
        extents = tuple(next(given) if spread is None else spread.extent for spread in graph.spreads)
        return pack(graph.graph, extents, graph.accs)

    def form_graphs(self, form: ScoreForm, hiding: bool = False) -> tuple[Graph, ...]:
        """The graphs over scores that a form runs, in order; `hiding` what a mask tile does not show."""
        graphs = self.hiding_graphs if hiding else self.graphs
        if graphs.by_score:
            return (graphs.levels(),)
        match form:
            case ScoreForm.WHOLE:
                return (graphs.whole(),)
            case ScoreForm.ROWS | ScoreForm.MERGED:
                return (graphs.scores(), graphs.weights())
            case ScoreForm.SWEEPS:
                middle = (graphs.total(),) if graphs.fixed else ()
                first = () if graphs.bounded else (graphs.maximum(),)
                return (*first, *middle, graphs.pieces())

    def heir(self, graph: Graph, source: str) -> int | None:
        """Which of what the passes of a graph write may lie where a source of four bytes an element does, which nothing
        reads after them."""
        if source not in graph.sources:
            return None
        packing, place = self.packing(graph), graph.sources.index(source)
        for index, temporary in enumerate(packing.temporaries):
            whole = temporary.extent is Extent.FULL and temporary.form is Format.F32
            if whole and reads_before_writing(packing, place, index):
                return index
        return None

    def heir_in_acc(self, graph: Graph) -> int | None:
        """Which of what the passes of a graph keep lies in ACC, over what they are made of there."""
        heir = self.heir(graph, "acc")
        return None if heir in self.packing(graph).outputs else heir

    def _passes(self, graph: Graph) -> Passes:
        """What lies over accumulators is counted too: that room is left for the loads of later kernels to come early,
        and not for one more resident."""
        packing = self.packing(graph)
        kept = [t for index, t in enumerate(packing.temporaries) if index not in packing.outputs]
        return Passes(max(1, packing.full_passes), sum(t.form.width for t in kept if t.extent is Extent.FULL))

    @property
    def _epilogue(self) -> TileEpilogue:
        """The leaves and the store are the same however the output was summed up."""
        return self._summed.epilogue

    @cached_property
    def _leaves(self) -> TileLeaves:
        """The stored leaves of the scores: the same stand in the graphs of every form."""
        return self.score_leaves(self.form_graphs(ScoreForm.WHOLE))

    @cached_property
    def _form_passes(self) -> Mapping[ScoreForm, tuple[Passes, ...]]:
        """The passes over scores that each form takes, a part for each of its graphs; none where it is not there."""
        forms, hiding = self.forms, self.runs is not None
        return {
            form: tuple(self._passes(graph) for graph in self.form_graphs(form, hiding)) if form in forms else ()
            for form in ScoreForm
        }

    @property
    def whole_bytes(self) -> int:
        """SRAM for small values that are loaded once."""
        summed = 0 if self.importance is None else self.importance.bytes
        return self._leaves.whole_bytes + self._epilogue.leaves.whole_bytes + summed

    @property
    def problem(self) -> AttentionProblem:
        """What the search is asked, with the operands that are resident now."""
        forms = self._form_passes
        pieces, rows = forms[ScoreForm.ROWS] or (Passes(0, 0), Passes(0, 0))
        more = self.importance is not None
        rows = Passes(rows.count + more, rows.kept)
        costs = self._epilogue.costs

        def matrix(operand: ProductOperand, along_tokens: bool = False) -> Matrix:
            return Matrix(operand.form, operand.describe(packed=False).pitch, operand.ready, along_tokens)

        return AttentionProblem(
            *self.outer,
            self.queries,
            self.keys,
            self.key_width,
            self.value_width,
            self.scoring,
            self.valuing,
            matrix(self.query),
            matrix(self.key),
            matrix(self.value, self.op.has_packed_values),
            self.graphs.weight_form,
            tuple(
                pieces if form is ScoreForm.ROWS else Passes.joined((*parts, Passes(int(more), 0)))
                for form, parts in forms.items()
            ),
            rows,
            Passes(costs.passes, costs.kept),
            self._leaves.with_each(Extent.FULL),
            costs.loaded,
            costs.stored,
            self.visible,
            self.key_block,
            self.forms,
            len(forms[ScoreForm.SWEEPS]),
            self.staggered,
        )

    @property
    def shape(self) -> Hashable:
        matrices = (leaf for operand in (self.query, self.key, self.value) for leaf in operand.leaves)
        finish = self._epilogue
        leaves = (*self._leaves.leaves, *finish.leaves.leaves, finish.output)
        places = tuple((self.place_of(leaf.root), leaf.form, leaf.strides) for leaf in (*matrices, *leaves))
        return AttentionLowering, self.problem, self.divisions, self.whole_bytes, places

    def plan(self, budget: Budget) -> AttentionTiling:
        if 0 in (*self.outer, self.queries, self.value_width):
            return AttentionTiling(0, 0, 0, {}, parts=())
        whole = self.whole_bytes
        room = Budget(budget.sram - whole, budget.acc)
        ways = [[(part, self._decide(part, room)) for part in parts] for parts in self.divisions]
        decided = min(ways, key=lambda way: sum(found.chosen.cycles + found.chosen.burden for _, found in way))
        details: dict[str, int | float | str] = {}
        for number, (_, decision) in enumerate(decided):
            details |= _told(decision, f"{number}." if len(decided) > 1 else "")
        plans = [(part, decision.chosen) for part, decision in decided]
        chosen = [plan for _, plan in plans]
        return AttentionTiling(
            max(plan.sram for plan in chosen) + whole,
            max(plan.acc for plan in chosen),
            sum(plan.cycles for plan in chosen),
            details,
            burden=sum(plan.burden for plan in chosen),
            parts=tuple(plans),
        )

    def _decide(self, part: AttentionPart, room: Budget) -> AttentionDecision:
        if isinstance(part.sight, Shown):
            heads = self.outer[0] if part.head is not None else math.prod(self.outer)
            return search_shown(self.problem, part.sight, heads, self.rates, room.sram, room.acc)
        return search_attention(self.problem, self.rates, room.sram, room.acc)

    def accepts_resident(self, value: SSAValue) -> bool:
        root = self.scope.view(value).root
        if value is self.op.importance:
            return True
        if value in self.kernel.results:
            return self._epilogue.output_usable
        leaves = (*self._leaves.leaves, *self._epilogue.leaves.leaves)
        if not all(leaf.usable_in_place for leaf in leaves if leaf.root is root):
            return False
        operands = (self.query, self.key, self.value)
        return all(operand.readable(operand.main) for operand in operands if operand.main.root is root)

    def may_overwrite(self, operand: SSAValue, result: SSAValue) -> bool:
        """The output may lie where the queries do: rows of a head are stored once all is computed from them."""
        if result is self.op.importance:
            return False
        root, output = self.scope.view(operand).root, self._epilogue.output
        others = (*self.key.leaves, *self.value.leaves)
        others += (*self._leaves.leaves, *self._epilogue.leaves.leaves)
        if any(leaf.root is root for leaf in others) or self.query.main.root is not root:
            return False
        return self.query.main == replace(output, root=root)

    def emit(self, plan: Plan, builder: TileBuilder) -> None:
        if 0 in (*self.outer, self.queries, self.value_width):
            return
        with self.summed(builder) as importance:
            for part, tiling in cast(AttentionTiling, plan).parts:
                if tiling.form is ScoreForm.MERGED:
                    MergedEmission(self, part, tiling, builder).run()
                else:
                    AttentionEmission(self, part, tiling, builder, importance).run()

    @contextmanager
    def summed(self, builder: TileBuilder) -> Generator[Held | None]:
        """Where the importance of keys is summed up while the body runs, if it is asked for."""
        if self.importance is None:
            yield None
            return
        held = self.importance.begin(builder)
        yield held
        self.importance.end(builder, held)


def _told(decision: AttentionDecision, prefix: str) -> dict[str, int | float | str]:
    """What the plan dictionary says of a decision."""
    chosen = decision.chosen
    told: dict[str, int | float | str] = {
        "form": chosen.form.label,
        "rows": chosen.rows,
        "blocks": chosen.blocks,
        "keys": chosen.keys,
        "keys_held": int(chosen.held),
        "array_cycles": chosen.array,
        "dram_cycles": chosen.channel,
        "vector_cycles": chosen.vector,
        "idle_cycles": chosen.idle,
        "candidates": decision.candidates,
        "runner_up": decision.runner_up.text if decision.runner_up else "none",
    }
    return {f"{prefix}{key}": value for key, value in told.items()}
