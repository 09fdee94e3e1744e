"""Rules for softmax and for normalizations."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from xdsl.dialects.builtin import f32, i32
from xdsl.ir import SSAValue

from ....dialects import nn
from ....dialects.elements import shape_of
from ...builder import Builder
from .conditions import attribute_is
from .lowering import Lowering, Rules


def channels(build: Builder, value: SSAValue, rank: int) -> SSAValue:
    """`[C]` as `[C, 1, ...]`, to go with `[N, C, ...]` of the given rank."""
    return build.reshape(value, (*shape_of(value), *(1 for _ in range(rank - 2))))


class Softmax(Lowering):
    """`softmax`; a row that is -inf everywhere gives NaN."""

    operators = ("Softmax",)

    def lower(self) -> SSAValue:
        """One softmax."""
        value = self.operand("input")
        return self.build.softmax(value, self.axis(len(shape_of(value))))


class LogSoftmax(Lowering):
    """`reduce max`, `map`, `reduce sum`, `map`: x - max - log(sum(exp(x - max)))."""

    operators = ("LogSoftmax",)

    def lower(self) -> SSAValue:
        """Four maps and two reductions."""
        build, value = self.build, self.wide("input")
        axes = (self.axis(len(shape_of(value))),)
        shifted = build.map("sub", value, build.reduce("max", value, axes))
        total = build.reduce("sum", build.map("exp", shifted), axes)
        return build.map("sub", shifted, build.map("log", total))


class Hardmax(Lowering):
    """`reduce max`, `map` of `eq`, `reduce min` of the places: 1 at the first greatest, else 0."""

    operators = ("Hardmax",)

    def lower(self) -> SSAValue:
        """Two reductions and three maps."""
        build, value = self.build, self.operand("input")
        shape = shape_of(value)
        axis = self.axis(len(shape))
        places = build.iota(shape, axis)
        found = build.map("eq", value, build.reduce("max", value, (axis,)))
        first = build.reduce("min", build.map("select", found, places, shape[axis], to=i32), (axis,))
        return build.cast(build.map("eq", places, first), self.result_element())


class LayerNorm(Lowering):
    """`layer_norm` over the axes from `axis` on; `Mean` and `InvStdDev` by `reduce` and `map`."""

    operators = ("LayerNormalization",)

    def lower(self) -> Sequence[SSAValue | None]:
        """The normalization in float32, whatever `stash_type` says."""
        build, value = self.build, self.operand("X")
        axis = self.axis(len(shape_of(value)))
        epsilon = self.attribute("epsilon", float, 1e-5)
        scale, bias = self.optional("Scale"), self.optional("B")
        result = build.insert(nn.LayerNormOp(value, scale, bias, axis, epsilon, self.result_element()))
        axes = range(axis, len(shape_of(value)))
        mean = build.reduce("mean", build.widen(value), axes) if self.wants("Mean") else None
        inverse = inverse_deviation(build, value, axes, epsilon) if self.wants("InvStdDev") else None
        return result, mean, inverse


def inverse_deviation(build: Builder, value: SSAValue, axes: Sequence[int], epsilon: float) -> SSAValue:
    """1 / sqrt(variance + epsilon) over axes that stay."""
    variance = build.reduce("variance", build.widen(value), axes)
    return build.map("rsqrt", build.map("add", variance, epsilon))


class RmsNorm(Lowering):
    """`rms_norm` over the axes from `axis` on."""

    operators = ("RMSNormalization", "SimplifiedLayerNormalization")

    def lower(self) -> Sequence[SSAValue | None]:
        """The normalization in float32, whatever `stash_type` says."""
        build, value = self.build, self.operand("X")
        axis = self.axis(len(shape_of(value)))
        epsilon = self.attribute("epsilon", float, 1e-5)
        result = build.insert(nn.RmsNormOp(value, self.operand("scale"), axis, epsilon, self.result_element()))
        if not self.wants(1):
            return (result,)
        wide = build.widen(value)
        square = build.reduce("mean", build.map("mul", wide, wide), range(axis, len(shape_of(value))))
        return result, build.map("rsqrt", build.map("add", square, epsilon))


class InstanceNorm(Lowering):
    """`layer_norm` over the spatial axes, with a scale and bias for each channel."""

    operators = ("InstanceNormalization",)

    def lower(self) -> SSAValue:
        """One normalization."""
        build, value = self.build, self.operand("input")
        rank = len(shape_of(value))
        scale, bias = (channels(build, self.operand(name), rank) for name in ("scale", "B"))
        epsilon = self.attribute("epsilon", float, 1e-5)
        return build.insert(nn.LayerNormOp(value, scale, bias, 2, epsilon))


class GroupNorm(Lowering):
    """`reshape` to groups, `layer_norm`, `reshape`, `map` for scale and bias."""

    operators = ("GroupNormalization",)

    def lower(self) -> SSAValue:
        """One normalization over the channels of a group and all places, in float32."""
        build, value = self.build, self.operand("X")
        shape, count = shape_of(value), self.attribute("num_groups", int, 1)
        groups = build.reshape(value, (shape[0], count, prod(shape[1:]) // count))
        epsilon = self.attribute("epsilon", float, 1e-5)
        normal = build.reshape(build.insert(nn.LayerNormOp(groups, None, None, 2, epsilon, f32)), shape)
        scaled = build.map("mul", normal, channels(build, self.wide("scale"), len(shape)))
        return build.map("add", scaled, channels(build, self.wide("bias"), len(shape)))


class MeanVarianceNorm(Lowering):
    """`reduce` and `map`: (x - mean) / (sqrt(variance) + 1e-9)."""

    operators = ("MeanVarianceNormalization",)

    def lower(self) -> SSAValue:
        """Two reductions and four maps."""
        build, value = self.build, self.wide("X")
        rank = len(shape_of(value))
        axes = [axis % rank for axis in self.integers("axes", (0, 2, 3))]
        deviation = build.map("add", build.map("sqrt", build.reduce("variance", value, axes)), 1e-9)
        return build.map("div", build.map("sub", value, build.reduce("mean", value, axes)), deviation)


class LpNorm(Lowering):
    """`reduce` and `map`: x / sum(|x| ** p) ** (1 / p), and 0 where that is 0."""

    operators = ("LpNormalization",)
    conditions = (attribute_is("p", 1, 2),)

    def lower(self) -> SSAValue:
        """One reduction and four maps."""
        build, value = self.build, self.wide("input")
        axes = (self.axis(len(shape_of(value))),)
        if self.attribute("p", int, 2) == 1:
            norm = build.reduce("sum", build.map("abs", value), axes)
        else:
            norm = build.map("sqrt", build.reduce("sum", build.map("mul", value, value), axes))
        return build.map("select", build.map("eq", norm, 0.0), 0.0, build.map("div", value, norm), to=f32)


class LocalResponseNorm(Lowering):
    """`pad`, `windows` over channels, `reduce sum`, `map`."""

    operators = ("LRN",)

    def lower(self) -> SSAValue:
        """x / (bias + alpha / size * sum of squares of near channels) ** beta."""
        build, value = self.build, self.wide("X")
        shape = shape_of(value)
        size = self.attribute("size", int, 1)
        squares = build.reshape(build.map("mul", value, value), (shape[0], 1, shape[1], prod(shape[2:])))
        padded = build.pad(squares, (0, 0, (size - 1) // 2, 0), (0, 0, size // 2, 0), 0)
        near = build.reduce("sum", build.windows(padded, (size, 1), (1, 1), (1, 1)), (4, 5))
        scaled = build.map("mul", build.reshape(near, shape), self.attribute("alpha", float, 1e-4) / size)
        base = build.map("add", scaled, self.attribute("bias", float, 1.0))
        return build.map("div", value, build.map("pow", base, self.attribute("beta", float, 0.75)))


class BatchNorm(Lowering):
    """`map`: x * factor + offset, where constant statistics fold into factor and offset."""

    operators = ("BatchNormalization",)
    conditions = (attribute_is("training_mode", 0, remedy="export the model for inference"),)

    def lower(self) -> SSAValue:
        """factor = scale / sqrt(var + epsilon), offset = B - mean * factor, in ONNX Runtime's order."""
        build, value = self.build, self.wide("X")
        rank, epsilon = len(shape_of(value)), np.float32(self.attribute("epsilon", float, 1e-5))
        names = ("scale", "B", "input_mean", "input_var")
        if all(self.is_constant(name) for name in names):
            scale, bias, mean, variance = (self.constant(name).astype(np.float32) for name in names)
            known = scale / np.sqrt(variance + epsilon)
            factor, offset = build.constant(known), build.constant(bias - mean * known)
        else:
            weight, bias, mean, variance = (self.wide(name) for name in names)
            deviation = build.map("sqrt", build.map("add", variance, float(epsilon)))
            factor = build.map("div", weight, deviation)
            offset = build.map("sub", bias, build.map("mul", mean, factor))
        scaled = build.map("mul", value, channels(build, factor, rank))
        return build.map("add", scaled, channels(build, offset, rank))


RULES: Rules = (
    Softmax,
    LogSoftmax,
    Hardmax,
    LayerNorm,
    RmsNorm,
    InstanceNorm,
    GroupNorm,
    MeanVarianceNorm,
    LpNorm,
    LocalResponseNorm,
    BatchNorm,
)
