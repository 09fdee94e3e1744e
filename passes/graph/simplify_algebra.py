"""Arithmetic that gives the same values in fewer or cheaper operations: exact to the bit, except that a power
with a small whole exponent becomes products (a transcendental function's last places)."""

from __future__ import annotations

from dataclasses import dataclass
from math import frexp, isfinite

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, f32
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern

from ...dialects import nn
from ...dialects.constants import ConstantStore
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, is_float, shape_of
from ..rewrite import accounted, bypass, rewrite, rewrites, supersede
from .matching import constant, mapped, scalar

NEUTRAL = {"mul": 1.0, "div": 1.0, "pow": 1.0, "sub": 0.0}
"""Right operands that leave every left one as it is, to the bit."""

INVOLUTIONS = ("neg", "not", "bit_not")


@dataclass
class DropNeutral(RewritePattern):
    """x * 1, 1 * x, x / 1, x ** 1 and x - 0 are x; so are x + 0 and 0 + x of integers."""

    store: ConstantStore

    @rewrites(nn.MapOp)
    def match_and_rewrite(self, op: nn.MapOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        if len(op.inputs) != 2:
            return
        left, right = op.inputs
        function = op.function.data
        integer_sum = function == "add" and not is_float(element_type(op.result))
        neutral = 0.0 if integer_sum else NEUTRAL.get(function)
        if neutral is None:
            return
        if scalar(right, self.store) == neutral and left.type == op.result.type:
            bypass(rewriter, op, left)
        elif function in ("mul", "add") and scalar(left, self.store) == neutral and right.type == op.result.type:
            bypass(rewriter, op, right)


@dataclass
class DivideByPowerOfTwo(RewritePattern):
    """Division of floats by a power of two is multiplication by its reciprocal, exactly."""

    store: ConstantStore

    @rewrites(nn.MapOp)
    def match_and_rewrite(self, op: nn.MapOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        if op.function.data != "div" or not is_float(element_type(op.result)):
            return
        divisor = scalar(op.inputs[1], self.store)
        if divisor is None or divisor == 0 or not isfinite(divisor):
            return
        mantissa, exponent = frexp(divisor)
        if abs(mantissa) != 0.5 or not -120 < exponent < 120:
            return
        shape = shape_of(op.inputs[1])
        reciprocal = nn.ConstantOp(np.full(shape, 1.0 / divisor, np.float32))
        product = nn.MapOp("mul", (op.inputs[0], reciprocal), element_type(op.result))
        supersede(rewriter, op, product, before=(reciprocal,))


@dataclass
class PowersAsProducts(RewritePattern):
    """x ** 2 is x * x and x ** 3 is x * x * x."""

    store: ConstantStore

    @rewrites(nn.MapOp)
    def match_and_rewrite(self, op: nn.MapOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        if op.function.data != "pow" or op.inputs[0].type != op.result.type:
            return
        exponent, base = scalar(op.inputs[1], self.store), op.inputs[0]
        element = element_type(op.result)
        if exponent == 2.0:
            supersede(rewriter, op, nn.MapOp("mul", (base, base), element))
        elif exponent == 3.0:
            square = nn.MapOp("mul", (base, base), f32 if is_float(element) else element)
            supersede(rewriter, op, nn.MapOp("mul", (square, base), element), before=(square,))


@dataclass
class DecidedSelections(RewritePattern):
    """A selection whose condition is the same everywhere is what it selects."""

    store: ConstantStore

    @rewrites(nn.MapOp)
    def match_and_rewrite(self, op: nn.MapOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        if op.function.data != "select":
            return
        condition = constant(op.inputs[0], self.store)
        if condition is None or condition.size == 0 or condition.min() != condition.max():
            return
        chosen: SSAValue = op.inputs[1] if condition.flat[0] else op.inputs[2]
        if element_type(chosen) != element_type(op.result):
            return
        if chosen.type == op.result.type:
            bypass(rewriter, op, chosen)
        else:
            supersede(rewriter, op, nn.BroadcastOp(chosen, shape_of(op.result)))


class DropInvolutions(RewritePattern):
    """A negation of a negation is what was negated."""

    @rewrites(nn.MapOp)
    def match_and_rewrite(self, op: nn.MapOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        if op.function.data not in INVOLUTIONS:
            return
        inner = mapped(op.inputs[0], op.function.data)
        if inner is not None and inner.inputs[0].type == op.result.type == inner.result.type:
            bypass(rewriter, op, inner.inputs[0])


@dataclass(frozen=True)
class SimplifyAlgebra(ModulePass):
    """Leave out arithmetic that changes nothing and choose cheaper spellings of the rest."""

    name = "simplify-algebra"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite `op` in place."""
        store = CompilerContext.of(ctx).store
        with accounted(op, "its arithmetic changes no value"):
            rewrite(
                op,
                DropNeutral(store),
                DivideByPowerOfTwo(store),
                PowersAsProducts(store),
                DecidedSelections(store),
                DropInvolutions(),
            )
