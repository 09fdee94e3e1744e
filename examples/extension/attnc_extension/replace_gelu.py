"""GELU replaced by what costs the vector engine less: what a co-design study asks before it trains again."""

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.rewriter import Rewriter

from attnc.dialects import nn
from attnc.dialects.context import CompilerContext
from attnc.passes.builder import Builder
from attnc.passes.rewrite import carry

GELUS = ("gelu", "gelu_tanh")


@dataclass(frozen=True)
class ReplaceGelu(ModulePass):
    """Compute max(x, slope * x), a (leaky) ReLU, wherever the model has GELU in either form."""

    name = "replace-gelu"

    slope: float = 0.0

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite `op` in place."""
        assert isinstance(ctx, CompilerContext)
        for operation in list(op.walk()):
            if isinstance(operation, nn.MapOp) and operation.function.data in GELUS:
                (x,) = operation.inputs
                build = Builder.before(operation, ctx.store)
                result = build.map("max", x, build.map("mul", x, self.slope) if self.slope else 0.0)
                carry(operation, result.owner)
                Rewriter.replace_op(operation, [], [result])
