"""Symmetric int8 scales: how a float tensor becomes i8 and the float32 factor that brings it back.

A scale lies along axes that the product keeps: one a row of the left operand (a token), one a column of the right one
(an output channel). Values are rint(x / factor) with factor = absmax / 127, so they lie in [-127, 127].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from xdsl.dialects.builtin import f32, i8
from xdsl.ir import SSAValue

from ...dialects import nn
from ...dialects.constants import Array, derived_key
from ...dialects.elements import element_type, shape_of
from ..builder import Builder

STEPS = 127.0
SMALLEST = float(np.finfo(np.float32).tiny) * STEPS
"""A row of zeros still needs a factor above zero."""


class Quantized(NamedTuple):
    """An i8 tensor and its f32 factor, which stretches to the tensor's shape."""

    values: SSAValue
    factor: SSAValue


def quantize_dynamic(build: Builder, value: SSAValue, axis: int) -> Quantized:
    """Scale by the greatest magnitude along `axis`, found when the program runs."""
    rank = len(shape_of(value))
    largest = build.reduce("max", build.map("abs", value), (axis % rank,), f32)
    factor = build.map("mul", build.map("max", largest, SMALLEST), 1.0 / STEPS, to=f32)
    return Quantized(_quantize(build, value, factor), factor)


def quantize_static(build: Builder, value: SSAValue, largest: Array) -> Quantized:
    """Scale by magnitudes known from calibration (shape () or one that stretches); greater values saturate.

    It multiplies by the reciprocal of the factor: one constant, where a division would keep the engine's only
    transcendental unit from the activation function before it.
    """
    factors = _static(largest)
    steps = build.map("rint", build.map("mul", value, build.constant(np.float32(1.0) / factors), to=f32))
    return Quantized(build.insert(nn.CastOp(steps, i8)), build.constant(factors))


def static_factor(build: Builder, largest: Array) -> SSAValue:
    """The factor of what `quantize_static` makes."""
    return build.constant(_static(largest))


def _static(largest: Array) -> Array:
    return np.maximum(largest, SMALLEST).astype(np.float32) * np.float32(1.0 / STEPS)


def quantize_constant(build: Builder, key: str, axis: int) -> Quantized:
    """A constant of the store as i8, scaled by its greatest magnitude along `axis`; made once, when first needed."""
    shape = build.store.shape(key)
    axis %= len(shape)
    factor_shape = (*shape[:axis], 1, *shape[axis + 1 :])
    scales = build.store.derive(
        derived_key("int8_factor", key, axis=axis),
        lambda array: _factors(array, axis),
        key,
        shape=factor_shape,
        dtype=np.dtype(np.float32),
    )
    values = build.store.derive(
        derived_key("int8", key, axis=axis),
        lambda array: np.rint(array.astype(np.float32) / _factors(array, axis)).astype(np.int8),
        key,
        shape=shape,
        dtype=np.dtype(np.int8),
    )
    return Quantized(build.named_constant(values), build.named_constant(scales))


def already_quantized(value: SSAValue, axis: int) -> Quantized | None:
    """An int8 constant times a constant factor that does not vary along `axis` (weight-only quantization, as its
    exporters write it): the model's own quantization serves. None for anything else."""
    product = value.owner
    if not isinstance(product, nn.MapOp) or product.function.data != "mul":
        return None
    for cast, factor in (product.inputs, reversed(product.inputs)):
        widened, constant = cast.owner, factor.owner
        if not isinstance(widened, nn.CastOp) or not isinstance(constant, nn.ConstantOp):
            continue
        weight = widened.input
        extents = (1,) * (len(shape_of(value)) - len(shape_of(factor))) + shape_of(factor)
        if isinstance(weight.owner, nn.ConstantOp) and element_type(weight) == i8 and extents[axis] == 1:
            return Quantized(weight, factor)
    return None


def _factors(array: Array, axis: int) -> Array:
    largest = np.abs(array.astype(np.float32)).max(axis=axis, keepdims=True)
    return np.maximum(largest, np.float32(SMALLEST)) * np.float32(1.0 / STEPS)


def _quantize(build: Builder, value: SSAValue, factor: SSAValue) -> SSAValue:
    steps = build.map("rint", build.map("div", value, factor, to=f32))
    return build.insert(nn.CastOp(steps, i8))
