"""Softmax that is spelled out, and the guard that exporters put after it."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern

from ....dialects import nn
from ....dialects.constants import ConstantStore
from ....dialects.context import CompilerContext
from ....dialects.elements import element_type
from ....dialects.nn import EmptyRow
from ...rewrite import rewrite, rewrites, supersede
from ..matching import mapped, producer, reduced, scalar


@dataclass
class SpelledSoftmax(RewritePattern):
    """exp(x - max(x)) / sum of it along one axis."""

    @rewrites(nn.MapOp)
    def match_and_rewrite(self, op: nn.MapOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        if op.function.data != "div":
            return
        weights, total = mapped(op.inputs[0], "exp"), reduced(op.inputs[1], nn.Reduction.SUM)
        if weights is None or total is None or total.input is not weights.result:
            return
        shifted = mapped(weights.inputs[0], "sub")
        if shifted is None:
            return
        scores, largest = shifted.inputs[0], reduced(shifted.inputs[1], nn.Reduction.MAX)
        axes = total.axes.get_values()
        if largest is None or largest.input is not scores or largest.axes != total.axes or len(axes) != 1:
            return
        if scores.type == weights.result.type:
            supersede(rewriter, op, nn.SoftmaxOp(scores, axes[0], EmptyRow.NAN, element_type(op.result)))


@dataclass
class GuardedSoftmax(RewritePattern):
    """where(isnan(p), 0, p) of a softmax p: rows that are NaN become zeros."""

    store: ConstantStore

    @rewrites(nn.MapOp)
    def match_and_rewrite(self, op: nn.MapOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        if op.function.data != "select":
            return
        condition, when_nan, otherwise = op.inputs
        negation = mapped(condition, "not")
        if negation is not None:
            condition, when_nan, otherwise = negation.inputs[0], otherwise, when_nan
        test, softmax = mapped(condition, "is_nan"), producer(otherwise, nn.SoftmaxOp)
        if test is None or softmax is None or test.inputs[0] is not softmax.result:
            return
        if scalar(when_nan, self.store) == 0.0 and op.result.type == softmax.result.type:
            axis = softmax.axis.value.data
            guarded = nn.SoftmaxOp(softmax.input, axis, EmptyRow.ZERO, element_type(op.result))
            supersede(rewriter, op, guarded)


@dataclass(frozen=True)
class RecognizeSoftmax(ModulePass):
    """Fuse softmax and its guards."""

    name = "recognize-softmax"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite `op` in place."""
        rewrite(op, SpelledSoftmax(), GuardedSoftmax(CompilerContext.of(ctx).store))
