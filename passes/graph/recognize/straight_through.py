"""What straight-through estimators leave behind: (levels - x) + x, whose gradient is that of x, is levels.

PyTorch code spells a quantizer q with the gradient of x as (q(x) - x).detach() + x (LSQ, ReActNet), and exporters keep
the arithmetic. It gives q(x) in the reals, and to the rounding of |q(x)| + |x| in floats; where q rounds x, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern

from ....dialects import nn
from ....dialects.constants import ConstantStore
from ....dialects.context import CompilerContext
from ....dialects.elements import element_type, is_float
from ...rewrite import accounted, bypass, rewrite, rewrites
from ..matching import mapped, orders, scalar

STEPPING = ("rint", "floor", "ceil", "trunc", "sign", "select")
SCALING = ("mul", "div", "add", "sub", "min", "max", "neg")


@dataclass
class ForwardValue(RewritePattern):
    """(a - x) + x is a, where a is made of steps."""

    store: ConstantStore

    @rewrites(nn.MapOp)
    def match_and_rewrite(self, op: nn.MapOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        if op.function.data != "add" or not is_float(element_type(op.result)):
            return
        for difference, added in orders(op):
            taken = mapped(difference, "sub")
            if taken is None or taken.inputs[1] is not added or scalar(added, self.store) is not None:
                continue
            levels = taken.inputs[0]
            if levels.type == op.result.type and is_stepped(levels):
                bypass(rewriter, op, levels)
                return


def is_stepped(value: SSAValue) -> bool:
    """Whether a value is made of rounding, comparisons or integers, perhaps scaled, moved and clamped."""
    made = value.owner
    if isinstance(made, nn.DequantizeOp):
        return True
    if isinstance(made, nn.CastOp):
        return not is_float(element_type(made.input)) or is_stepped(made.input)
    if isinstance(made, nn.TransposeOp | nn.ReshapeOp):
        return is_stepped(made.input)
    if not isinstance(made, nn.MapOp):
        return False
    function = made.function.data
    return function in STEPPING or (function in SCALING and any(map(is_stepped, made.inputs)))


@dataclass(frozen=True)
class DropStraightThrough(ModulePass):
    """Leave out the arithmetic that only carried a gradient."""

    name = "drop-straight-through"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite `op` in place."""
        with accounted(op, "it only carried a gradient"):
            rewrite(op, ForwardValue(CompilerContext.of(ctx).store))
