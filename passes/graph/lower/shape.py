"""Rules for operators whose result is known when compiling: shapes, ranges and filled tensors."""

from __future__ import annotations

from math import prod

import numpy as np
from xdsl.ir import SSAValue

from .conditions import constant_operand
from .lowering import Lowering, Rules


class Shape(Lowering):
    """A constant: shapes are static."""

    operators = ("Shape", "Size")

    def lower(self) -> SSAValue:
        """The extents from `start` to `end`, or the number of elements."""
        shape = self.shape(0)
        if self.node.operator == "Size":
            return self.build.constant(np.asarray(prod(shape), np.int64))
        start, end = self.attribute("start", int, 0), self.attribute("end", int, len(shape))
        return self.build.constant(np.asarray(shape[start:end], np.int64))


class ConstantOfShape(Lowering):
    """A constant stretched to the shape."""

    operators = ("ConstantOfShape",)
    conditions = (constant_operand("input"),)

    def lower(self) -> SSAValue:
        """One broadcast."""
        value = self.tensor_attribute("value", np.zeros(1, np.float32))
        return self.build.broadcast(self.build.constant(value.reshape(())), self.result_shape())


class Range(Lowering):
    """A constant."""

    operators = ("Range",)
    conditions = (constant_operand("start", "limit", "delta"),)

    def lower(self) -> SSAValue:
        """start + i * delta; f16 and bf16 in float32."""
        start, delta = (self.constant(name).reshape(()) for name in ("start", "delta"))
        dtype = start.dtype if start.dtype.kind in "iu" else np.dtype(np.float32)
        steps = np.arange(self.result_shape()[0]).astype(dtype)
        values = start.astype(dtype) + steps * delta.astype(dtype)
        return self.build.constant(values.astype(start.dtype))


class EyeLike(Lowering):
    """`map` of `eq` of row and column index, cast."""

    operators = ("EyeLike",)

    def lower(self) -> SSAValue:
        """Ones where column - row = k."""
        build, shape = self.build, self.result_shape()
        diagonal = build.map("sub", build.iota(shape, 1), build.iota(shape, 0))
        return build.cast(build.map("eq", diagonal, self.attribute("k", int, 0)), self.result_element())


RULES: Rules = (Shape, ConstantOfShape, Range, EyeLike)
