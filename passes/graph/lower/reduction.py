"""Rules for reductions, index of the extreme, and running sums."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import ClassVar

import numpy as np
from xdsl.dialects.builtin import TensorType, f32, i32, i64
from xdsl.ir import Attribute, SSAValue
from xdsl.utils.hints import isa

from ....dialects.elements import dtype_of, is_float, shape_of
from ...refusal import RefusalError
from .conditions import condition, constant_operand
from .lowering import Lowering, Rules


@condition(remedy="reduce a non-empty tensor")
def not_empty(rule: Lowering) -> bool:
    """the reduced axes are not empty"""
    return prod(rule.shape("data")) > 0


class Reduction(Lowering):
    """`reduce`, with maps before and after it for the composite ones; `reshape` where `keepdims` is 0."""

    of_empty: ClassVar[Mapping[str, float]] = {
        "ReduceL1": 0.0,
        "ReduceL2": 0.0,
        "ReduceLogSum": -np.inf,
        "ReduceLogSumExp": -np.inf,
        "ReduceMax": -np.inf,
        "ReduceMean": np.nan,
        "ReduceMin": np.inf,
        "ReduceProd": 1.0,
        "ReduceSum": 0.0,
        "ReduceSumSquare": 0.0,
    }
    operators = tuple(of_empty)
    conditions = (constant_operand("axes"),)

    def lower(self) -> SSAValue:
        """The reduction with extents of 1 kept, then the shape of the result."""
        if prod(self.shape("data")) == 0:
            return self.of_nothing()
        axes = self.axes()
        return self.build.reshape(self.reduced(axes), self.result_shape())

    def axes(self) -> tuple[int, ...]:
        """The reduced axes, ascending; none where the node asks for no reduction."""
        rank = len(self.shape("data"))
        axes: tuple[int, ...] = ()
        if self.has("axes"):
            axes = tuple(sorted({int(axis) % rank for axis in self.constant("axes").reshape(-1)}))
        if not axes and not self.attribute("noop_with_empty_axes", int, 0):
            axes = tuple(range(rank))
        return axes

    def reduced(self, axes: tuple[int, ...]) -> SSAValue:
        """The composite of the node's operator over `axes`."""
        build, operator = self.build, self.node.operator
        value = self.operand("data")
        if operator in ("ReduceMax", "ReduceMin"):
            return build.reduce("max" if operator == "ReduceMax" else "min", value, axes)
        if operator == "ReduceSum":
            return build.reduce("sum", value, axes)
        if operator == "ReduceProd":
            return self.product(build.widen(value), axes)
        if operator == "ReduceMean":
            return self.mean(value, axes)
        value = build.widen(value)
        if operator == "ReduceL1":
            return build.reduce("sum", build.map("abs", value), axes)
        if operator in ("ReduceL2", "ReduceSumSquare"):
            total = build.reduce("sum", build.map("mul", value, value), axes)
            return self.root(total) if operator == "ReduceL2" else total
        if operator == "ReduceLogSum":
            return build.map("log", build.reduce("sum", value, axes))
        return self.log_sum_exp(value, axes)

    def mean(self, value: SSAValue, axes: tuple[int, ...]) -> SSAValue:
        """The mean; of integers the sum divided with truncation."""
        if is_float(self.element("data")):
            return self.build.reduce("mean", value, axes)
        count = prod(self.shape("data")[axis] for axis in axes)
        return self.build.map("div", self.build.reduce("sum", self.build.widen(value), axes), count)

    def root(self, total: SSAValue) -> SSAValue:
        """The square root; of integers truncated."""
        build = self.build
        if is_float(self.element("data")):
            return build.map("sqrt", total)
        return build.cast(build.map("sqrt", build.cast(total, f32)), i32)

    def log_sum_exp(self, value: SSAValue, axes: tuple[int, ...]) -> SSAValue:
        """log(sum(exp(x - max))) + max, with a maximum of infinity left out of the shift."""
        build = self.build
        largest = build.reduce("max", value, axes)
        shift = build.map("select", build.map("is_inf", largest), 0.0, largest, to=f32)
        total = build.reduce("sum", build.map("exp", build.map("sub", value, shift)), axes)
        return build.map("add", build.map("log", total), shift)

    def product(self, value: SSAValue, axes: tuple[int, ...]) -> SSAValue:
        """The product, by multiplying halves."""
        build = self.build
        for axis in axes:
            while (extent := shape_of(value)[axis]) > 1:
                half = extent // 2
                pair = build.map(
                    "mul", build.slice_axis(value, axis, 0, half), build.slice_axis(value, axis, half, half)
                )
                if extent % 2:
                    pair = build.concat((pair, build.slice_axis(value, axis, 2 * half, 1)), axis)
                value = pair
        return value

    def of_nothing(self) -> SSAValue:
        """What the reduction of no elements gives."""
        dtype = dtype_of(self.result_element())
        value = self.of_empty[self.node.operator]
        if dtype.kind == "b":
            value = float(value > 0)
        elif dtype.kind in "iu" and not np.isfinite(value):
            if self.is_int64():
                raise RefusalError("int64 travels as int32, which does not have its bounds", not_empty.remedy)
            bounds = np.iinfo(dtype)
            value = 0 if np.isnan(value) else bounds.max if value > 0 else bounds.min
        return self.build.constant(np.full(self.result_shape(), value, dtype))

    def is_int64(self) -> bool:
        """Whether the model's own type of the result is int64."""
        made = self.result_type()
        return isa(made, TensorType[Attribute]) and made.element_type == i64


class ArgExtreme(Lowering):
    """`reduce` of the value, then of the positions where it stands; NaN counts as the extreme."""

    functions: ClassVar[Mapping[str, str]] = {"ArgMax": "max", "ArgMin": "min"}
    operators = tuple(functions)
    conditions = (not_empty,)

    def lower(self) -> SSAValue:
        """The first (or last) position that equals the extreme along the axis."""
        build, value = self.build, self.operand("data")
        shape = self.shape("data")
        axis = self.axis(len(shape), 0)
        extent = shape[axis]
        last = bool(self.attribute("select_last_index", int, 0))
        extreme = build.reduce(self.functions[self.node.operator], value, (axis,))
        found = build.map("eq", value, extreme)
        if is_float(self.element("data")):
            found = build.map("or", found, build.map("is_nan", value))
        positions = build.iota(shape, axis)
        candidates = build.map("select", found, positions, -1 if last else extent, to=i32)
        index = build.reduce("max" if last else "min", candidates, (axis,))
        return build.reshape(index, self.result_shape())


class RunningSum(Lowering):
    """`cumsum`."""

    operators = ("CumSum",)
    conditions = (constant_operand("axis"),)

    def lower(self) -> SSAValue:
        """One running sum."""
        value = self.operand("x")
        axis = int(self.constant("axis").reshape(())) % len(self.shape("x"))
        exclusive = bool(self.attribute("exclusive", int, 0))
        reverse = bool(self.attribute("reverse", int, 0))
        return self.build.cumsum(value, axis, exclusive=exclusive, reverse=reverse)


RULES: Rules = (Reduction, ArgExtreme, RunningSum)
