"""Gathers (embedding rows by ids of the run), indices and running sums."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from math import prod

from xdsl.ir import SSAValue

from ...dialects import nn
from ...dialects.affine_form import Access, AffineForm, Minimum, dense_strides
from ...dialects.elements import shape_of
from ...dialects.tile import Place
from ...isa.errors import CapacityError
from ...isa.formats import Format
from ...isa.lanes import LaneProgram, Source
from .axes import Axis
from .build import Span, TileBuilder, buffer_bytes
from .kernel import Budget, Lowering, Plan
from .lane_passes import Held
from .move import PIECE_BYTES, Side, copy_view, cut_tiles, joint_axes
from .view import View


class GatherLowering(Lowering):
    """Rows of a DRAM table by ids: ids are loaded, rows gathered into a tile, the tile stored."""

    @property
    def _op(self) -> nn.GatherRowsOp:
        assert isinstance(self.kernel.anchor, nn.GatherRowsOp)
        return self.kernel.anchor

    def _piece(self, budget_bytes: int) -> tuple[int, int]:
        """(ids, columns) of a tile that fits with two instances."""
        width = shape_of(self._op.table)[1]
        each = self.scope.form(self._op.table).bytes
        room = min(budget_bytes // 2, PIECE_BYTES) - 256
        columns = max(1, min(width, room // each))
        return max(1, min(room // (columns * each + 4), 65535)), columns

    def plan(self, budget: Budget) -> Plan:
        """As many rows a tile as fit; a row that does not is gathered in pieces."""
        if budget.sram < 1024:
            raise CapacityError(f"gathering rows of {self.kernel.path or 'a table'}", 1024, budget.sram)
        ids, columns = self._piece(budget.sram)
        moved = prod(shape_of(self._op.result)) * self.scope.form(self._op.table).bytes
        moved *= 1 if self.scope.resident(self._op.result) else 2
        cycles = moved / self.scope.machine.dram.bytes_per_cycle
        return Plan(min(budget.sram, 2 * PIECE_BYTES), 0, cycles, {"ids": ids, "columns": columns})

    def emit(self, plan: Plan, builder: TileBuilder) -> None:
        """Loops over pieces of rows, then over tiles of ids."""
        op, scope = self._op, self.scope
        table = scope.view(op.table)
        result = scope.view(op.result)
        if result.elements == 0:
            return
        ids_tile, columns = self._piece(plan.sram_bytes)
        limit = op.limit.value.data
        buffer = scope.buffers[table.root]
        if table.strides[1] != 1 and table.shape[1] != 1:
            buffer, table = self._solid(table, builder, plan.sram_bytes)
        tiles = cut_tiles(self._axes, ids_tile)
        with ExitStack() as loops:
            piece = loops.enter_context(builder.tiles(table.shape[1], columns))
            indices = [loops.enter_context(builder.loop(axis.extent)) for axis in tiles.axes[: tiles.cut]]
            span = loops.enter_context(builder.tiles(tiles.axes[tiles.cut].extent, tiles.tile))
            indices.append(span.start)
            ids_view = scope.view(op.ids)
            ids = tiles.place(0, scope.buffers[ids_view.root], ids_view.offset, indices, span)
            dense = dense_strides(tiles.bounds)
            listed = builder.alloc("sram", tiles.bounds, Format.I32)
            builder.copy(ids, Place(listed, Access(AffineForm(), tiles.sizes(span), dense)))
            count = _times(span.size, tiles.elements // tiles.tile)
            source = Access.of(
                table.strides[1] * piece.start + table.offset, (table.shape[0], piece.size), (table.strides[0], 1)
            )
            listed_ids = Place(listed, Access.of(0, (count,), (1,)))
            target = tiles.place(1, scope.buffers[result.root], result.offset, indices, span).access
            start = target.offset + piece.start * result.strides[-1]
            if scope.resident(op.result):
                rows = Access(start, (count, piece.size), (tiles.axes[-1].strides[1], 1))
                builder.gather(listed_ids, Place(buffer, source), Place(scope.buffers[result.root], rows), limit)
                return
            held = builder.alloc("sram", (tiles.elements, columns), scope.form(op.table))
            block = Access.of(0, (count, piece.size), (columns, 1))
            builder.gather(listed_ids, Place(buffer, source), Place(held, block), limit)
            store = Access(start, (*target.sizes, piece.size), (*target.strides, result.strides[-1]))
            gathered = Access(AffineForm(), store.sizes, (*(step * columns for step in dense), 1))
            builder.copy(Place(held, gathered), Place(scope.buffers[result.root], store))

    @property
    def _axes(self) -> list[Axis]:
        """The axes that walk ids and rows of the result together."""
        result = self.scope.view(self._op.result)
        rows = View(result.root, result.offset, result.shape[:-1], result.strides[:-1])
        return joint_axes(self.scope.view(self._op.ids), rows)

    def accepts_resident(self, value: SSAValue) -> bool:
        """Rows go straight to where the result stays."""
        contiguous = self.scope.view(value).strides[-1:] == (1,)
        return value is self._op.result and contiguous and len(self._axes) == 1

    def _solid(self, table: View, builder: TileBuilder, most_bytes: int) -> tuple[SSAValue, View]:
        """A copy of the table with contiguous rows."""
        form = self.scope.form(self._op.table)
        buffer = builder.temporary("table", table.shape, form)
        target = View.dense(table.root, table.shape)
        copy_view(
            builder, Side(table, self.scope.buffers[table.root], False), Side(target, buffer, False), form, most_bytes
        )
        return buffer, target


def _times(size: Minimum, factor: int) -> Minimum:
    return Minimum(tuple(form * factor for form in size.forms))


class IotaLowering(Lowering):
    """Indices along an axis: a line made of column indices, stored over and over."""

    LINE = 8192

    def plan(self, budget: Budget) -> Plan:
        """One line of indices at a time."""
        need = buffer_bytes((min(self.LINE, self._extent),), Format.I32)
        if budget.sram < need:
            raise CapacityError("a line of indices", need, budget.sram)
        moved = 4 * prod(shape_of(self._op.result))
        return Plan(need, 0, moved / self.scope.machine.dram.bytes_per_cycle, {"line": min(self.LINE, self._extent)})

    @property
    def _op(self) -> nn.IotaOp:
        assert isinstance(self.kernel.anchor, nn.IotaOp)
        return self.kernel.anchor

    @property
    def _extent(self) -> int:
        return shape_of(self._op.result)[self._op.axis.value.data]

    def emit(self, plan: Plan, builder: TileBuilder) -> None:
        """For each piece of the axis: a pass that writes its indices, and the stores of it."""
        view = self.scope.view(self._op.result)
        if view.elements == 0:
            return
        along = self._op.axis.value.data
        axes = [Axis(extent, (step, 0)) for extent, step in zip(view.shape, view.strides, strict=True)]
        for start in range(0, self._extent, self.LINE):
            length = min(self.LINE, self._extent - start)
            line = builder.alloc("sram", (length,), Format.I32)
            program = "out col" if start == 0 else f"r0 = add(col, {start}); out r0"
            builder.lane_pass(LaneProgram.parse(program), 1, length, out=Held(line).line(Minimum.of(length)))
            piece = Axis(length, (view.strides[along], 1))
            order = [axis for index, axis in enumerate(axes) if index != along and axis.extent != 1]
            tiles = cut_tiles([*order, piece], 65535)
            offset = view.offset + start * view.strides[along]
            with ExitStack() as loops:
                indices = [loops.enter_context(builder.loop(axis.extent)) for axis in tiles.axes[: tiles.cut]]
                span = loops.enter_context(builder.tiles(tiles.axes[tiles.cut].extent, tiles.tile))
                indices.append(span.start)
                source = tiles.place(1, line, 0, indices, span)
                builder.copy(source, tiles.place(0, self.scope.buffers[view.root], offset, indices, span))


class CumsumLowering(Lowering):
    """Running sums: the axis lies along columns; a step adds to every element the one 1, 2, 4, ... before it.

    A long axis goes in pieces, with what earlier pieces sum to carried in a column.
    """

    @property
    def _op(self) -> nn.CumsumOp:
        assert isinstance(self.kernel.anchor, nn.CumsumOp)
        return self.kernel.anchor

    def _sides(self) -> tuple[View, View]:
        """Operand and result with the axis last, reversed where the sums run from the end."""
        axis, rank = self._op.axis.value.data, len(shape_of(self._op.input))
        order = [index for index in range(rank) if index != axis] + [axis]
        views: list[View] = []
        for value in (self._op.input, self._op.result):
            view = self.scope.view(value).transpose(order)
            if self._op.reverse is not None and view.elements:
                starts = [0] * (rank - 1) + [view.shape[-1] - 1]
                view = view.slice(starts, view.shape, [1] * (rank - 1) + [-1])
            views.append(view)
        return views[0], views[1]

    def plan(self, budget: Budget) -> Plan:
        """Tiles of rows by pieces of the axis: loaded, summed in 4 bytes, stored."""
        least = 2048
        if budget.sram < least:
            raise CapacityError("running sums", least, budget.sram)
        room = min(budget.sram, 4 * PIECE_BYTES)
        moved = 2 * prod(shape_of(self._op.result)) * self.scope.form(self._op.input).bytes
        return Plan(room, 0, moved / self.scope.machine.dram.bytes_per_cycle, {"bytes": room})

    def emit(self, plan: Plan, builder: TileBuilder) -> None:
        """Loops over rows; within, pieces of the axis in order."""
        source, target = self._sides()
        if source.elements == 0:
            return
        form = self.scope.form(self._op.input)
        # Six buffers of at most four bytes an element: two instances of load and store, the sums, and the carry.
        most = max(1, (plan.sram_bytes - 1024) // 24)
        length = source.shape[-1]
        piece = min(length, most)
        lead = [View(v.root, v.offset, v.shape[:-1], v.strides[:-1]) for v in (source, target)]
        tiles = cut_tiles(joint_axes(*lead), max(1, most // piece))
        with ExitStack() as loops:
            indices = [loops.enter_context(builder.loop(axis.extent)) for axis in tiles.axes[: tiles.cut]]
            span = loops.enter_context(builder.tiles(tiles.axes[tiles.cut].extent, tiles.tile))
            indices.append(span.start)
            rows = _times(span.size, tiles.elements // tiles.tile)
            carry = self._carry(builder, form, tiles.elements, rows) if piece < length else None
            with builder.tiles(length, piece) as part:
                ends = [
                    self._end(tiles.place(side, self.scope.buffers[view.root], view.offset, indices, span), view, part)
                    for side, view in enumerate((source, target))
                ]
                self._piece(builder, ends, tiles.bounds, rows, part, carry)

    @staticmethod
    def _end(place: Place, view: View, part: Span) -> Place:
        access = place.access
        offset = access.offset + part.start * view.strides[-1]
        return Place(place.buffer, Access(offset, (*access.sizes, part.size), (*access.strides, view.strides[-1])))

    def _carry(self, builder: TileBuilder, form: Format, rows_bound: int, rows: Minimum) -> Held:
        wide = Format.F32 if form.kind == "float" else Format.I32
        held = Held(builder.alloc("sram", (rows_bound,), wide))
        zero = LaneProgram((), (0.0 if form.kind == "float" else 0,), Source.immediate(0))
        builder.lane_pass(zero, 1, rows, out=held.line(rows))
        return held

    def _piece(
        self,
        builder: TileBuilder,
        ends: Sequence[Place],
        bounds: tuple[int, ...],
        rows: Minimum,
        part: Span,
        carry: Held | None,
    ) -> None:
        """Load a piece, sum it up, add the carry, store it."""
        form = self.scope.form(self._op.input)
        wide = Format.F32 if form.kind == "float" else Format.I32
        width, rows_bound = part.limit, prod(bounds)
        loaded = builder.alloc("sram", (rows_bound, width), form)
        dense = Access(AffineForm(), ends[0].access.sizes, dense_strides((*bounds, width)))
        builder.copy(ends[0], Place(loaded, dense))
        sums = Held(builder.alloc("sram", (rows_bound, width), wide), pitch=width)
        values = Held(loaded, pitch=width)
        total = carry and Held(builder.alloc("sram", (rows_bound,), wide))
        reductions = [("columns", total.vector(rows))] if total else []
        text = "out a; reduce sum(a)" if total else "out a"
        builder.lane_pass(
            LaneProgram.parse(text),
            rows,
            part.size,
            [values.full(rows, part.size)],
            out=sums.full(rows, part.size),
            reductions=reductions,
        )
        step = 1
        while step < width:
            later = Minimum(tuple(size + -step for size in part.size.forms))
            here, before = Held(sums.buffer, AffineForm((), step), width), Held(sums.buffer, pitch=width)
            ends_here = (here.full(rows, later), before.full(rows, later))
            builder.lane_pass(_ADD, rows, later, ends_here, out=ends_here[0])
            step *= 2
        made, exclusive = builder.alloc("sram", (rows_bound, width + 1), form), self._op.exclusive is not None
        result = Held(made, AffineForm((), int(exclusive)), width + 1)
        broadcasts = [("column", carry.vector(rows))] if carry else []
        builder.lane_pass(
            _ADD_COLUMN if carry else _MOVE,
            rows,
            part.size,
            [sums.full(rows, part.size)],
            broadcasts,
            result.full(rows, part.size),
        )
        if exclusive:
            first = Held(made, pitch=width + 1).full(rows, Minimum.of(1))
            zero = LaneProgram((), (0.0 if form.kind == "float" else 0,), Source.immediate(0))
            builder.lane_pass(_MOVE_COLUMN if carry else zero, rows, 1, (), broadcasts, first)
        strides = tuple(step * (width + 1) for step in dense_strides(bounds))
        builder.copy(Place(made, Access(AffineForm(), ends[1].access.sizes, (*strides, 1))), ends[1])
        if carry and total:
            builder.lane_pass(_ADD, 1, rows, [carry.line(rows), total.line(rows)], out=carry.line(rows))


_ADD = LaneProgram.parse("r0 = add(a, b); out r0")
_ADD_COLUMN = LaneProgram.parse("r0 = add(a, c0); out r0")
_MOVE = LaneProgram.parse("out a")
_MOVE_COLUMN = LaneProgram.parse("out c0")
