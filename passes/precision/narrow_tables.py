"""Rows of a quantized table are gathered before they are dequantized, so that the table stays 8-bit in
memory.

Exporters write embeddings of weight-only quantization as Gather(Mul(Cast(int8 table), scale)) or with
DequantizeLinear; element by element it is the same to gather first.
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
from ..builder import Builder
from .retype import replace


@dataclass(frozen=True)
class NarrowTables(ModulePass):
    """Move element-by-element operations on an 8-bit table behind the gather that reads it."""

    name = "narrow-tables"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module; tables that nothing reads any more are left for dead-code elimination."""
        context = CompilerContext.of(ctx)
        for gather in [g for g in op.walk() if isinstance(g, nn.GatherRowsOp)]:
            if _is_narrow_table(gather.table) and not isinstance(gather.table.owner, nn.ConstantOp):
                build = Builder.before(gather, context.store)
                rows = _rows(build, gather.table, gather)
                replace(gather, rows)


def _is_narrow_table(table: SSAValue) -> bool:
    """Whether a [rows, width] value is made element by element of one 8-bit constant of its size and small
    ones."""
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


def _rows(build: Builder, table: SSAValue, gather: nn.GatherRowsOp) -> SSAValue:
    """The gathered rows of `table`, or what a [1, width], [rows, 1], [width] or scalar operand gives for
    them."""
    maker, shape = table.owner, shape_of(table)
    if len(shape) < 2 or shape[0] != shape_of(gather.table)[0]:
        return build.reshape(table, shape[1:]) if len(shape) == 2 else table
    if isinstance(maker, nn.CastOp):
        return build.cast(_rows(build, maker.input, gather), element_type(maker.result))
    if isinstance(maker, nn.DequantizeOp):
        return _dequantized_rows(build, maker, gather)
    if isinstance(maker, nn.MapOp):
        inputs = [_rows(build, value, gather) for value in maker.inputs]
        return build.map(maker.function.data, *inputs, to=element_type(maker.result))
    return build.gather_rows(table, gather.ids, gather.limit.value.data)


def _dequantized_rows(build: Builder, maker: nn.DequantizeOp, gather: nn.GatherRowsOp) -> SSAValue:
    values = _rows(build, maker.input, gather)
    axis = None if maker.axis is None else maker.axis.value.data

    def placed(parameter: SSAValue) -> SSAValue:
        """A scale or zero point as it meets the gathered rows: one a table row is gathered too."""
        if axis != 0:
            return parameter
        column = build.reshape(parameter, (*shape_of(parameter), 1))
        return build.gather_rows(column, gather.ids, gather.limit.value.data)

    whole = build.cast(values, i32)
    if maker.zero_point is not None:
        whole = build.map("sub", whole, build.cast(placed(maker.zero_point), i32))
    return build.map("mul", build.cast(whole, f32), placed(maker.scale), to=element_type(maker.result))
