"""How a model quantizes the weights of an attention, read from what stands between the scores and the values.

Quantizers of few levels are chains of monotone functions: whatever the spelling, the rounding and the ties, such a
chain is known by the weights at which it reaches each level. Those are found by evaluating the chain itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from ...dialects import nn
from ...dialects.constants import Array, ConstantStore
from ...dialects.elements import element_type, shape_of, ui8
from ...dialects.nn import EmptyRow
from ...dialects.sattn import Weights
from ...isa.frozen import frozen
from ..builder import Builder
from ..graph.recognize.attention import SpelledAttention, softmax_of
from ..integer_product import SHIFT
from .dequantized import Dequantized
from .level_chain import LevelChain, least_reaching, step_to
from .monotone import Step

COMPARED = 3
"""Up to so many levels are made by comparisons; more by rounding, where that gives the same."""

LEVELS = 127
"""int8 holds so many levels above 0."""


@frozen
class Levels:
    """Levels of weights, which are a softmax of the `scores` or those themselves: by a scale and a zero point as int8
    (`most` 0: all of int8, else 0 to `most`), or by `most` thresholds along a last axis; `factor` is what a level
    stands for. `if_defined`: only where no weight is NaN, which the model gives a level of its own."""

    scores: SSAValue
    empty_row: EmptyRow
    weights: Weights
    factor: Dequantized
    scale: SSAValue | Array | None
    zero_point: int
    most: int = 0
    thresholds: Array | None = None
    if_defined: bool = False

    @staticmethod
    def of(value: SSAValue, spelled: SpelledAttention) -> Levels | None:
        """What makes the weights `value`, whose every step has one user."""
        store = spelled.store
        found = Dequantized.of(value, store)
        if found is None or found.axis is not None or not value.has_one_use():
            return None
        quantized = _by_quantizer(value, found, store)
        if quantized is not None:
            return quantized
        zero = found.signed_zero(store)
        if zero is None or zero + (SHIFT if element_type(found.source) == ui8 else 0):
            return None
        if not all(isinstance(step, nn.ReshapeOp) for step in found.steps):
            return None
        steps: list[Step] = []
        source = found.source
        while source.has_one_use():
            if element_type(source) == f32:
                chain, softmax = LevelChain(tuple(steps), store), softmax_of(source)
                if softmax is not None:
                    return _made(softmax.input, softmax.empty_row.data, Weights.SOFTMAX, found, chain)
                if spelled.reads(source):
                    return _made(source, EmptyRow.NAN, Weights.SCORES, found, chain)
            step = step_to(source, store)
            if step is None:
                return None
            steps.insert(0, step)
            source = step.operation.operands[step.place]
        return None

    def scale_value(self, build: Builder) -> SSAValue | None:
        """The scale as a value of four axes."""
        if self.scale is None:
            return None
        scale = self.scale if isinstance(self.scale, SSAValue) else build.constant(self.scale)
        return build.reshape(scale, (1, 1, 1, 1))


def _by_quantizer(value: SSAValue, found: Dequantized, store: ConstantStore) -> Levels | None:
    """A quantized and at once dequantized softmax of all levels of a byte."""
    dequantize = value.owner
    if not isinstance(dequantize, nn.DequantizeOp):
        return None
    quantize = dequantize.input.owner
    if not isinstance(quantize, nn.QuantizeOp) or not quantize.result.has_one_use():
        return None
    softmax = softmax_of(quantize.input)
    zero = _scalar(quantize.zero_point, store)
    alike = zero == _scalar(dequantize.zero_point, store)
    scale = _scalar(quantize.scale, store)
    if softmax is None or zero is None or not alike or scale is None or scale != _scalar(dequantize.scale, store):
        return None
    moved = SHIFT if element_type(quantize.result) == ui8 else 0
    empty_row = softmax.empty_row.data
    return Levels(softmax.input, empty_row, Weights.SOFTMAX, found, quantize.scale, int(zero) - moved)


def _scalar(value: SSAValue | None, store: ConstantStore) -> float | None:
    """The number that a constant holds; 0 for none, None for anything else."""
    if value is None:
        return 0.0
    constant = value.owner
    if shape_of(value) != () or not isinstance(constant, nn.ConstantOp):
        return None
    return float(store.array(constant.data))


def _made(
    scores: SSAValue, empty_row: EmptyRow, weights: Weights, factor: Dequantized, chain: LevelChain
) -> Levels | None:
    """The levels that a chain makes of a softmax (weights of 0 to 1) or of scores: whole numbers from 0 up."""
    shape = _stretched(chain, shape_of(scores))
    if shape is None or not chain.rises:
        return None
    low, high = (0.0, 1.0) if weights is Weights.SOFTMAX else (-np.inf, np.inf)
    ends = [chain(np.full(shape, end, np.float32)) for end in (low, high, np.nan)]
    least, greatest, undefined = (end.astype(np.int64) for end in ends)
    most, if_defined = int(greatest.max()), bool(undefined.any())
    if least.any() or not 0 < most <= LEVELS:
        return None
    levels = np.arange(1, most + 1)
    thresholds = least_reaching(chain, levels, shape, low, high)
    if most <= COMPARED:
        return Levels(scores, empty_row, weights, factor, None, 0, most, thresholds, if_defined)
    if weights is Weights.SCORES:
        return None
    for scale in _scales(chain, factor):
        rounded = least_reaching(lambda p, scale=scale: np.rint(p / scale), levels, (1,) * len(shape), low, high)
        if np.array_equal(np.broadcast_to(rounded, thresholds.shape), thresholds):
            return Levels(scores, empty_row, weights, factor, scale.reshape(()), 0, most, None, if_defined)
    return None


def _stretched(chain: LevelChain, scores: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape that the constants of a chain stretch to, in four axes, the last 1; None where they vary with keys, or
    scores of another shape."""
    shapes = [array.shape for array in chain.constants if array.size != 1]
    if not shapes:
        return 1, 1, 1, 1
    shape = np.broadcast_shapes((1, 1, 1, 1), *shapes)
    return shape if len(scores) == len(shape) and shape[-1] == 1 else None


def _scales(chain: LevelChain, factor: Dequantized) -> Iterator[Array]:
    """Positive numbers by which the chain may divide before it rounds."""
    if factor.scale is not None and isinstance(factor.scale.owner, nn.ConstantOp):
        yield from (array for array in (chain.store.array(factor.scale.owner.data),) if array.size == 1)
    yield from (array for array in chain.constants if array.size == 1 and array.dtype == np.float32 and array > 0)
