"""The values of `bnn` operations, in numpy: packed elements are int8 arrays of what they stand for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.ir import Operation

from ...isa.packed import signed_field
from .. import bnn
from ..bnn_types import bipolar
from ..constants import Array, ConstantStore
from ..elements import element_type, format_of
from .nn import Semantics, lanes, layer_norm, moments, stored


def _bits(upper: Array, element: object) -> Array:
    """Truth values as the upper and the lower bit of their type."""
    return np.where(upper, 1, -1 if element == bipolar else 0).astype(np.int8)


def packed_values(array: Array, element: bnn.Element) -> Array:
    """What elements of a packed type hold that `array` (lane values of any kind) was packed into, int8."""
    form = format_of(element)
    if form.bits == 1:
        return _bits(array if array.dtype == np.bool_ else array > 0, element)
    if array.dtype.kind == "f":
        low, high = form.limits
        return np.clip(np.nan_to_num(array), low, high).astype(np.int8)
    fields = array.astype(np.int32) & ((1 << form.bits) - 1)
    return (signed_field(fields, form.bits) if form.signed else fields).astype(np.int8)


def _binarize(op: bnn.BinarizeOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    value, threshold, *flip = arguments
    compare = np.greater_equal if op.tie.data == bnn.Tie.GE else np.greater
    upper = compare(value, threshold)
    return (_bits(upper ^ flip[0] if flip else upper, element_type(op.result)),)


def norm_bounds(scale: Array, bias: Array, threshold: Array) -> tuple[Array, Array]:
    """(for each column where a norm reaches its threshold, in standard deviations from the mean; whether the norm falls
    as its argument rises), of float32 constants [C]. What never or always reaches it has the greatest magnitude."""
    most = float(np.finfo(np.float32).max)
    with np.errstate(all="ignore"):
        distance = (threshold.astype(np.float64) - bias) / scale
    distance = np.where(scale == 0, np.where(bias >= threshold, -np.inf, np.inf), distance)
    return np.clip(distance, -most, most).astype(np.float32), np.asarray(scale < 0)


def _compare_norm(op: bnn.CompareNormOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    return (_compared(op, arguments),)


def _compared(op: bnn.CompareNormOp, arguments: Sequence[Array]) -> Array:
    values, (distance, falls) = lanes(arguments[0]), norm_bounds(*arguments[1:])
    mean, variance = moments(values, (values.ndim - 1,))
    with np.errstate(all="ignore"):
        bound = mean + np.sqrt(variance + np.float32(op.epsilon.value.data)) * distance
        reached = np.where(falls, values <= bound, values >= bound)
        below = np.where(falls, values > bound, values < bound)
    return reached if op.side.data == bnn.Side.GE else below


def flips_of_norm(op: bnn.CompareNormOp, arguments: Sequence[Array]) -> tuple[int, int]:
    """How many of how many bits the norm itself, compared with the threshold, would give otherwise."""
    values, scale, bias, threshold = (lanes(argument) for argument in arguments)
    norm = layer_norm(values, (values.ndim - 1,), op.epsilon.value.data, scale, bias)
    unfolded = norm >= threshold if op.side.data == bnn.Side.GE else norm < threshold
    return int((unfolded != _compared(op, arguments)).sum()), unfolded.size


def _pack(op: bnn.PackOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    return (packed_values(lanes(arguments[0]), element_type(op.result)),)


def _unpack(op: bnn.UnpackOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    return (stored(arguments[0].astype(np.int32), op.result),)


def _matmul(op: bnn.MatmulOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    lhs, rhs = (argument.astype(np.float64) for argument in arguments)
    # Doubles hold the sums of products of bytes exactly up to 2**39 terms.
    return (np.matmul(lhs, rhs.swapaxes(-1, -2)).astype(np.int64).astype(np.int32),)


def _sum(op: bnn.SumOp, arguments: Sequence[Array], _: ConstantStore) -> tuple[Array, ...]:
    return (arguments[0].sum(axis=-1, keepdims=True, dtype=np.int32),)


SEMANTICS: dict[type[Operation], Semantics] = {
    bnn.BinarizeOp: _binarize,
    bnn.CompareNormOp: _compare_norm,
    bnn.PackOp: _pack,
    bnn.UnpackOp: _unpack,
    bnn.MatmulOp: _matmul,
    bnn.SumOp: _sum,
}
"""The meaning of each operation, as in `interpret.nn`."""
