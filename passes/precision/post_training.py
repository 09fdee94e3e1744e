"""Scales of formats of few bits for models that were not trained for them: whole levels and the factor behind them.

Each rule is that of a paper, one factor for each index of the axes that a product keeps:

- `GREATEST`: the greatest magnitude is the greatest level, as for int8.
- `MEAN_MAGNITUDE` (XNOR-Net; Rastegari et al. 2016): sign(x) times the mean of |x|; 0 counts as positive.
- `TERNARY_WEIGHTS` (TWN; Li et al. 2016): levels of -1, 0 and 1 by a threshold of 0.7 times the mean of |x|, times the
  mean of the magnitudes above it.
- `STEP_SIZE` (LSQ; Esser et al. 2020): its initial step, 2 * mean |x| / sqrt(greatest level).

Values that are never negative (behind a ReLU or a softmax) have levels from 0 up; the step of few levels then is
4 * mean |x| / sqrt(greatest level) (BiT; Liu et al. 2022).
"""

from __future__ import annotations

from enum import Enum

import numpy as np
from xdsl.dialects.builtin import f32, i8
from xdsl.ir import SSAValue

from ...dialects.constants import Array, derived_key
from ...dialects.elements import shape_of
from ...isa.frozen import frozen
from ..builder import Builder
from .scales import Quantized

SMALLEST = float(np.finfo(np.float32).tiny) * 256
"""A row of zeros still needs a factor above zero."""

TWN_THRESHOLD = 0.7


class Rule(Enum):
    """How a factor is found."""

    GREATEST = "greatest"
    MEAN_MAGNITUDE = "mean magnitude"
    TERNARY_WEIGHTS = "ternary weights"
    STEP_SIZE = "step size"


@frozen
class Levels:
    """The levels `low` to `high` of a format, 0 to `most` for what is never negative, and the rule of their factor."""

    low: int
    high: int
    most: int
    rule: Rule

    def of_constant(self, build: Builder, key: str, axis: int) -> Quantized:
        """A constant of the store, with factors that stay the same along `axis`; made when first needed."""

        def factors(array: Array) -> Array:
            return self._factors(np.abs(_finite(array)).astype(np.float32), axis)

        def levels(array: Array, factor: Array) -> Array:
            return self._levels(_finite(array).astype(np.float32), factor, axis)

        shape = build.store.shape(key)
        factor_shape = tuple(1 if place == axis else extent for place, extent in enumerate(shape))
        about = {"low": self.low, "high": self.high, "rule": self.rule.value, "axis": axis}
        scales = build.store.derive(
            derived_key("few_bit_factor", key, **about), factors, key, shape=factor_shape, dtype=np.dtype(np.float32)
        )
        values = build.store.derive(
            derived_key("few_bits", key, **about), levels, key, scales, shape=shape, dtype=np.dtype(np.int8)
        )
        return Quantized(build.named_constant(values), build.named_constant(scales))

    def of_value(
        self, build: Builder, value: SSAValue, axis: int, known: tuple[Array, Array] | None = None, signed: bool = True
    ) -> Quantized:
        """A float value, with factors found along `axis` when the program runs, or from the greatest and the mean
        magnitude that calibration found."""
        low, high = (self.low, self.high) if signed else (0, self.most)
        if known is None:
            kind, share = self._share(high, signed)
            magnitude = build.map("abs", value) if signed else value
            found = build.reduce(kind, magnitude, (axis % len(shape_of(value)),), f32)
            factor = build.map("max", build.map("mul", found, share, to=f32), SMALLEST)
        else:
            factor = self.known_factor(build, known, signed)
        if self.rule is Rule.MEAN_MAGNITUDE and signed:
            is_positive = build.map("ge", value, 0.0)
            return Quantized(build.cast(build.map("select", is_positive, 1.0, -1.0, to=f32), i8), factor)
        rounded = build.map("rint", build.map("div", value, factor, to=f32))
        bounded = build.map("max", build.map("min", rounded, float(high)), float(low))
        return Quantized(build.cast(bounded, i8), factor)

    def known_factor(self, build: Builder, known: tuple[Array, Array], signed: bool) -> SSAValue:
        """The factor of what `of_value` makes from the greatest and the mean magnitude."""
        kind, share = self._share(self.high if signed else self.most, signed)
        found = (known[0] if kind == "max" else known[1]) * np.float32(share)
        return build.constant(np.maximum(found, np.float32(SMALLEST)).astype(np.float32))

    def _share(self, high: int, signed: bool) -> tuple[str, float]:
        """What is taken of the magnitudes of a value, and the share of it that is one level."""
        if self.rule is Rule.GREATEST:
            return "max", 1.0 / high
        if self.rule is Rule.MEAN_MAGNITUDE and signed:
            return "mean", 1.0
        return "mean", (2.0 if signed else 4.0) / float(np.sqrt(high))

    def _factors(self, size: Array, axis: int) -> Array:
        mean = size.mean(axis=axis, keepdims=True, dtype=np.float32)
        if self.rule is Rule.TERNARY_WEIGHTS:
            above = size > np.float32(TWN_THRESHOLD) * mean
            total = np.where(above, size, 0).sum(axis=axis, keepdims=True, dtype=np.float32)
            found = total / np.maximum(above.sum(axis=axis, keepdims=True), 1)
        else:
            kind, share = self._share(self.high, True)
            found = (size.max(axis=axis, keepdims=True, initial=0) if kind == "max" else mean) * np.float32(share)
        return np.maximum(found, np.float32(SMALLEST)).astype(np.float32)

    def _levels(self, array: Array, factor: Array, axis: int) -> Array:
        if self.rule is Rule.MEAN_MAGNITUDE:
            return np.where(array >= 0, 1, -1).astype(np.int8)
        if self.rule is Rule.TERNARY_WEIGHTS:
            mean = np.abs(array).mean(axis=axis, keepdims=True, dtype=np.float32)
            return (np.sign(array) * (np.abs(array) > np.float32(TWN_THRESHOLD) * mean)).astype(np.int8)
        return np.clip(np.rint(array / factor), self.low, self.high).astype(np.int8)


def _finite(array: Array) -> Array:
    return array if np.isfinite(array).all() else np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0)


INT8 = Levels(-127, 127, 127, Rule.GREATEST)
INT4 = Levels(-7, 7, 15, Rule.GREATEST)
INT2 = Levels(-2, 1, 3, Rule.STEP_SIZE)
BINARY = Levels(-1, 1, 1, Rule.MEAN_MAGNITUDE)


@frozen
class Format:
    """What weights and activations of a product become."""

    weights: Levels
    activations: Levels


FORMATS: dict[str, Format] = {
    "int4": Format(INT4, INT4),
    "int2": Format(INT2, INT2),
    "ternary": Format(Levels(-1, 1, 2, Rule.TERNARY_WEIGHTS), Levels(-1, 1, 2, Rule.STEP_SIZE)),
    "binary": Format(BINARY, BINARY),
    "w1a8": Format(BINARY, INT8),
    "w1a4": Format(BINARY, INT4),
    "w1a2": Format(BINARY, INT2),
    "w1a1": Format(BINARY, BINARY),
}
"""Formats of fewer bits than 8, by the names that recipes have for them."""
