"""The loops of one matrix product, in each of the orders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from xdsl.dialects.builtin import StringAttr, UnrealizedConversionCastOp

from ...dialects.affine_form import AffineForm, Minimum
from ...dialects.elements import element_of, tensor
from ...dialects.tile import Place
from ...isa.formats import Format
from ...isa.lanes import LaneProgram
from .build import Span, TileBuilder
from .lane_graph import Extent
from .lane_passes import Held
from .matmul_search import UNROLLED, MatmulPlan, Order, holds_panel
from .product_operand import PackedOperand, ProductOperand
from .tile_epilogue import EpilogueRun, strips_of
from .tiles import Spread, hold, load, tile_place

if TYPE_CHECKING:
    from .matmul import MatmulLowering

FIRST_SUMS = LaneProgram.parse("out a")
MORE_SUMS = LaneProgram.parse("r0 = add(a, b); out r0")


@dataclass(frozen=True)
class _Chunk:
    """A piece of K: its number among those summed in ACC (a constant, or the index of the loop over K), its span."""

    number: AffineForm
    span: Span


@dataclass(frozen=True)
class _Depth:
    """The pieces of K that a tile sums up at once; `earlier` and `later` where other pieces went and will go before
    the tile is finished."""

    chunks: tuple[_Chunk, ...] | None
    earlier: bool = False
    later: bool = False


class MatmulEmission:
    """Writes the tile operations of one matrix product."""

    def __init__(self, lowering: MatmulLowering, tiling: MatmulPlan, builder: TileBuilder) -> None:
        self.kernel = lowering
        self.tiling = tiling
        self.builder = builder
        split = tiling.order is Order.SPLIT and tiling.panel < lowering.depth
        self.epilogue = EpilogueRun(lowering.resumed_epilogue if split else lowering.epilogue, builder)
        self.indices: tuple[AffineForm, ...] = ()
        self.packed: PackedOperand | None = None
        if lowering.packed and lowering.depth:
            columns = min(tiling.n, lowering.columns)
            view = lowering.right_view
            self.packed = PackedOperand.make(lowering.right, lowering.outer, view, columns, builder.block)
        unrolled = 0 < lowering.depth <= UNROLLED * tiling.k
        self._whole = _Depth(self._chunks(0, lowering.depth) if unrolled else None)

    def run(self) -> None:
        """All loops."""
        orders = {
            Order.LEFT: self._left,
            Order.RIGHT: self._right,
            Order.OUTPUT: self._output,
            Order.SPLIT: self._split,
        }
        with ExitStack() as stack:
            self.epilogue.preload(())
            for extent in self.kernel.outer:
                self.indices = (*self.indices, stack.enter_context(self.builder.loop(extent)))
                self.epilogue.preload(self.indices)
            orders[self.tiling.order]()

    def _chunks(self, start: int, end: int) -> tuple[_Chunk, ...]:
        size = self.tiling.k
        return tuple(
            _Chunk(AffineForm.of(number), Span.of(low, min(size, end - low)))
            for number, low in enumerate(range(start, end, size))
        )

    def _left(self) -> None:
        tiling, kernel = self.tiling, self.kernel
        with self.builder.tiles(kernel.rows, tiling.panel) as panel:
            left = self._panel(kernel.left, panel, self._whole, right=False)
            with self.builder.tiles(kernel.columns, tiling.n) as columns:
                several = bool(holds_panel(tiling.order, tiling.panel, tiling.m, Order.RIGHT, Order.LEFT))
                right = self._panel(kernel.right, columns, self._whole, right=True) if several else None
                for rows in self._tiles(panel, tiling.m, kernel.rows):
                    self._tile(rows, columns, left, right, self._whole)

    def _right(self) -> None:
        tiling, kernel = self.tiling, self.kernel
        with self.builder.tiles(kernel.columns, tiling.panel) as panel:
            right = self._panel(kernel.right, panel, self._whole, right=True)
            with self.builder.tiles(kernel.rows, tiling.m) as rows:
                several = bool(holds_panel(tiling.order, tiling.panel, tiling.n, Order.LEFT, Order.RIGHT))
                left = self._panel(kernel.left, rows, self._whole, right=False) if several else None
                for columns in self._tiles(panel, tiling.n, kernel.columns):
                    self._tile(rows, columns, left, right, self._whole)

    def _output(self) -> None:
        tiles, kernel, tiling = self.builder.tiles, self.kernel, self.tiling
        with tiles(kernel.rows, tiling.m) as rows, tiles(kernel.columns, tiling.n) as columns:
            self._tile(rows, columns, None, None, self._whole)

    def _split(self) -> None:
        """All rows by a panel of K stay while the weights of the panel pass by; sums rest in DRAM between panels."""
        tiling, kernel = self.tiling, self.kernel
        partial = self._partial()
        rows = Span.of(0, kernel.rows)
        for start in range(0, kernel.depth, tiling.panel):
            end = min(start + tiling.panel, kernel.depth)
            depth = _Depth(self._chunks(start, end), start > 0, end < kernel.depth)
            left = self._panel(kernel.left, rows, depth, right=False)
            with self.builder.tiles(kernel.columns, tiling.n) as columns:
                right = self._panel(kernel.right, columns, depth, right=True) if tiling.m < kernel.rows else None
                for tile in self._tiles(rows, tiling.m, kernel.rows):
                    self._tile(tile, columns, left, right, depth, partial)

    def _partial(self) -> Spread:
        """Where unfinished sums rest: a temporary tensor of the accumulator's format, one for all outer indices."""
        kernel = self.kernel
        form = kernel.mode.accumulator
        kind = tensor(element_of(form), kernel.rows, kernel.columns)
        op = UnrealizedConversionCastOp(operands=[[]], result_types=[[kind]])
        op.attributes["path"] = StringAttr(f"{kernel.kernel.path or 'product'}.sums")
        return Spread(op.results[0], form, 0, (), kernel.columns, 1)

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

    def _each_chunk(self, depth: _Depth) -> Iterator[_Chunk]:
        """The pieces of K: written out, or the one body of a loop."""
        if depth.chunks is not None:
            yield from depth.chunks
            return
        with self.builder.tiles(self.kernel.depth, self.tiling.k) as span:
            yield _Chunk(AffineForm.index(self.builder.depth - 1), span)

    def _panel(self, operand: ProductOperand, span: Span, depth: _Depth, right: bool) -> _Panel:
        """An operand's rows (left) or columns (right) over several pieces of K on chip: a buffer a piece."""
        blocked = self.packed is not None and right and operand.packing is None
        block = self.packed.packing.columns if blocked and self.packed is not None else 0
        held: list[Held] = []
        if not operand.ready:
            assert depth.chunks is not None
            held = [self._fetch(operand, span, chunk.span, right) for chunk in depth.chunks]
        return _Panel(span.start, tuple(held), block, by_rows=not right or operand.turned)

    def _fetch(self, operand: ProductOperand, extent: Span, chunk: Span, right: bool) -> Held:
        """A tile of an operand brought on chip: `extent` of its rows (left) or columns (right) by a piece of K."""
        rows, columns = (extent, chunk) if not right or operand.turned else (chunk, extent)
        return operand.fetch(self.builder, self.indices, rows, columns, self.packed if right else None)

    def _operand(self, operand: ProductOperand, panel: _Panel | None, extent: Span, chunk: _Chunk, right: bool) -> Held:
        if operand.ready:
            rows, columns = (extent, chunk.span) if not right or operand.turned else (chunk.span, extent)
            return operand.place(self.indices, rows, columns)
        if panel is None:
            return self._fetch(operand, extent, chunk.span, right)
        return panel.tile(extent, chunk)

    def _tile(
        self,
        rows: Span,
        columns: Span,
        left: _Panel | None,
        right: _Panel | None,
        depth: _Depth,
        partial: Spread | None = None,
    ) -> None:
        """One tile of the accumulator: its products, then the epilogue, or a rest in DRAM until it is finished."""
        acc = self._accumulate(rows, columns, left, right, depth)
        for strip, given in strips_of(self.builder, rows, self.tiling.strip, {0: acc}):
            if depth.earlier and partial is not None:
                given[1] = self._resting(partial, strip, columns)
            if not depth.later or partial is None:
                self.epilogue.tile(self.indices, strip, columns, given)
                continue
            program = MORE_SUMS if depth.earlier else FIRST_SUMS
            kept = hold(self.builder, Extent.FULL, strip.limit, columns.limit, partial.form)
            places = [held.full(strip.size, columns.size) for held in (*given.values(), kept)]
            self.builder.lane_pass(program, strip.size, columns.size, places[:-1], out=places[-1])
            self.builder.copy(places[-1], self._rest(partial, strip, columns))

    def _rest(self, partial: Spread, rows: Span, columns: Span) -> Place:
        buffer = self.kernel.scope.buffers[partial.root]
        return tile_place(buffer, partial, partial.start((), rows.start, columns.start), rows.size, columns.size)

    def _resting(self, partial: Spread, rows: Span, columns: Span) -> Held:
        """The unfinished sums of a tile, loaded."""
        target = hold(self.builder, Extent.FULL, rows.limit, columns.limit, partial.form)
        load(self.builder, self._rest(partial, rows, columns), target, Extent.FULL, rows.size, columns.size)
        return target

    def _accumulate(self, rows: Span, columns: Span, left: _Panel | None, right: _Panel | None, depth: _Depth) -> Held:
        kernel, builder = self.kernel, self.builder
        form = kernel.mode.accumulator
        acc = Held(builder.alloc("acc", (rows.limit, columns.limit), form), AffineForm(), columns.limit)
        place = acc.full(rows.size, columns.size)
        if kernel.depth == 0:
            nothing = LaneProgram.parse("out 0.0" if form is Format.F32 else "out 0")
            builder.lane_pass(nothing, rows.size, columns.size, out=place)
            return acc
        turned = kernel.right.turned
        for chunk in self._each_chunk(depth):
            a = self._operand(kernel.left, left, rows, chunk, False)
            b = self._operand(kernel.right, right, columns, chunk, True)
            sizes = (columns.size, chunk.span.size) if turned else (chunk.span.size, columns.size)
            a_place = a.full(rows.size, chunk.span.size)
            builder.product(a_place, b.full(*sizes), place, kernel.mode.label, turned, chunk.number)
        return acc


@dataclass(frozen=True)
class _Panel:
    """An operand on chip over several pieces of K: `held`, a buffer each (none where it lies there anyway).

    It begins at `start` of the operand's rows (`by_rows`) or columns; a packed weight lies in blocks of `block`
    columns (0: it does not).
    """

    start: AffineForm
    held: Sequence[Held]
    block: int
    by_rows: bool

    def tile(self, extent: Span, chunk: _Chunk) -> Held:
        """The part of the panel at `extent` for a piece of K."""
        held = self.held[chunk.number.constant]
        moved = extent.start - self.start
        if self.by_rows:
            return replace(held, offset=held.offset + moved * held.pitch)
        if not self.block:
            return replace(held, offset=held.offset + moved)
        return replace(held, offset=held.offset + _scaled(moved, self.block, chunk.span.limit * self.block))


def _scaled(form: AffineForm, unit: int, step: int) -> AffineForm:
    """`form`, in multiples of `unit`, as multiples of `step`."""
    factors = (*form.coefficients, form.constant)
    assert all(factor % unit == 0 for factor in factors)
    return AffineForm(tuple(factor // unit * step for factor in form.coefficients), form.constant // unit * step)
