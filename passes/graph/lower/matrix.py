"""Rules for matrix products of floats (and, without the matrix engine, of wide integers)."""

from __future__ import annotations

from xdsl.dialects.builtin import f32, i32
from xdsl.ir import SSAValue

from ....dialects.elements import is_float, shape_of
from ...builder import Builder
from .lowering import Lowering, Rules


def product(build: Builder, lhs: SSAValue, rhs: SSAValue) -> SSAValue:
    """`numpy.matmul`: vectors are rows or columns that vanish from the result."""
    row, column = len(shape_of(lhs)) == 1, len(shape_of(rhs)) == 1
    left = build.unsqueeze(lhs, 0) if row else lhs
    right = build.unsqueeze(rhs, 1) if column else rhs
    result = build.matmul(left, right)
    shape = list(shape_of(result))
    if column:
        del shape[-1]
    if row:
        del shape[-1 if column else -2]
    return build.reshape(result, shape)


class MatMul(Lowering):
    """`matmul`; integers by `map` and `reduce`."""

    operators = ("MatMul",)

    def lower(self) -> SSAValue:
        """One product; vectors are reshaped to matrices."""
        return product(self.build, self.operand("A"), self.operand("B"))


class Gemm(Lowering):
    """`matmul`, with `transpose_rhs` for `transB`, then `map` for alpha, beta and C."""

    operators = ("Gemm",)

    def lower(self) -> SSAValue:
        """alpha * A' @ B' + beta * C; the scaling of integers is exact for whole alpha and beta."""
        build = self.build
        lhs, rhs = self.operand("A"), self.operand("B")
        if self.attribute("transA", int, 0):
            lhs = build.swap_last(lhs)
        result = build.matmul(lhs, rhs, transpose_rhs=bool(self.attribute("transB", int, 0)))
        result = self.scaled(result, self.attribute("alpha", float, 1.0))
        if self.has("C"):
            result = build.map("add", result, self.scaled(self.operand("C"), self.attribute("beta", float, 1.0)))
        return result

    def scaled(self, value: SSAValue, factor: float) -> SSAValue:
        """The value times a factor of the node."""
        if factor == 1.0:
            return value
        if is_float(self.element("A")):
            return self.build.map("mul", value, factor)
        as_float = self.build.cast(value, f32)
        return self.build.cast(self.build.map("mul", as_float, factor), i32)


RULES: Rules = (MatMul, Gemm)
