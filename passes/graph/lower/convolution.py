"""Rules for convolutions: windows of the input, times the weights as a matrix."""

from __future__ import annotations

from math import prod

from xdsl.ir import SSAValue

from ....dialects.constants import Array
from ....dialects.elements import shape_of
from ...builder import Builder
from ...integer_product import Bytes, integer_product
from .conditions import condition
from .lowering import Lowering, Rules
from .quantization import per_channel, requantized, scalar_zero_point
from .spatial import auto_pad_known, geometry, spatial_of


def patches(build: Builder, windows: SSAValue, group: int) -> SSAValue:
    """`[N, C, out..., kernel...]` as a matrix per group: `[N, G, P, K]`, or `[N, P, K]` for one group."""
    shape = shape_of(windows)
    rank = (len(shape) - 2) // 2
    out, kernel = shape[2 : 2 + rank], shape[2 + rank :]
    split = build.reshape(windows, (shape[0], group, shape[1] // group, *out, *kernel))
    places = range(3, 3 + rank)
    taps = range(3 + rank, 3 + 2 * rank)
    ordered = build.transpose(split, (0, 1, *places, 2, *taps))
    matrix = (shape[0], group, prod(out), shape[1] // group * prod(kernel))
    return build.reshape(ordered, matrix if group > 1 else (matrix[0], *matrix[2:]))


def filters(build: Builder, weights: SSAValue, group: int) -> SSAValue:
    """`[M, C / G, kernel...]` as a matrix per group: `[G, M / G, K]`, or `[M, K]` for one group."""
    shape = shape_of(weights)
    matrix = (group, shape[0] // group, prod(shape[1:]))
    return build.reshape(weights, matrix if group > 1 else matrix[1:])


def channels_first(build: Builder, product: SSAValue, out: tuple[int, ...]) -> SSAValue:
    """`[N, G, P, M / G]` or `[N, P, M]` as `[N, M, out...]`."""
    swapped = build.swap_last(product)
    return build.reshape(swapped, (shape_of(swapped)[0], prod(shape_of(swapped)[1:-1]), *out))


@condition(remedy="correct the model")
def groups_divide(rule: Lowering) -> bool:
    """`group` divides the channels of input and output"""
    group = rule.attribute("group", int, 1)
    return rule.shape(0)[1] % group == 0 and rule.result_shape()[1] % group == 0


class Convolution(Lowering):
    """`pad`, `windows`, `transpose`, `reshape`, `matmul` (one for each group), bias by `map`, `transpose`."""

    operators = ("Conv",)
    conditions = (auto_pad_known, groups_divide)

    def lower(self) -> SSAValue:
        """One, two, three or more spatial axes, any stride, dilation, padding and number of groups."""
        build, group = self.build, self.attribute("group", int, 1)
        value, weights = self.operand("X"), self.operand("W")
        out = self.result_shape()[2:]
        windows = geometry(self, spatial_of(value), spatial_of(weights), out).windows(build, value, 0)
        lhs, rhs = patches(build, windows, group), filters(build, weights, group)
        result = build.matmul(lhs, rhs, transpose_rhs=True)
        if self.has("B"):
            bias = self.operand("B")
            if group > 1:
                bias = build.reshape(bias, (group, 1, shape_of(bias)[0] // group))
            result = build.map("add", result, bias)
        return channels_first(build, result, out)


class IntegerConvolution(Lowering):
    """As `Conv`, with the exact integer product of bytes; `QLinearConv` adds bias and requantizes."""

    operators = ("ConvInteger", "QLinearConv")
    conditions = (auto_pad_known, groups_divide, scalar_zero_point("x_zero_point"))

    def lower(self) -> SSAValue:
        """The padding stands for 0, so it is the input's zero point."""
        build, group = self.build, self.attribute("group", int, 1)
        weights = self.operand("w")
        value = Bytes.of(build, self.operand("x"), self.zero_point("x_zero_point"))
        kernels = Bytes.of(build, weights, self.zero_point("w_zero_point"))
        out = self.result_shape()[2:]
        windows = geometry(self, self.shape("x")[2:], self.shape("w")[2:], out).windows(
            build, value.value, value.scalar_zero(build)
        )
        channels = self.shape("w")[0]
        row = (group, 1, channels // group) if group > 1 else (1, channels)
        lhs = value.reshaped(build, patches(build, windows, group), ())
        rhs = kernels.reshaped(build, filters(build, kernels.value, group), row)
        total = integer_product(build, lhs, rhs, transpose_rhs=True)
        if self.node.operator == "ConvInteger":
            return channels_first(build, total, out)
        if self.has("B"):
            total = build.map("add", total, build.reshape(self.operand("B"), row))
        weight_scale = per_channel(build, self.operand("w_scale"), row)
        result = requantized(self, total, self.operand("x_scale"), weight_scale, "y_scale", "y_zero_point")
        return channels_first(build, result, out)

    def zero_point(self, name: str) -> SSAValue | Array | None:
        """A zero point: an array if known, None if absent."""
        if not self.has(name):
            return None
        return self.constant(name) if self.is_constant(name) else self.operand(name)


RULES: Rules = (Convolution, IntegerConvolution)
