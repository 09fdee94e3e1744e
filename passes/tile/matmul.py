"""The matrix product kernel: panels and tiles in the order that the search chose, with what is fused around them.

A tile of the accumulator is finished by the vector passes of the epilogue while the array works on the next one.
Operands come as packed constants, strided blocks, or lie on chip already; elementwise producers of an operand run on
its tiles on chip (weight-only quantization: weights stay 8-bit in DRAM).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import cast

from xdsl.ir import Operation, SSAValue

from ...dialects import nn
from ...dialects.affine_form import AffineForm, Minimum
from ...dialects.elements import shape_of
from ...dialects.shapes import broadcast
from ...isa.errors import Blocking, UnsupportedError
from ...isa.formats import Format
from ...isa.lanes import LaneProgram
from ...isa.matrix import MatrixMode
from .build import Span, TileBuilder
from .cluster import Cluster, make_cluster
from .kernel import Budget, Kernel, Lowering, Plan, Scope
from .lane_passes import Held
from .product_operand import PackedOperand, ProductOperand, compose
from .rates import Rates
from .search import UNROLLED, Decision, MatmulPlan, MatmulProblem, Order, holds_panel, search
from .tile_epilogue import EpilogueRun, TileEpilogue
from .tile_leaves import TileLeaves
from .tiles import Spread
from .view import View

MODES = {Format.F32: MatrixMode.F32, Format.F16: MatrixMode.F16, Format.BF16: MatrixMode.BF16, Format.I8: MatrixMode.I8}
"""The array's arithmetic by the format of the operands."""


@dataclass(frozen=True)
class MatmulTiling(Plan):
    """A plan with the tiling that it stands for."""

    decision: Decision = field(kw_only=True)

    @property
    def tiling(self) -> MatmulPlan:
        """The chosen tiling."""
        return self.decision.chosen


@dataclass(frozen=True, eq=False)
class _Side:
    """An operand before it is known which axes are loops: leaves as views of [outer..., rows, columns]."""

    views: tuple[View, ...]
    forms: tuple[Format, ...]
    cluster: Cluster | None


class MatmulLowering(Lowering):
    """Lowers an `nn.matmul` with the elementwise operations around it."""

    def __init__(self, kernel: Kernel, scope: Scope) -> None:
        super().__init__(kernel, scope)
        anchor = kernel.anchor
        assert isinstance(anchor, nn.MatmulOp)
        form = scope.form(anchor.lhs)
        self.mode = MODES[form]
        self._check_mode()
        shape = shape_of(anchor.result)
        before_left, before_right = _feeding(kernel, anchor.lhs), _feeding(kernel, anchor.rhs)
        feeding = {*before_left, *before_right}
        after = [op for op in kernel.operations if op is not anchor and op not in feeding]
        cluster = make_cluster(after, kernel.results, scope, {anchor.result: self.mode.accumulator})
        outer, (rows, columns) = shape[:-2], shape[-2:]
        self.depth = shape_of(anchor.lhs)[-1]
        left = self._side(anchor.lhs, before_left, (*outer, rows, self.depth), False)
        right = self._side(anchor.rhs, before_right, (*outer, self.depth, columns), anchor.transpose_rhs is not None)
        views = [None if leaf.view is None else leaf.view for leaf in cluster.leaves]
        folded = _Folded(outer, rows, left, right, views, cluster.outputs[0].view.broadcast(shape))
        self.outer = folded.outer
        self.rows, self.columns = folded.rows, columns
        self.left = ProductOperand.of(scope, folded.left.views, left.forms, left.cluster, form, right=False)
        self.right = ProductOperand.of(scope, folded.right.views, right.forms, right.cluster, form, right=True)
        self.right_view = folded.right.views[self.right.leaves.index(self.right.main)]
        self.packed = PackedOperand.possible(self.right, self.right_view)
        spreads = tuple(
            None if view is None else Spread.of(view, leaf.form)
            for view, leaf in zip(folded.epilogue, cluster.leaves, strict=True)
        )
        output = Spread.of(folded.output, cluster.outputs[0].form)
        leaves = TileLeaves(scope, tuple(leaf for leaf in spreads if leaf is not None), self.rows, self.columns)
        self.epilogue = TileEpilogue(cluster.graph, spreads, leaves, output)
        self.rates = Rates(scope.machine)

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
            self.right.describe(packed=self.packed),
            self.epilogue.costs,
        )

    def plan(self, budget: Budget) -> MatmulTiling:
        if 0 in (*self.outer, self.rows, self.columns, self.depth):
            nothing = MatmulPlan(Order.OUTPUT, self.rows, self.rows, self.columns, self.depth, 0, 0, 0, 0, 0, 0, False)
            return MatmulTiling(0, 0, 0, {}, decision=Decision(nothing, None, 0))
        whole = self.epilogue.leaves.whole_bytes
        decision = search(self.problem, self.rates, budget.sram - whole, budget.acc)
        chosen = decision.chosen
        details: dict[str, int | float | str] = {
            "order": chosen.order.label,
            "panel": chosen.panel,
            "tile_m": chosen.m,
            "tile_n": chosen.n,
            "tile_k": chosen.k,
            "cycles": chosen.cycles,
            "array_cycles": chosen.array,
            "dram_cycles": chosen.channel,
            "vector_cycles": chosen.vector,
            "candidates": decision.candidates,
            "runner_up": decision.runner_up.text if decision.runner_up else "none",
        }
        return MatmulTiling(chosen.sram + whole, chosen.acc, chosen.cycles, details, decision=decision)

    def accepts_resident(self, value: SSAValue) -> bool:
        root = self.scope.view(value).root
        if value in self.kernel.results:
            return self.epilogue.output_usable
        spreads = [leaf for leaf in self.epilogue.leaves.leaves if leaf.root is root]
        if not all(leaf.usable_in_place for leaf in spreads):
            return False
        return all(side.readable(leaf) for side in (self.left, self.right) for leaf in side.leaves if leaf.root is root)

    def emit(self, plan: Plan, builder: TileBuilder) -> None:
        if 0 in (*self.outer, self.rows, self.columns):
            return
        _Emission(self, cast(MatmulTiling, plan).tiling, builder).run()


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
        output: View,
    ) -> None:
        self.outer = tuple(outer)
        self.rows = rows
        self.left, self.right = left, right
        self.epilogue = tuple(epilogue)
        self.output = output
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
        self.output = without(self.output)

    def _folds(self) -> bool:
        if any(view.strides[-3] for view in self.right.views):
            return False
        walked = (*self.left.views, *(view for view in self.epilogue if view is not None), self.output)
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
        self.output = as_rows(self.output)
        self.outer, self.rows = self.outer[:-1], self.rows * count


