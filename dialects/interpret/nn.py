"""The values of `nn` operations, in numpy: lane functions and reductions are the machine's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from xdsl.ir import Operation, SSAValue

from ...isa.errors import InputError
from ...isa.formats import Format, narrow, widen
from ...isa.instructions.sparse import greatest
from ...isa.lane_functions import LANE_FUNCTIONS, REDUCTIONS
from .. import nn
from ..constants import Array, ConstantStore
from ..elements import element_type, format_of, shape_of
from ..sparsity import sparse

Semantics: TypeAlias = Callable[[Any, Sequence[Array], ConstantStore], tuple[Array, ...]]


def lanes(array: Array) -> Array:
    """Stored values as the vector engine computes on them: float32, int32 or bool."""
    return widen(array, Format.of_dtype(array.dtype))


def stored(values: Array, result: SSAValue) -> Array:
    """Lane values converted to the element type of `result`."""
    return narrow(values, format_of(element_type(result)))


def product(lhs: Array, rhs: Array) -> Array:
    """Matrix product of stored arrays: exact int32 (wrapping) of int8, float32 of floats."""
    if lhs.dtype == np.int8:
        # Doubles hold the sums of products of bytes exactly up to 2**39 terms.
        exact = np.matmul(lhs.astype(np.float64), rhs.astype(np.float64))
        return exact.astype(np.int64).astype(np.int32)
    with np.errstate(all="ignore"):
        return np.matmul(lanes(lhs), lanes(rhs))


def softmax(scores: Array, axis: int, zero_nan: bool) -> Array:
    """exp(x - max) / sum along `axis` of float32 scores; NaN results become 0 if `zero_nan`."""
    with np.errstate(all="ignore"):
        weights = np.exp(scores - scores.max(axis=axis, keepdims=True))
        result = weights / weights.sum(axis=axis, keepdims=True, dtype=np.float32)
    return np.where(np.isnan(result), np.float32(0), result) if zero_nan else result


def _constant(op: nn.ConstantOp, _: Sequence[Array], store: ConstantStore) -> tuple[Array, ...]:
    return (store.array(op.data),)


def _map(op: nn.MapOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    values = LANE_FUNCTIONS[op.function.data].evaluate(*(lanes(argument) for argument in arguments))
    return (stored(values, op.result),)


def _cast(op: nn.CastOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    return (stored(lanes(arguments[0]), op.result),)


def _reduce(op: nn.ReduceOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    axes = op.axes.get_values()
    values = lanes(arguments[0])
    kept = [axis for axis in range(values.ndim) if axis not in axes]
    rows = values.transpose(*kept, *axes).reshape(int(np.prod([values.shape[axis] for axis in kept])), -1)
    with np.errstate(all="ignore"):
        reduced = REDUCTIONS[op.kind.data].evaluate(rows, 1)
    return (stored(reduced.reshape(shape_of(op.result)), op.result),)


def _softmax(op: nn.SoftmaxOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    zero_nan = op.empty_row.data == nn.EmptyRow.ZERO
    return (stored(softmax(lanes(arguments[0]), op.axis.value.data, zero_nan), op.result),)


def moments(values: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Mean and variance over axes, which stay as ones: float32, the variance of distances from the mean."""
    with np.errstate(all="ignore"):
        mean = values.mean(axis=axes, keepdims=True, dtype=np.float32)
        centred = values - mean
        return mean, np.asarray(np.mean(centred * centred, axis=axes, keepdims=True, dtype=np.float32))


def layer_norm(
    values: Array, axes: tuple[int, ...], epsilon: float, scale: Array | None = None, bias: Array | None = None
) -> Array:
    """The layer normalization of float32 values over axes."""
    with np.errstate(all="ignore"):
        mean, variance = moments(values, axes)
        result = (values - mean) / np.sqrt(variance + np.float32(epsilon))
        result = result if scale is None else result * scale
        return result if bias is None else result + bias


