"""Symmetric int8 scales: how a float tensor becomes i8 and the float32 factor that brings it back.

A scale lies along axes that the product keeps: one a row of the left operand (a token), one a column of the
right one (an output channel). Values are rint(x / factor) with factor = absmax / 127, so they lie in [-127,
127].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from xdsl.dialects.builtin import f32, i8
from xdsl.ir import SSAValue

from ...dialects.constants import Array, derived_key
from ...dialects.elements import shape_of
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
    largest = build.reduce("max", build.map("abs", value), (axis % len(shape_of(value)),), f32)
    factor = build.map("mul", build.map("max", largest, SMALLEST), 1.0 / STEPS, to=f32)
    return Quantized(build.cast(build.map("rint", build.map("div", value, factor, to=f32)), i8), factor)


def quantize_static(build: Builder, value: SSAValue, largest: Array) -> Quantized:
    """Scale by magnitudes known from calibration (shape () or one that stretches); greater values saturate.

    It multiplies by the reciprocal of the factor: one constant, where a division would keep the engine's only
    transcendental unit from the activation function before it.
    """
    factors = _factors(largest)
    levels = build.map("rint", build.map("mul", value, build.constant(np.float32(1.0) / factors), to=f32))
    return Quantized(build.cast(levels, i8), build.constant(factors))


def static_factor(build: Builder, largest: Array) -> SSAValue:
    """The factor of what `quantize_static` makes."""
    return build.constant(_factors(largest))


BYTES_KEY = "int8"
"""The transformation that keys of constants scaled to bytes name."""


def is_scaled_to_bytes(key: str) -> bool:
    """Whether `quantize_constant` makes the constant of this key."""
    return key.startswith((f"{BYTES_KEY}(", f"{BYTES_KEY}:"))


def quantize_constant(build: Builder, key: str, axis: int) -> Quantized:
    """A constant of the store as i8, scaled by its greatest magnitude along `axis`; made once, when first
    needed."""

    def factors(array: Array) -> Array:
        return _factors(_largest(array, axis))

    def levels(array: Array, factor: Array) -> Array:
        with np.errstate(invalid="ignore"):
            scaled = np.divide(array, factor, dtype=np.float32)
        np.rint(scaled, out=scaled)
        # Only infinities and NaN have factors that are not finite.
        return (scaled if np.isfinite(factor).all() else np.nan_to_num(scaled)).astype(np.int8)

    shape = build.store.shape(key)
    factor_shape = tuple(1 if place == axis else extent for place, extent in enumerate(shape))
    scales = build.store.derive(
        derived_key("int8_factor", key, axis=axis), factors, key, shape=factor_shape, dtype=np.dtype(np.float32)
    )
    values = build.store.derive(
        derived_key(BYTES_KEY, key, axis=axis), levels, key, scales, shape=shape, dtype=np.dtype(np.int8)
    )
    return Quantized(build.named_constant(values), build.named_constant(scales))


def _largest(array: Array, axis: int) -> Array:
    """The greatest magnitudes along an axis, which is kept; NaN where there is one."""
    highest = array.max(axis=axis, keepdims=True, initial=0).astype(np.float32)
    return np.maximum(highest, -array.min(axis=axis, keepdims=True, initial=0).astype(np.float32))


def _factors(largest: Array) -> Array:
    return np.maximum(largest, np.float32(SMALLEST)).astype(np.float32) * np.float32(1.0 / STEPS)
