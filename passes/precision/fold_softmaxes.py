"""Softmaxes that are compared with thresholds become scores that are compared with logarithms.

exp(s) / sum >= t is s >= log(sum) + log(t): no division, and no exponential is kept. That reassociates the softmax's
float32 operations, so it is done where it is asked for only.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from ...dialects import sattn


@dataclass(frozen=True)
class FoldSoftmaxes(ModulePass):
    """Compare scores with the logarithm of their row's sum where thresholds make levels of a softmax."""

    name = "fold-softmaxes"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Set the property `weights` of attentions."""
        for attention in op.walk():
            if not isinstance(attention, sattn.AttentionOp) or attention.p_thresholds is None:
                continue
            if attention.weights.data == sattn.Weights.SOFTMAX:
                attention.properties["weights"] = sattn.WeightsAttr(sattn.Weights.LOG_SOFTMAX)