@dataclass(frozen=True)
class _Chunk:
    """A piece of K: its number (an integer, or the index of the loop over K) and its span."""

    number: AffineForm
    span: Span


class _Emission:
    """Writes the loops of one matrix product."""

    def __init__(self, lowering: MatmulLowering, tiling: MatmulPlan, builder: TileBuilder) -> None:
        self.kernel = lowering
        self.tiling = tiling
        self.builder = builder
        self.epilogue = EpilogueRun(lowering.epilogue, builder)
        self.indices: tuple[AffineForm, ...] = ()
        self.unrolled = -(-lowering.depth // max(1, tiling.k)) <= UNROLLED
        self.packed: PackedOperand | None = None
        if lowering.packed and lowering.depth:
            self.packed = PackedOperand.make(
                lowering.right, lowering.outer, lowering.right_view, min(tiling.n, lowering.columns), builder.block
            )

    def run(self) -> None:
        """All loops."""
        with ExitStack() as stack:
            self.epilogue.preload(())
            for extent in self.kernel.outer:
                self.indices = (*self.indices, stack.enter_context(self.builder.loop(extent)))
                self.epilogue.preload(self.indices)
            {Order.LEFT: self._left, Order.RIGHT: self._right, Order.OUTPUT: self._output}[self.tiling.order]()

    def _left(self) -> None:
        tiling, kernel = self.tiling, self.kernel
        with self.builder.tiles(kernel.rows, tiling.panel) as panel:
            left = _Panel(self, kernel.left, panel, right=False)
            with self.builder.tiles(kernel.columns, tiling.n) as columns:
                several = bool(holds_panel(tiling.order, tiling.panel, tiling.m, Order.RIGHT, Order.LEFT))
                right = _Panel(self, kernel.right, columns, right=True) if several else None
                for rows in self._tiles(panel, tiling.m, kernel.rows):
                    self._tile(rows, columns, left, right)

    def _right(self) -> None:
        tiling, kernel = self.tiling, self.kernel
        with self.builder.tiles(kernel.columns, tiling.panel) as panel:
            right = _Panel(self, kernel.right, panel, right=True)
            with self.builder.tiles(kernel.rows, tiling.m) as rows:
                several = bool(holds_panel(tiling.order, tiling.panel, tiling.n, Order.LEFT, Order.RIGHT))
                left = _Panel(self, kernel.left, rows, right=False) if several else None
                for columns in self._tiles(panel, tiling.n, kernel.columns):
                    self._tile(rows, columns, left, right)

    def _output(self) -> None:
        with self.builder.tiles(self.kernel.rows, self.tiling.m) as rows:
            with self.builder.tiles(self.kernel.columns, self.tiling.n) as columns:
                self._tile(rows, columns, None, None)

    def _tiles(self, panel: Span, size: int, extent: int) -> Iterator[Span]:
        """Tiles of `size` of a panel; the last may be cut short by the end of the axis."""
        count = -(-panel.limit // size)
        if count == 1:
            yield panel
            return
        with self.builder.loop(count) as index:
            start = panel.start + index * size
            whole = extent % size == 0 and extent % panel.limit == 0
            forms = (AffineForm.of(size),) if whole else (AffineForm.of(size), AffineForm.of(extent) - start)
            yield Span(start, Minimum(forms))

    def chunks(self) -> Iterator[_Chunk]:
        """The pieces of K: written out, or the one body of a loop."""
        depth, size = self.kernel.depth, self.tiling.k
        if self.unrolled:
            for number, start in enumerate(range(0, depth, size)):
                yield _Chunk(AffineForm.of(number), Span.of(start, min(size, depth - start)))
            return
        with self.builder.tiles(depth, size) as span:
            yield _Chunk(AffineForm.index(self.builder.depth - 1), span)

    def fetch(self, operand: ProductOperand, extent: Span, chunk: Span, right: bool) -> Held:
        """A tile of an operand brought on chip: `extent` of its rows (left) or columns (right) by a piece of K."""
        by_rows = not right or operand.turned
        rows, columns = (extent, chunk) if by_rows else (chunk, extent)
        return operand.fetch(self.builder, self.indices, rows, columns, self.packed if right else None)

    def place(self, operand: ProductOperand, extent: Span, chunk: Span, right: bool) -> Held:
        """A tile of an operand that lies on chip."""
        by_rows = not right or operand.turned
        return operand.place(self.indices, *((extent, chunk) if by_rows else (chunk, extent)))

    def _tile(self, rows: Span, columns: Span, left: _Panel | None, right: _Panel | None) -> None:
        kernel, builder = self.kernel, self.builder
        acc = Held(
            builder.alloc("acc", (rows.limit, columns.limit), kernel.mode.accumulator), AffineForm(), columns.limit
        )
        place = acc.full(rows.size, columns.size)
        if kernel.depth == 0:
            zero = "0.0" if kernel.mode.accumulator is Format.F32 else "0"
            builder.lane_pass(LaneProgram.parse(f"out {zero}"), rows.size, columns.size, out=place)
        else:
            for chunk in self.chunks():
                a = self._operand(kernel.left, left, rows, chunk, False)
                b = self._operand(kernel.right, right, columns, chunk, True)
                width = columns.size
                turned = kernel.right.turned
                b_place = b.full(width, chunk.span.size) if turned else b.full(chunk.span.size, width)
                builder.product(
                    a.full(rows.size, chunk.span.size), b_place, place, kernel.mode.label, turned, chunk.number
                )
        self.epilogue.tile(self.indices, rows, columns, {0: acc})

    def _operand(self, operand: ProductOperand, panel: _Panel | None, extent: Span, chunk: _Chunk, right: bool) -> Held:
        if operand.ready:
            return self.place(operand, extent, chunk.span, right)
        if panel is None:
            return self.fetch(operand, extent, chunk.span, right)
        return panel.tile(extent, chunk)


class _Panel:
    """An operand's rows (left) or columns (right) over all of K on chip: a buffer a piece of K."""

    def __init__(self, emission: _Emission, operand: ProductOperand, span: Span, right: bool) -> None:
        self._span = span
        self._right = right
        self._operand = operand
        self._chunks: list[Held] = []
        blocked = emission.packed is not None and right and operand.packing is None
        self._block = emission.packed.packing.columns if blocked and emission.packed is not None else 0
        if not operand.ready:
            self._chunks = [emission.fetch(operand, span, chunk.span, right) for chunk in emission.chunks()]

    def tile(self, extent: Span, chunk: _Chunk) -> Held:
        """The part of the panel at `extent` for a piece of K."""
        held = self._chunks[chunk.number.constant]
        moved = extent.start - self._span.start
        if not self._right or self._operand.turned:
            return replace(held, offset=held.offset + moved * held.pitch)
        if not self._block:
            return replace(held, offset=held.offset + moved)
        limit = chunk.span.limit
        return replace(held, offset=held.offset + _scaled(moved, self._block, limit * self._block))


def _scaled(form: AffineForm, unit: int, step: int) -> AffineForm:
    """`form`, in multiples of `unit`, as multiples of `step`."""
    factors = (*form.coefficients, form.constant)
    assert all(factor % unit == 0 for factor in factors)
    return AffineForm(tuple(factor // unit * step for factor in form.coefficients), form.constant // unit * step)
