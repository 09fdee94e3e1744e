"""GELU, its tanh form and SiLU, spelled out with erf, tanh, sigmoid or exp, as the lane function each is."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt

from xdsl.context import Context
from xdsl.dialects.builtin import BFloat16Type, Float16Type, ModuleOp
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern

from ....dialects import nn
from ....dialects.constants import ConstantStore
from ....dialects.context import CompilerContext
from ....dialects.elements import element_type, shape_of
from ....isa.frozen import frozen
from ...rewrite import rewrite, rewrites, supersede
from ..matching import close, mapped, orders, scalar, users
from .polynomial import Polynomial, arguments, matches, polynomial, results

_CUBE = 0.044715
_SLOPE = sqrt(2.0 / pi)


@frozen
class Spelling:
    """An activation of x written as a polynomial of x and t = function(p(x)).

    `argument` is p and `result` the whole, both as polynomials of x (and t).
    """

    activation: str
    function: str
    argument: Polynomial
    result: Polynomial


_HALVES: Polynomial = {(1, 0): 0.5, (1, 1): 0.5}

SPELLINGS = (
    Spelling("gelu", "erf", {(1, 0): sqrt(0.5)}, _HALVES),
    Spelling("gelu_tanh", "tanh", {(1, 0): _SLOPE, (3, 0): _SLOPE * _CUBE}, _HALVES),
    Spelling("gelu_tanh", "sigmoid", {(1, 0): 2 * _SLOPE, (3, 0): 2 * _SLOPE * _CUBE}, {(1, 1): 1.0}),
    Spelling("silu", "sigmoid", {(1, 0): 1.0}, {(1, 1): 1.0}),
)
"""What exporters write, in any order and grouping of its factors and terms."""


@dataclass
class SpelledActivation(RewritePattern):
    """An expression around erf, tanh or sigmoid that is an activation function of one value."""

    store: ConstantStore

    @rewrites(nn.MapOp)
    def match_and_rewrite(self, op: nn.MapOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        spellings = [spelling for spelling in SPELLINGS if spelling.function == op.function.data]
        if not spellings:
            return
        # Constants of half-precision models are themselves rounded to 8 or 11 bits.
        narrow = isinstance(element_type(op.result), Float16Type | BFloat16Type)
        tolerance = 4e-3 if narrow else 1e-5
        for spelling in spellings:
            for x in arguments(op.inputs[0], self.store):
                if not matches(polynomial(op.inputs[0], (x,), self.store), spelling.argument, tolerance):
                    continue
                for root in results(op.result) if len(users(op.result)) == 1 else ():
                    found = polynomial(root.result, (x, op.result), self.store)
                    if matches(found, spelling.result, tolerance) and shape_of(root.result) == shape_of(x):
                        fused = nn.MapOp(spelling.activation, (x,), element_type(root.result))
                        supersede(rewriter, root, fused)
                        return


@dataclass
class SpelledSigmoid(RewritePattern):
    """1 / (1 + exp(-x)) is sigmoid(x), and y / (1 + exp(-x)) is y * sigmoid(x)."""

    store: ConstantStore

    @rewrites(nn.MapOp)
    def match_and_rewrite(self, op: nn.MapOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        if op.function.data not in ("div", "reciprocal"):
            return
        total = mapped(op.inputs[-1], "add")
        for one, power in orders(total) if total is not None else ():
            exponential = mapped(power, "exp")
            negated = mapped(exponential.inputs[0], "neg") if exponential is not None else None
            if negated is None or not close(scalar(one, self.store), 1.0):
                continue
            sigmoid = nn.MapOp("sigmoid", negated.inputs, element_type(op.result))
            if op.function.data == "reciprocal" or scalar(op.inputs[0], self.store) == 1.0:
                supersede(rewriter, op, sigmoid)
            else:
                product = nn.MapOp("mul", (op.inputs[0], sigmoid.result), element_type(op.result))
                supersede(rewriter, op, product, before=(sigmoid,))
            return


@dataclass(frozen=True)
class RecognizeActivations(ModulePass):
    """Fuse activation functions that are spelled out."""

    name = "recognize-activations"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite `op` in place."""
        store = CompilerContext.of(ctx).store
        rewrite(op, SpelledSigmoid(store), SpelledActivation(store))
