"""Where the greatest values of rows stand: a row on chip, ranked and listed by the sparse engine.

How many reach a least value is a count that the run finds: its number is that of the kernel, among those that find one,
and what is computed of the rows gathered by it is cut to it (`follow_counts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from math import prod

from ...dialects import nn
from ...dialects.affine_form import Access
from ...dialects.elements import shape_of
from ...dialects.tile import CompactOp, Place, TopOp
from ...isa.errors import Blocking, CapacityError, UnsupportedError
from ...isa.formats import Format
from ...isa.instructions import Compact, Top
from ...isa.lanes import LaneProgram
from .build import TileBuilder, buffer_bytes
from .kernel import Budget, Kernel, Lowering, Plan, Scope

REACHING = LaneProgram.parse("r0 = ge(b, c0); r1 = and(a, r0); out r1")


class GreatestLowering(Lowering):
    """Row by row: values loaded, `sx.top`, a comparison where there is a least value, `sx.compact`, the ids stored."""

    def __init__(self, kernel: Kernel, scope: Scope) -> None:
        super().__init__(kernel, scope)
        if self._op.least is not None and prod(shape_of(self._op.input)[:-1]) != 1:
            reason = "counts of several rows, which sizes cannot be cut by"
            raise UnsupportedError((Blocking(kernel.path, "tokens", reason, "a batch of one"),))

    @property
    def _op(self) -> nn.GreatestOp:
        assert isinstance(self.kernel.anchor, nn.GreatestOp)
        return self.kernel.anchor

    def plan(self, budget: Budget) -> Plan:
        """One row at a time, the next one loading meanwhile."""
        columns, count = shape_of(self._op.input)[-1], self._op.count.value.data
        buffers = (
            ((columns,), Format.F32),
            ((1, columns), Format.B1),
            ((columns,), Format.I32),
            ((1,), Format.I32),
            ((1,), Format.F32),
        )
        need = 2 * sum(buffer_bytes(shape, form) for shape, form in buffers)
        if budget.sram < need:
            raise CapacityError(f"the greatest of {columns} values", need, budget.sram)
        machine, rows = self.scope.machine, prod(shape_of(self._op.input)[:-1])
        each = Top(rows=1, columns=columns, keep=count).cost(machine).busy
        each += Compact(rows=1, columns=columns).cost(machine).busy
        return Plan(need, 0, rows * each, {"columns": columns})

    def emit(self, plan: Plan, builder: TileBuilder) -> None:
        """Loops over rows."""
        op, scope = self._op, self.scope
        *outer, columns = shape_of(op.input)
        count, pitch = op.count.value.data, Format.B1.pitch(columns)
        with ExitStack() as loops:
            starts = [loops.enter_context(builder.loop(extent)) for extent in outer]
            ones = [1] * len(outer)
            values = Place(
                builder.alloc("sram", (1, columns), scope.form(op.input)), Access.of(0, (1, columns), (columns, 1))
            )
            mask = Place(builder.alloc("sram", (1, columns), Format.B1), Access.of(0, (1, columns), (pitch, 1)))
            ids, number = (
                Place(builder.alloc("sram", (extent,), Format.I32), Access.of(0, (extent,), (1,)))
                for extent in (columns, 1)
            )
            builder.copy(scope.place(op.input, [*starts, 0], [*ones, columns]), _row(values, outer, columns))
            builder.insert(TopOp(values, mask, count))
            if op.least is not None:
                self._compare(builder, values, mask, columns)
            builder.insert(CompactOp(mask, ids, number, None if op.number is None else self._number))
            if op.number is not None:
                builder.copy(_row(number, outer, 1), scope.place(op.number, [*starts, 0], [*ones, 1]))
            builder.copy(_row(ids, outer, count), scope.place(op.result, [*starts, 0], [*ones, count]))

    def _compare(self, builder: TileBuilder, values: Place, mask: Place, columns: int) -> None:
        """Leave of a row's bits those whose values reach the least one."""
        least, outer = self._op.least, shape_of(self._op.input)[:-1]
        assert least is not None
        held = Place(builder.alloc("sram", (1,), Format.F32), Access.of(0, (), ()))
        ones = [1] * (len(outer) + 1)
        target = Place(held.buffer, Access.of(0, ones, [1] * len(ones)))
        builder.copy(self.scope.place(least, [0] * len(ones), ones), target)
        builder.lane_pass(REACHING, 1, columns, [mask, values], [("scalar", held)], mask)

    @property
    def _number(self) -> int:
        """How many operations before this one find a count."""
        block = self._op.parent_block()
        assert block is not None
        found = [op for op in block.ops if isinstance(op, nn.GreatestOp) and op.number is not None]
        return found.index(self._op)


def _row(place: Place, outer: Sequence[int], columns: int) -> Place:
    """The first `columns` of a buffer of one row, with an axis of 1 for each of `outer`."""
    return Place(place.buffer, Access.of(0, (*(1 for _ in outer), columns), (*(0 for _ in outer), 1)))
