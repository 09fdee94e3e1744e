"""Rows of a quantized table are gathered before they are dequantized, so that the table stays 8-bit in memory.

Exporters write embeddings of weight-only quantization as Gather(Mul(Cast(int8 table), scale)) or with DequantizeLinear;
element by element it is the same to gather first.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, f32, i8, i32
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from ...dialects import nn
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, shape_of, ui8
from ...dialects.provenance import fuse
from ...isa.frozen import frozen
from ..builder import Builder
from .retype import replace


@dataclass(frozen=True)
class NarrowTables(ModulePass):
    """Move element-by-element operations on an 8-bit table behind the gather that reads it."""

    name = "narrow-tables"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module; tables that nothing reads any more are left for `remove-unused`."""
        store = CompilerContext.of(ctx).store
        for gather in [g for g in op.walk() if isinstance(g, nn.GatherRowsOp)]:
            if _is_narrow_table(gather.table) and not isinstance(gather.table.owner, nn.ConstantOp):
                replace(gather, _Rows(gather, Builder.before(gather, store)).of(gather.table))


def _is_narrow_table(table: SSAValue) -> bool:
    """Whether a [rows, width] value is made element by element of one 8-bit constant of its size and small ones."""
    maker = table.owner
    if isinstance(maker, nn.ConstantOp):
        return element_type(table) in (i8, ui8)
    if isinstance(maker, nn.CastOp | nn.DequantizeOp):
        return _is_narrow_table(maker.input)
    if isinstance(maker, nn.MapOp):
        large = [value for value in maker.inputs if shape_of(value) == shape_of(table)]
        rest = [value for value in maker.inputs if shape_of(value) != shape_of(table)]
        constant = all(isinstance(value.owner, nn.ConstantOp) for value in rest)
        return constant and len(large) == 1 and _is_narrow_table(large[0])
    return False


@frozen
class _Rows:
    """Writes what the operations on a table make of the rows that `gather` picks."""

    gather: nn.GatherRowsOp
    build: Builder

    def of(self, table: SSAValue) -> SSAValue:
        """The gathered rows of `table`; of an operand that only stretches along its rows, that operand."""
        maker = table.owner
        rows, _ = shape_of(self.gather.table)
        shape = shape_of(table)
        if len(shape) < 2 or shape[0] != rows:
            return self.build.reshape(table, shape[1:]) if len(shape) == 2 else table
        if isinstance(maker, nn.CastOp):
            values = self.of(maker.input)
            self._stand_for(maker)
            return self.build.cast(values, element_type(maker.result))
        if isinstance(maker, nn.DequantizeOp):
            return self._dequantized(maker)
        if isinstance(maker, nn.MapOp):
            inputs = [self.of(value) for value in maker.inputs]
            self._stand_for(maker)
            return self.build.map(maker.function.data, *inputs, to=element_type(maker.result))
        return self._picked(table)

    def _dequantized(self, maker: nn.DequantizeOp) -> SSAValue:
        values = self.of(maker.input)
        self._stand_for(maker)
        per_row = maker.axis is not None and maker.axis.value.data == 0

        def placed(parameter: SSAValue) -> SSAValue:
            """A scale or zero point as it meets the gathered rows: one a table row is gathered too."""
            return self._picked(self.build.unsqueeze(parameter, -1)) if per_row else parameter

        whole = self.build.cast(values, i32)
        if maker.zero_point is not None:
            whole = self.build.map("sub", whole, self.build.cast(placed(maker.zero_point), i32))
        scaled = self.build.cast(whole, f32), placed(maker.scale)
        return self.build.map("mul", *scaled, to=element_type(maker.result))

    def _picked(self, table: SSAValue) -> SSAValue:
        return self.build.gather_rows(table, self.gather.ids, self.gather.limit.value.data)

    def _stand_for(self, maker: nn.NnOperation) -> None:
        """What is written from here on does the work of `maker` for the gather."""
        self.build.location = fuse(maker.location, self.gather.location)
