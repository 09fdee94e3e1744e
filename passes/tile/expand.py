"""What each elementwise, reducing and normalizing operation of `nn` is in lane functions: its part of a lane graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xdsl.ir import Operation as IrOperation
from xdsl.ir import SSAValue

from ...dialects import bnn, nn
from ...dialects.bnn_types import bipolar
from ...dialects.elements import element_type, format_of, shape_of
from ...isa.formats import Format
from ...isa.frozen import frozen
from .lane_graph import LaneGraphBuilder

# Functions whose result lies in the range of their operands, so that narrow integers need no wrapping after them.
_KEEP_RANGE = frozenset({"min", "max", "select", "bit_and", "bit_or", "bit_xor", "shift_right", "mod", "fmod"})
_RANGES = {Format.I8: (-128.0, 127.0), Format.U8: (0.0, 255.0)}


@frozen
class Lanes:
    """A value of the tensor program as nodes: `exact` has the value's own kind and range, for whoever computes with
    it; `store` gives the same stored bytes when written in the value's format (a write saturates and wraps by
    itself); `level`, of a quantized value, is the same number as a float."""

    exact: int
    store: int
    level: int | None = None


LeafOf = Callable[[SSAValue, int | None], Lanes]
"""(operand, axis) to nodes: `axis` says along which axis of the operation's shape a rank-1 operand lies, if not the
last."""

Expansion = Callable[[LaneGraphBuilder, Any, LeafOf], tuple[Lanes, ...]]


def _plain(node: int) -> Lanes:
    return Lanes(node, node)


def _wrapped(builder: LaneGraphBuilder, node: int, form: Format) -> int:
    """An int node as a narrower integer format holds it."""
    if form is Format.I8:
        bits = builder.immediate(24)
        return builder.apply("shift_right", builder.apply("shift_left", node, bits), bits)
    if form is Format.U8:
        return builder.apply("bit_and", node, builder.immediate(255))
    return node


def _result_form(value: SSAValue) -> Format:
    return format_of(element_type(value))


def _map(builder: LaneGraphBuilder, op: nn.MapOp, leaf: LeafOf) -> tuple[Lanes, ...]:
    function = op.function.data
    operands = [leaf(value, None) for value in op.inputs]
    node = builder.apply(function, *(operand.exact for operand in operands))
    form = _result_form(op.result)
    same = all(_result_form(value) in (form, Format.BOOL) for value in op.inputs)
    if form not in _RANGES or (same and function in _KEEP_RANGE):
        return (_plain(node),)
    return (Lanes(_wrapped(builder, node, form), node),)


def _cast(builder: LaneGraphBuilder, op: nn.CastOp, leaf: LeafOf) -> tuple[Lanes, ...]:
    operand = leaf(op.input, None)
    return (convert(builder, operand, _result_form(op.input), _result_form(op.result)),)


def convert(builder: LaneGraphBuilder, operand: Lanes, old: Format, new: Format) -> Lanes:
    """A value of format `old` converted to format `new` as a stored conversion does."""
    if new is old:
        return operand
    if new.kind == "float" and operand.level is not None:
        return _rounded(builder, operand.level, new)
    source = operand.exact
    if new.kind == "float":
        node = builder.as_kind(source, "float")
        return _plain(node) if old is Format.BF16 and new is Format.F32 else _rounded(builder, node, new)
    if new.kind == "bool":
        return _plain(builder.as_kind(source, "bool"))
    if old.kind == "float" and new in _RANGES:
        return Lanes(_saturated(builder, source, new), source)
    node = builder.as_kind(source, "int")
    if new is Format.I32 or old.kind == "bool":
        return _plain(node)
    return Lanes(_wrapped(builder, node, new), node)


def _rounded(builder: LaneGraphBuilder, node: int, form: Format) -> Lanes:
    if form is Format.F32:
        return _plain(node)
    return Lanes(builder.stored(node, form), node)


def _saturated(builder: LaneGraphBuilder, node: int, form: Format) -> int:
    low, high = _RANGES[form]
    clipped = builder.apply("min", builder.apply("max", node, builder.immediate(low)), builder.immediate(high))
    return builder.apply("to_int", clipped)


def _reduce(builder: LaneGraphBuilder, op: nn.ReduceOp, leaf: LeafOf) -> tuple[Lanes, ...]:
    form = _result_form(op.result)
    if 0 in shape_of(op.input):
        return (_plain(_empty_reduction(builder, op.kind.data, form)),)
    node = builder.reduce(str(op.kind.data), leaf(op.input, None).exact)
    if form in _RANGES and op.kind.data is nn.Reduction.SUM:
        return (Lanes(_wrapped(builder, node, form), node),)
    return (_plain(node),)


def _empty_reduction(builder: LaneGraphBuilder, reduction: nn.Reduction, form: Format) -> int:
    least: float = -math.inf
    values = {nn.Reduction.SUM: 0.0, nn.Reduction.MAX: least, nn.Reduction.MIN: -least}
    value = values.get(reduction, math.nan)
    if form.kind == "float":
        return builder.immediate(value)
    low, high = _RANGES.get(form, (-(2.0**31), 2.0**31 - 1))
    return builder.immediate(int(min(max(value, low), high)))


def _softmax(builder: LaneGraphBuilder, op: nn.SoftmaxOp, leaf: LeafOf) -> tuple[Lanes, ...]:
    scores = leaf(op.input, None).exact
    weights = builder.apply("exp", builder.apply("sub", scores, builder.reduce("max", scores)))
    result = builder.apply("div", weights, builder.reduce("sum", weights))
    if op.empty_row.data is nn.EmptyRow.ZERO:
        result = builder.apply("select", builder.apply("is_nan", result), builder.immediate(0.0), result)
    return (_plain(result),)


def _layer_norm(builder: LaneGraphBuilder, op: nn.LayerNormOp, leaf: LeafOf) -> tuple[Lanes, ...]:
    values = leaf(op.input, None).exact
    mean, variance = builder.reduce("mean", values), builder.reduce("variance", values)
    factor = builder.apply("rsqrt", builder.apply("add", variance, builder.immediate(op.epsilon.value.data)))
    result = builder.apply("mul", builder.apply("sub", values, mean), factor)
    if op.scale is not None:
        result = builder.apply("mul", result, leaf(op.scale, None).exact)
    if op.bias is not None:
        result = builder.apply("add", result, leaf(op.bias, None).exact)
    return (_plain(result),)


def _rms_norm(builder: LaneGraphBuilder, op: nn.RmsNormOp, leaf: LeafOf) -> tuple[Lanes, ...]:
    values = leaf(op.input, None).exact
    square = builder.reduce("mean", builder.apply("mul", values, values))
    factor = builder.apply("rsqrt", builder.apply("add", square, builder.immediate(op.epsilon.value.data)))
    result = builder.apply("mul", values, factor)
    if op.scale is not None:
        result = builder.apply("mul", result, leaf(op.scale, None).exact)
    return (_plain(result),)


def _binarize(builder: LaneGraphBuilder, op: bnn.BinarizeOp, leaf: LeafOf) -> tuple[Lanes, ...]:
    upper = builder.apply(str(op.tie.data), leaf(op.input, None).exact, leaf(op.threshold, None).exact)
    if op.flip is not None:
        upper = builder.apply("xor", upper, leaf(op.flip, None).exact)
    return (_plain(upper),)


def _pack(builder: LaneGraphBuilder, op: bnn.PackOp, leaf: LeafOf) -> tuple[Lanes, ...]:
    operand = leaf(op.input, None)
    if _result_form(op.input).kind == "bool":
        return (_plain(operand.exact),)
    if _result_form(op.result).kind == "bool":
        node = operand.store
        zero = builder.immediate(0.0 if builder.kind(node) == "float" else 0)
        return (_plain(builder.apply("gt", node, zero)),)
    # What a narrower format saturates or wraps is the same before and after it went through bytes.
    return (_plain(operand.store),)


def _unpack(builder: LaneGraphBuilder, op: bnn.UnpackOp, leaf: LeafOf) -> tuple[Lanes, ...]:
    form, stored = _result_form(op.result), leaf(op.input, None).exact
    if element_type(op.input) == bipolar:
        # 2 b - 1
        two, one = (
            (builder.immediate(2.0), builder.immediate(1.0))
            if form.kind == "float"
            else (
                builder.immediate(2),
                builder.immediate(1),
            )
        )
        bit = builder.as_kind(stored, form.kind)
        return (_plain(builder.apply("sub", builder.apply("mul", bit, two), one)),)
    return (_plain(builder.as_kind(stored, form.kind)),)


def _column_sums(builder: LaneGraphBuilder, op: bnn.SumOp, leaf: LeafOf) -> tuple[Lanes, ...]:
    bits = builder.as_kind(leaf(op.input, None).exact, "int")
    total = builder.reduce("sum", bits)
    if element_type(op.input) == bipolar:
        count = builder.immediate(shape_of(op.input)[-1])
        total = builder.apply("sub", builder.apply("mul", total, builder.immediate(2)), count)
    return (_plain(total),)


def _axis(op: nn.QuantizeOp | nn.DequantizeOp) -> int | None:
    return None if op.axis is None else op.axis.value.data


def _quantize(builder: LaneGraphBuilder, op: nn.QuantizeOp, leaf: LeafOf) -> tuple[Lanes, ...]:
    values = leaf(op.input, None).exact
    level = builder.apply("rint", divided(builder, values, leaf(op.scale, _axis(op)).exact))
    if op.zero_point is not None:
        zero = leaf(op.zero_point, _axis(op))
        level = _shifted(builder, "add", level, builder.as_kind(zero.exact, "float"))
    return (quantized(builder, level, _result_form(op.result)),)


def _shifted(builder: LaneGraphBuilder, function: str, node: int, zero: int) -> int:
    return node if zero in (builder.immediate(0.0), builder.immediate(0)) else builder.apply(function, node, zero)


def quantized(builder: LaneGraphBuilder, level: int, form: Format) -> Lanes:
    """A whole float as a value of an 8-bit format, saturated."""
    low, high = _RANGES[form]
    clipped = builder.apply("min", builder.apply("max", level, builder.immediate(low)), builder.immediate(high))
    return Lanes(builder.apply("to_int", clipped), level, clipped)


def divided(builder: LaneGraphBuilder, values: int, scale: int) -> int:
    """values / scale; by a power of two as the product that equals it exactly, which any pass has room for."""
    known = builder.number(scale)
    if known is not None and math.isfinite(known) and known and math.frexp(known)[0] in (0.5, -0.5):
        inverse = 1.0 / known
        if 2.0**-126 <= abs(inverse) <= 2.0**127 and abs(known) >= 2.0**-126:
            return builder.apply("mul", values, builder.immediate(inverse))
    return builder.apply("div", values, scale)


def _dequantize(builder: LaneGraphBuilder, op: nn.DequantizeOp, leaf: LeafOf) -> tuple[Lanes, ...]:
    operand = leaf(op.input, None)
    scale = leaf(op.scale, _axis(op)).exact
    zero = None if op.zero_point is None else leaf(op.zero_point, _axis(op)).exact
    if operand.level is not None:
        level = operand.level
        if zero is not None:
            level = _shifted(builder, "sub", level, builder.as_kind(zero, "float"))
    else:
        level = operand.exact if zero is None else _shifted(builder, "sub", operand.exact, zero)
        level = builder.as_kind(level, "float")
    return (_plain(builder.apply("mul", level, scale)),)


def _dynamic_quantize(builder: LaneGraphBuilder, op: nn.DynamicQuantizeOp, leaf: LeafOf) -> tuple[Lanes, ...]:
    values = leaf(op.input, None).exact
    nothing, most = builder.immediate(0.0), builder.immediate(255.0)
    low = builder.apply("min", builder.reduce("min", values), nothing)
    high = builder.apply("max", builder.reduce("max", values), nothing)
    width = builder.apply("sub", high, low)
    flat = builder.apply("eq", width, nothing)
    scale = builder.apply("select", flat, builder.immediate(1.0), builder.apply("div", width, most))
    start = builder.apply("div", builder.apply("neg", low), scale)
    zero = builder.apply("rint", builder.apply("min", builder.apply("max", start, nothing), most))
    level = builder.apply("add", builder.apply("rint", builder.apply("div", values, scale)), zero)
    return (
        quantized(builder, level, Format.U8),
        _plain(scale),
        Lanes(builder.apply("to_int", zero), zero, zero),
    )


EXPANSIONS: Mapping[type[IrOperation], Expansion] = {
    nn.MapOp: _map,
    nn.CastOp: _cast,
    nn.ReduceOp: _reduce,
    nn.SoftmaxOp: _softmax,
    nn.LayerNormOp: _layer_norm,
    nn.RmsNormOp: _rms_norm,
    nn.QuantizeOp: _quantize,
    nn.DequantizeOp: _dequantize,
    nn.DynamicQuantizeOp: _dynamic_quantize,
    bnn.BinarizeOp: _binarize,
    bnn.PackOp: _pack,
    bnn.UnpackOp: _unpack,
    bnn.SumOp: _column_sums,
}
"""The lane-level meaning of every operation that a rowwise cluster may hold."""


def reduced_axes(op: IrOperation) -> tuple[int, ...]:
    """The axes (of its operand's shape) that an operation reduces over; empty for an elementwise one."""
    match op:
        case nn.ReduceOp():
            return () if 0 in shape_of(op.input) else tuple(op.axes.get_values())
        case nn.SoftmaxOp():
            return (op.axis.value.data,)
        case bnn.SumOp():
            return (len(shape_of(op.input)) - 1,)
        case nn.LayerNormOp() | nn.RmsNormOp():
            return tuple(range(op.axis.value.data, len(shape_of(op.input))))
        case nn.DynamicQuantizeOp():
            return tuple(range(len(shape_of(op.input))))
        case _:
            return ()


def domain_of(op: IrOperation) -> Sequence[int]:
    """The shape over which an operation computes: its operand's where it reduces, else its result's."""
    if isinstance(op, nn.ReduceOp | bnn.SumOp) and 0 not in shape_of(op.input):
        return shape_of(op.input)
    return shape_of(op.results[0])
