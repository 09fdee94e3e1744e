"""The matrix product kernel: panels and tiles in the order that the search chose, with what is fused around them.

A tile of the accumulator is finished by the vector passes of the epilogue while the array works on the next one.
Operands come as packed constants, strided blocks, or lie on chip already; elementwise producers of an operand run on
its tiles on chip (weight-only quantization: weights stay 8-bit in DRAM).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import field, replace
from functools import cached_property
from typing import cast

from xdsl.ir import Operation, SSAValue

from ...dialects import nn
from ...dialects.elements import shape_of
from ...isa.errors import Blocking, CapacityError, UnsupportedError
from ...isa.formats import Format
from ...isa.frozen import frozen
from ...isa.structures import Structure
from ..tile_rules import FREE
from .arithmetic import Arithmetic, Product
from .build import TileBuilder
from .cluster import Cluster, make_cluster
from .comparison import Comparison
from .kernel import Budget, Kernel, Lowering, Plan, Scope
from .lane_graph import Extent, LaneGraph, LaneGraphBuilder, Leaf, Reduce, rebuilt
from .loop_order import dataflow
from .matmul_emit import MatmulEmission
from .matmul_plan import Decision, MatmulPlan
from .matmul_problem import MatmulProblem, Operand, Seam
from .matmul_search import search, unsearched
from .product_operand import PackedOperand, ProductOperand, compose
from .row_statistics import Statistic
from .tile_epilogue import TileEpilogue
from .tile_leaves import TileLeaves
from .tiles import Spread
from .view import View

NO_SEAM = Seam()

WHOLE_PART = 8
"""What is loaded once for all tiles may come tile by tile instead where it takes more than this part of the room."""


@frozen
class MatmulTiling(Plan):
    """A plan with the tiling that it stands for."""

    decision: Decision = field(kw_only=True)

    @property
    def tiling(self) -> MatmulPlan:
        """The chosen tiling."""
        return self.decision.chosen

    def handing_over(self, pieces: int, columns: int) -> MatmulTiling:
        """The same, but for the last `pieces` of so many `columns` of the result, which stay on chip."""
        decision = replace(self.decision, chosen=replace(self.tiling, handed=pieces, piece=columns))
        return replace(self, decision=decision, details={**self.details, "handed_over_columns": pieces * columns})


@frozen(eq=False)
class _Side:
    """An operand before it is known which axes are loops: leaves as views of [outer..., rows, columns]."""

    views: tuple[View, ...]
    forms: tuple[Format, ...]
    cluster: Cluster | None


class MatmulLowering(Lowering):
    """Lowers an `nn.matmul` or `bnn.matmul` with the elementwise operations around it."""

    def __init__(self, kernel: Kernel, scope: Scope) -> None:
        super().__init__(kernel, scope)
        anchor = kernel.anchor
        assert isinstance(anchor, Product)
        self.arithmetic = Arithmetic.of(anchor)
        self.mode = self.arithmetic.mode
        self._check_mode()
        shape = shape_of(anchor.result)
        before_left, before_right = _feeding(kernel, anchor.lhs), _feeding(kernel, anchor.rhs)
        feeding = {*before_left, *before_right}
        after = [op for op in kernel.operations if op is not anchor and op not in feeding]
        cluster = make_cluster(after, kernel.results, scope, {anchor.result: self.mode.accumulator})
        outer, (rows, columns) = shape[:-2], shape[-2:]
        self.depth = shape_of(anchor.lhs)[-1]
        left = self._side(anchor.lhs, before_left, (*outer, rows, self.depth), False)
        right = self._side(anchor.rhs, before_right, (*outer, self.depth, columns), self.arithmetic.transposed)
        views = [None if leaf.view is None else leaf.view for leaf in cluster.leaves]
        results = [output.view.broadcast(shape if output.full else (*shape[:-1], 1)) for output in cluster.outputs]
        folded = _Folded(outer, rows, left, right, views, results)
        self.outer = folded.outer
        self.rows, self.columns = folded.rows, columns
        self.left = ProductOperand.of(
            scope, folded.left.views, left.forms, left.cluster, scope.form(anchor.lhs), right=False
        )
        self.right = ProductOperand.of(
            scope,
            folded.right.views,
            right.forms,
            right.cluster,
            scope.form(anchor.rhs),
            right=True,
            # Packed along K, a weight stands as the engine wants it: whole rows of it are one run.
            packable=not self.mode.packed,
        )
        self.right_view = folded.right.views[self.right.leaves.index(self.right.main)]
        self.packed = PackedOperand.possible(self.right, self.right_view)
        self.structure = self._structure(anchor)
        self.comparison = self._comparison(anchor)
        spreads = tuple(
            None if view is None else Spread.of(view, leaf.form)
            for view, leaf in zip(folded.epilogue, cluster.leaves, strict=True)
        )
        output, *statistics = (
            Spread.of(view, result.form) for view, result in zip(folded.results, cluster.outputs, strict=True)
        )
        leaves = TileLeaves(scope, tuple(leaf for leaf in spreads if leaf is not None), self.rows, self.columns)
        asked = [cluster.graph.nodes[output.node] for output in cluster.graph.outputs]
        kinds = [node.reduction for node in asked if isinstance(node, Reduce)]
        self.epilogue = TileEpilogue(
            cluster.graph,
            spreads,
            leaves,
            output,
            statistics=tuple(map(Statistic, kinds, statistics)),
        )
        self.rates = scope.rates

    @cached_property
    def resumed_epilogue(self) -> TileEpilogue:
        """The epilogue of a product whose sums rested in DRAM: their last part is in ACC, leaf 1 has the others."""
        epilogue = self.epilogue
        graph = _resumed(epilogue.graph, self.mode.accumulator)
        sources = (None, None, *epilogue.sources[1:])
        return replace(epilogue, graph=graph, sources=sources, given=(Extent.FULL, Extent.FULL))

    def _structure(self, anchor: Product) -> Structure | None:
        """The structure of the right operand, where it is multiplied compressed: a constant that nothing prepares."""
        text = anchor.structure if isinstance(anchor, nn.MatmulOp) else None
        if text is None or not self.packed or self.right.packing is not None:
            return None
        return Structure.parse(text.data)

    def _comparison(self, anchor: Product) -> Comparison | None:
        """What finds the values of the left operand that are skipped, where some are."""
        threshold = anchor.threshold if isinstance(anchor, nn.MatmulOp) else None
        return None if threshold is None else Comparison.of(threshold.value.data, self.mode, self.scope.machine)

    def _check_mode(self) -> None:
        if self.mode.label not in self.scope.machine.matrix.rates:
            machine = self.scope.machine.name
            reason = f"the matrix engine of machine {machine} has no {self.mode} mode"
            raise UnsupportedError((Blocking(self.kernel.path or "?", "MatMul", reason, "--precision"),))

    def _side(self, value: SSAValue, before: Sequence[Operation], shape: Sequence[int], swapped: bool) -> _Side:
        """An operand as views stretched to `shape`; `swapped` where it stands as [..., columns, rows]."""

        def seen(view: View) -> View:
            if swapped:
                view = view.transpose((*range(view.rank - 2), view.rank - 1, view.rank - 2))
            return view.broadcast(shape)

        if not before:
            return _Side((seen(self.scope.view(value)),), (self.scope.form(value),), None)
        tail = self.scope.view(value).root
        cluster = make_cluster(before, (tail,), self.scope)
        through = seen(self.scope.view(value))
        views: list[View] = []
        for leaf in cluster.leaves:
            assert leaf.view is not None
            view = compose(through, cluster.domain, leaf.view)
            if view is None:
                raise ValueError(f"{value} is no plain permutation of what its elementwise producer computes")
            views.append(view)
        return _Side(tuple(views), tuple(leaf.form for leaf in cluster.leaves), cluster)

    @property
    def problem(self) -> MatmulProblem:
        """What the search is asked, with the operands that are resident now."""
        return self._problem(self.epilogue)

    def _problem(self, epilogue: TileEpilogue) -> MatmulProblem:
        ends, structure = self.scope.ends.get(self.kernel), self.structure
        batch = 1
        for extent in self.outer:
            batch *= extent
        return MatmulProblem(
            batch,
            self.rows,
            self.columns,
            self.depth,
            self.mode.label,
            self.left.describe(packed=False),
            self.weight,
            epilogue.costs,
            NO_SEAM if ends is None else ends.seam(self.scope),
            self.scope.tile_choices.get(self.kernel, FREE),
            left_values=self.arithmetic.left,
            crowded=self.kernel.anchor in self.scope.crowded,
            grain=max(self.left.form.grain, self.right.form.grain, 1 if structure is None else structure.group),
            output_grain=max(self.epilogue.output.form.grain, 1 if structure is None else structure.index_format.grain),
            structure=structure,
            comparison=self.comparison,
        )

    @property
    def weight(self) -> Operand:
        """The right operand as the search sees it."""
        operand, structure = self.right.describe(packed=self.packed), self.structure
        if structure is None:
            return operand
        return replace(operand, bytes=structure.density * (operand.bytes + structure.index_format.width))

    @property
    def left_axes(self) -> str:
        """The axes that index the left operand."""
        return "ik" if self.left.shared else "bik"

    @property
    def right_axes(self) -> str:
        """The axes that index the right operand."""
        return "kj" if self.right.shared else "bkj"

    @property
    def spreads(self) -> tuple[Spread, ...]:
        """All that is read and written."""
        results = (self.epilogue.output, *(one.spread for one in self.epilogue.statistics))
        return (*self.left.leaves, *self.right.leaves, *self.epilogue.leaves.leaves, *results)

    @property
    def shape(self) -> Hashable:
        places = tuple((self.place_of(spread.root), spread.form, spread.strides) for spread in self.spreads)
        return MatmulLowering, self.problem, self.epilogue.leaves.whole_bytes, places

    def may_overwrite(self, operand: SSAValue, result: SSAValue) -> bool:
        root = self.scope.view(operand).root
        if any(leaf.root is root for side in (self.left, self.right) for leaf in side.leaves):
            return False
        if result is not self.kernel.results[0]:
            return False
        return self.epilogue.may_overwrite(root)

    def plan(self, budget: Budget) -> MatmulTiling:
        if 0 in (*self.outer, self.rows, self.columns, self.depth):
            nothing = MatmulPlan("bijk", self.rows, self.columns, self.depth, self.rows)
            return MatmulTiling(0, 0, 0, {}, decision=Decision(nothing, None, 0))
        problem = self.problem
        decision, whole = self._decide(problem, budget)
        chosen = decision.chosen
        details: dict[str, int | float | str] = {
            "order": problem.choice.order or chosen.order,
            "dataflow": dataflow(chosen.order),
            "tile_m": chosen.rows,
            "tile_n": chosen.columns,
            "tile_k": chosen.depth,
            "strip": chosen.strip,
            "cycles": chosen.cycles,
            "array_cycles": chosen.array,
            "dram_cycles": chosen.channel,
            "vector_cycles": chosen.vector,
            "seam_cycles": chosen.seam,
            "candidates": decision.candidates,
            "runner_up": decision.runner_up.text if decision.runner_up else "none",
        }
        if self.structure is not None:
            details["structure"] = str(self.structure)
        if self.comparison is not None:
            details["threshold"] = self.comparison.threshold
        if chosen.holds:
            details["holds"] = ", ".join(sorted(chosen.holds))
        if chosen.rest:
            details["sums_rest_in"] = chosen.rest.name
        if chosen.gathered:
            details["stored_columns"] = chosen.gathered
        if chosen.by_tile:
            details["by_tile"] = 1
        if chosen.block:
            details |= {"block": chosen.block, "lead": chosen.lead, "tail": chosen.tail}
        return MatmulTiling(
            chosen.sram + whole, chosen.acc, chosen.cycles, details, burden=chosen.burden, decision=decision
        )

    def _decide(self, problem: MatmulProblem, budget: Budget) -> tuple[Decision, int]:
        """The best tiling, and the bytes of what it loads once for all tiles."""
        decide = search if self.scope.options.tile_search else unsearched
        whole = self.epilogue.leaves.whole_bytes
        if whole * WHOLE_PART <= budget.sram:
            return decide(problem, self.rates, budget.sram - whole, budget.acc), whole
        by_tile = self.epilogue.by_tile
        whole_by_tile = by_tile.leaves.whole_bytes
        decision = decide(self._problem(by_tile), self.rates, budget.sram - whole_by_tile, budget.acc)
        try:
            known = decide(problem, self.rates, budget.sram - whole, budget.acc)
        except CapacityError:
            known = None
        # It keeps the next kernel's first loads out for as long as the kernel runs.
        burden = (whole - whole_by_tile) / self.scope.machine.dram.bytes_per_cycle
        if known is not None and known.chosen.score + burden <= decision.chosen.score:
            return known, whole
        return replace(decision, chosen=replace(decision.chosen, by_tile=True)), whole_by_tile

    def accepts_resident(self, value: SSAValue) -> bool:
        root = self.scope.view(value).root
        if value is self.kernel.results[0]:
            return self.epilogue.output_usable
        if value in self.kernel.results:
            return all(one.spread.row <= 1 for one in self.epilogue.statistics)
        spreads = [leaf for leaf in self.epilogue.leaves.leaves if leaf.root is root]
        if not all(leaf.usable_in_place for leaf in spreads):
            return False
        return all(side.readable(leaf) for side in (self.left, self.right) for leaf in side.leaves if leaf.root is root)

    def emit(self, plan: Plan, builder: TileBuilder) -> None:
        if 0 in (*self.outer, self.rows, self.columns):
            return
        MatmulEmission(self, cast(MatmulTiling, plan).tiling, builder).run()


def _resumed(graph: LaneGraph, form: Format) -> LaneGraph:
    """`graph` with its first leaf as the sum of two; the others move up by one."""

    def rewrite(builder: LaneGraphBuilder, index: int, sources: tuple[int, ...]) -> int | None:
        node = graph.nodes[index]
        if not isinstance(node, Leaf):
            return None
        if node.index:
            return builder.leaf(node.index + 1, node.form)
        return builder.apply("add", builder.leaf(0, form), builder.leaf(1, form))

    return rebuilt(graph, rewrite)


def _feeding(kernel: Kernel, value: SSAValue) -> list[Operation]:
    """The kernel's operations that compute an operand of its anchor (through views), in order."""
    found: set[Operation] = set()
    pending = [value]
    while pending:
        owner = pending.pop().owner
        if isinstance(owner, Operation) and owner not in found:
            inside = owner in kernel.operations
            if inside or isinstance(owner, nn.TransposeOp | nn.ReshapeOp | nn.BroadcastOp | nn.SliceOp):
                pending.extend(owner.operands)
            if inside:
                found.add(owner)
    return [op for op in kernel.operations if op in found]


