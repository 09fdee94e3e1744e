"""Copy kernels: views made solid, concatenations and padding. What already lies in its place is not copied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from xdsl.ir import SSAValue

from ...dialects import nn
from ...dialects.affine_form import Access, AffineForm, Minimum, dense_strides
from ...dialects.elements import shape_of
from ...dialects.tile import Place
from ...isa.errors import CapacityError
from ...isa.lanes import LaneProgram, Source
from .build import TileBuilder, buffer_bytes
from .kernel import Budget, Lowering, Plan
from .lane_passes import Held
from .move import PIECE_BYTES, Side, can_copy_on_chip, copy_view, cut_tiles, joint_axes
from .view import View
from .views import part, pieces

LEAST_BYTES = 256
FILL_LINE = 256
"""Padding is written in repetitions of a line of so many elements."""


class CopyLowering(Lowering):
    """A materialized view, a concatenation or a padding: copies of views to parts of the result."""

    def plan(self, budget: Budget) -> Plan:
        """Two tiles in flight, and the line of padding."""
        bytes_each = self.scope.form(self.kernel.results[0]).bytes if self.kernel.results else 4
        line = FILL_LINE * bytes_each if isinstance(self.kernel.anchor, nn.PadOp) else 0
        least = LEAST_BYTES + line
        if budget.sram < least:
            raise CapacityError(f"copying {self.kernel.path or self.kernel.kind}", least, budget.sram)
        for source, target in self._copies():
            both = {source.root, target.root} <= self.scope.residents
            if both and not can_copy_on_chip(source, target):
                # Passes need contiguous rows: with one end in DRAM the copy is a transfer, which does not.
                raise CapacityError("reordering between two tensors on chip", target.elements * bytes_each, 0)
        room = min(budget.sram - line, 2 * PIECE_BYTES)
        moved = sum(view.elements for view, _ in self._copies()) * bytes_each
        rate = self.scope.machine.dram.bytes_per_cycle
        return Plan(room + line, 0, 2 * moved / rate, {"bytes": moved})

    def _copies(self) -> Iterator[tuple[View, View]]:
        """(source, target) of everything that does not lie in its place already."""
        op = self.kernel.anchor
        storage = self.scope.view(op.results[0])
        match op:
            case nn.ConcatOp():
                ends = [(self.scope.view(v), part(storage, at, shape_of(v))) for v, at in pieces(op)]
            case nn.PadOp():
                inside = part(storage, op.low.get_values(), shape_of(op.input))
                ends = [(self.scope.view(op.input), inside)]
            case nn.ReshapeOp():
                # A reshape that is copied is only ever placed where its operand's shape can be seen (views.py).
                seen = storage.reshape(shape_of(op.input))
                assert seen is not None, "a copied reshape lies where its operand's shape can be seen"
                ends = [(self.scope.view(op.input), seen)]
            case _:
                raise TypeError(f"{op.name} is no copy")
        for source, target in ends:
            if not source.same_as(target):
                yield source, target

    def accepts_resident(self, value: SSAValue) -> bool:
        """On-chip ends are copied straight from or to DRAM; only padding writes its result by stores alone."""
        return not (isinstance(self.kernel.anchor, nn.PadOp) and value in self.kernel.results)

    def emit(self, plan: Plan, builder: TileBuilder) -> None:
        """The copies, and the border of a padding."""
        form = self.scope.form(self.kernel.anchor.results[0])
        line = buffer_bytes((FILL_LINE,), form) if isinstance(self.kernel.anchor, nn.PadOp) else 0
        for source, target in self._copies():
            copy_view(builder, self._side(source), self._side(target), form, plan.sram_bytes - line)
        if isinstance(self.kernel.anchor, nn.PadOp):
            self._border(self.kernel.anchor, builder)

    def _side(self, view: View) -> Side:
        return Side(view, self.scope.buffers[view.root], view.root in self.scope.residents)

    def _border(self, op: nn.PadOp, builder: TileBuilder) -> None:
        """Write the fill around the operand: per axis what is before and after, within what earlier axes left."""
        storage = self.scope.view(op.result)
        if storage.elements == 0:
            return
        buffer: SSAValue | None = None
        starts, sizes = [0] * storage.rank, list(storage.shape)
        for axis, (low, extent) in enumerate(zip(op.low.get_values(), shape_of(op.input), strict=True)):
            for start, size in ((0, low), (low + extent, storage.shape[axis] - low - extent)):
                region = storage.slice(
                    [start if index == axis else at for index, at in enumerate(starts)],
                    [size if index == axis else length for index, length in enumerate(sizes)],
                    [1] * storage.rank,
                )
                if region.elements:
                    buffer = buffer or self._line(op, builder)
                    _repeat(builder, buffer, Side(region, self.scope.buffers[region.root], False))
            starts[axis], sizes[axis] = low, extent

    def _line(self, op: nn.PadOp, builder: TileBuilder) -> SSAValue:
        """A buffer full of the fill."""
        form = self.scope.form(op.result)
        buffer = builder.alloc("sram", (FILL_LINE,), form)
        out = Held(buffer).line(Minimum.of(FILL_LINE))
        number = self.scope.scalar(op.fill)
        if number is not None:
            program = LaneProgram((), (number,), Source.immediate(0))
            builder.lane_pass(program, 1, FILL_LINE, out=out)
            return buffer
        held = self.scope.place(op.fill, (), ())
        if not self.scope.resident(op.fill):
            scalar = Held(builder.alloc("sram", (), form)).scalar
            builder.copy(held, scalar)
            held = scalar
        builder.lane_pass(LaneProgram.parse("out c0"), 1, FILL_LINE, (), [("scalar", held)], out)
        return buffer


def _repeat(builder: TileBuilder, line: SSAValue, target: Side) -> None:
    """Store a line of equal elements over all of a view."""
    tiles = cut_tiles(joint_axes(target.view), FILL_LINE)
    with ExitStack() as loops:
        indices = [loops.enter_context(builder.loop(axis.extent)) for axis in tiles.axes[: tiles.cut]]
        span = loops.enter_context(builder.tiles(tiles.axes[tiles.cut].extent, tiles.tile))
        indices.append(span.start)
        source = Place(line, Access(AffineForm(), tiles.sizes(span), dense_strides(tiles.bounds)))
        builder.copy(source, tiles.place(0, target.buffer, target.view.offset, indices, span))