def _layer_norm(op: nn.LayerNormOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    rest = [lanes(argument) for argument in arguments[1:]]
    values = lanes(arguments[0])
    axes = tuple(range(op.axis.value.data, values.ndim))
    scale = None if op.scale is None else rest.pop(0)
    bias = None if op.bias is None else rest.pop(0)
    return (stored(layer_norm(values, axes, op.epsilon.value.data, scale, bias), op.result),)


def _rms_norm(op: nn.RmsNormOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    values = lanes(arguments[0])
    axes = tuple(range(op.axis.value.data, values.ndim))
    with np.errstate(all="ignore"):
        square = np.mean(values * values, axis=axes, keepdims=True, dtype=np.float32)
        result = values / np.sqrt(square + np.float32(op.epsilon.value.data))
        if op.scale is not None:
            result = result * lanes(arguments[1])
    return (stored(result, op.result),)


def _matmul(op: nn.MatmulOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    lhs, rhs = arguments
    if op.threshold is not None:
        lhs = sparse(lhs, op.threshold.value.data)
    return (stored(product(lhs, rhs.swapaxes(-1, -2) if op.transpose_rhs is not None else rhs), op.result),)


def _transpose(op: nn.TransposeOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    return (arguments[0].transpose(op.permutation.get_values()),)


def _reshape(op: nn.ReshapeOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    return (arguments[0].reshape(shape_of(op.result)),)


def _broadcast(op: nn.BroadcastOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    return (np.broadcast_to(arguments[0], shape_of(op.result)),)


def _slice(op: nn.SliceOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    index = tuple(
        np.arange(size) * step + start
        for start, step, size in zip(op.starts.get_values(), op.steps.get_values(), shape_of(op.result), strict=True)
    )
    return (arguments[0][np.ix_(*index)] if index else arguments[0],)


def _concat(op: nn.ConcatOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    return (np.concatenate(arguments, axis=op.axis.value.data),)


def _pad(op: nn.PadOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    result = np.full(shape_of(op.result), arguments[1], arguments[0].dtype)
    inside = tuple(slice(low, low + size) for low, size in zip(op.low.get_values(), arguments[0].shape, strict=True))
    result[inside] = arguments[0]
    return (result,)


def _windows(op: nn.WindowsOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    values = arguments[0]
    spatial = values.strides[2:]
    strides = (
        *values.strides[:2],
        *(step * stride for step, stride in zip(spatial, op.strides.get_values(), strict=True)),
        *(step * dilation for step, dilation in zip(spatial, op.dilations.get_values(), strict=True)),
    )
    return (np.lib.stride_tricks.as_strided(values, shape_of(op.result), strides, writeable=False),)


def _gather_rows(op: nn.GatherRowsOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    table, ids = arguments
    limit = op.limit.value.data
    wrong = ids[(ids < 0) | (ids >= limit)]
    if wrong.size:
        raise InputError(
            f"{op.name} {op.path.data if op.path else ''}".rstrip(), f"id {wrong[0]} is outside 0..{limit}"
        )
    return (table[ids],)


def _greatest(op: nn.GreatestOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    values = arguments[0].reshape(-1, arguments[0].shape[-1])
    kept = greatest(values, op.count.value.data)
    if op.number is None:
        return (np.nonzero(kept)[1].reshape(shape_of(op.result)).astype(np.int32),)
    kept &= values >= arguments[1].reshape(-1, 1)
    number = kept.sum(axis=1, dtype=np.int32)
    places = np.argsort(~kept, axis=1, kind="stable")[:, : op.count.value.data]
    there = np.arange(op.count.value.data) < number[:, None]
    found = np.where(there, places, places[:, :1]).astype(np.int32)
    return found.reshape(shape_of(op.result)), number.reshape(shape_of(op.number))


def _iota(op: nn.IotaOp, _: Sequence[Array], __: ConstantStore) -> tuple[Array, ...]:
    shape, axis = shape_of(op.result), op.axis.value.data
    index = np.arange(shape[axis], dtype=np.int32).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return (np.broadcast_to(index, shape),)


def _cumsum(op: nn.CumsumOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    axis = op.axis.value.data
    values = lanes(arguments[0])
    values = np.flip(values, axis) if op.reverse is not None else values
    with np.errstate(all="ignore"):
        sums = np.cumsum(values, axis=axis, dtype=values.dtype)
    if op.exclusive is not None:
        shifted = np.zeros_like(sums)
        count = sums.shape[axis]
        np.moveaxis(shifted, axis, 0)[1:] = np.moveaxis(sums, axis, 0)[: max(count - 1, 0)]
        sums = shifted
    return (stored(np.flip(sums, axis) if op.reverse is not None else sums, op.result),)


def _along(row: Array, axis: Any, rank: int) -> Array:
    """A row of scales put along its axis; a scalar as it is."""
    values = lanes(row)
    return values if axis is None else values.reshape([-1 if i == axis.value.data else 1 for i in range(rank)])


def _quantize(op: nn.QuantizeOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    values = lanes(arguments[0])
    with np.errstate(all="ignore"):
        levels = np.rint(values / _along(arguments[1], op.axis, values.ndim))
        if op.zero_point is not None:
            levels = levels + _along(arguments[2], op.axis, values.ndim).astype(np.float32)
    return (stored(levels, op.result),)


def _dequantize(op: nn.DequantizeOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    levels = lanes(arguments[0])
    if op.zero_point is not None:
        levels = levels - _along(arguments[2], op.axis, levels.ndim)
    with np.errstate(all="ignore"):
        values = levels.astype(np.float32) * _along(arguments[1], op.axis, levels.ndim)
    return (stored(values, op.result),)


def _dynamic_quantize(op: nn.DynamicQuantizeOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    values = arguments[0]
    zero = np.float32(0)
    low, high = min(zero, values.min(initial=zero)), max(zero, values.max(initial=zero))
    with np.errstate(all="ignore"):
        scale = np.float32(high - low) / np.float32(255) if high != low else np.float32(1)
        zero_point = np.rint(np.clip(-low / scale, zero, np.float32(255)))
        levels = np.rint(values / scale) + zero_point
    return (
        stored(levels, op.result),
        np.asarray(scale, np.float32),
        stored(np.asarray(zero_point, np.float32), op.zero_point),
    )


SEMANTICS: dict[type[Operation], Semantics] = {
    nn.ConstantOp: _constant,
    nn.MapOp: _map,
    nn.CastOp: _cast,
    nn.ReduceOp: _reduce,
    nn.SoftmaxOp: _softmax,
    nn.LayerNormOp: _layer_norm,
    nn.RmsNormOp: _rms_norm,
    nn.MatmulOp: _matmul,
    nn.TransposeOp: _transpose,
    nn.ReshapeOp: _reshape,
    nn.BroadcastOp: _broadcast,
    nn.SliceOp: _slice,
    nn.ConcatOp: _concat,
    nn.PadOp: _pad,
    nn.WindowsOp: _windows,
    nn.GatherRowsOp: _gather_rows,
    nn.GreatestOp: _greatest,
    nn.IotaOp: _iota,
    nn.CumsumOp: _cumsum,
    nn.QuantizeOp: _quantize,
    nn.DequantizeOp: _dequantize,
    nn.DynamicQuantizeOp: _dynamic_quantize,
}
"""The meaning of each operation: (operation, its operands' arrays, the store) to its results' arrays."""