class _Folded:
    """Outer axes without those of one element, and without those that all views but a constant right operand's walk
    as if they were rows."""

    def __init__(
        self,
        outer: Sequence[int],
        rows: int,
        left: _Side,
        right: _Side,
        epilogue: Sequence[View | None],
        results: Sequence[View],
    ) -> None:
        self.outer = tuple(outer)
        self.rows = rows
        self.left, self.right = left, right
        self.epilogue = tuple(epilogue)
        self.results = tuple(results)
        for axis in reversed(range(len(outer))):
            if outer[axis] == 1:
                self._drop(axis)
        while self.outer and self._folds():
            self._fold()

    def _drop(self, axis: int) -> None:
        self.outer = self.outer[:axis] + self.outer[axis + 1 :]

        def without(view: View) -> View:
            shape = view.shape[:axis] + view.shape[axis + 1 :]
            return View(view.root, view.offset, shape, view.strides[:axis] + view.strides[axis + 1 :])

        self.left = replace(self.left, views=tuple(map(without, self.left.views)))
        self.right = replace(self.right, views=tuple(map(without, self.right.views)))
        self.epilogue = tuple(None if view is None else without(view) for view in self.epilogue)
        self.results = tuple(map(without, self.results))

    def _folds(self) -> bool:
        if any(view.strides[-3] for view in self.right.views):
            return False
        walked = (*self.left.views, *(view for view in self.epilogue if view is not None), *self.results)
        return self.rows == 1 or all(view.strides[-3] == self.rows * view.strides[-2] for view in walked)

    def _fold(self) -> None:
        count = self.outer[-1]

        def as_rows(view: View) -> View:
            row = view.strides[-3] if self.rows == 1 else view.strides[-2]
            shape = (*view.shape[:-3], count * self.rows, view.shape[-1])
            return View(view.root, view.offset, shape, (*view.strides[:-3], row, view.strides[-1]))

        def once(view: View) -> View:
            shape = (*view.shape[:-3], *view.shape[-2:])
            return View(view.root, view.offset, shape, (*view.strides[:-3], *view.strides[-2:]))

        self.left = replace(self.left, views=tuple(map(as_rows, self.left.views)))
        self.right = replace(self.right, views=tuple(map(once, self.right.views)))
        self.epilogue = tuple(None if view is None else as_rows(view) for view in self.epilogue)
        self.results = tuple(map(as_rows, self.results))
        self.outer, self.rows = self.outer[:-1], self.rows * count
