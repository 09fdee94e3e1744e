"""Where the greatest values of rows stand: a row on chip, ranked and listed by the sparse engine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from math import prod

from ...dialects import nn
from ...dialects.affine_form import Access
from ...dialects.elements import shape_of
from ...dialects.tile import CompactOp, Place, TopOp
from ...isa.errors import CapacityError
from ...isa.formats import Format
from ...isa.instructions import Compact, Top
from .build import TileBuilder, buffer_bytes
from .kernel import Budget, Lowering, Plan


class GreatestLowering(Lowering):
    """Row by row: values loaded, `sx.top`, `sx.compact`, the ids stored."""

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
            builder.insert(CompactOp(mask, ids, number))
            builder.copy(_row(ids, outer, count), scope.place(op.result, [*starts, 0], [*ones, count]))


def _row(place: Place, outer: Sequence[int], columns: int) -> Place:
    """The first `columns` of a buffer of one row, with an axis of 1 for each of `outer`."""
    return Place(place.buffer, Access.of(0, (*(1 for _ in outer), columns), (*(0 for _ in outer), 1)))
