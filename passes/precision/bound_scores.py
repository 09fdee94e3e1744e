"""Softmaxes of small scores without a row's maximum.

A softmax takes the maximum off its scores so that exp neither overflows nor vanishes. Integers of few levels bound the
scores beforehand: where no score exceeds 64 in magnitude, exp(score) and the sums of rows are normal float32 numbers
with all their digits. The score is rounded to float32 before a maximum would be taken off, so that weights are as
precise without; their last places may differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isinf

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, UnitAttr
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from ...dialects import nn, sattn
from ...dialects.constants import ConstantStore
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, is_bool
from .recognize_levels import BYTE
from .value_sets import ValueSets

MOST = 64.0
"""exp of it is 6.2e27: a row of a million such weights is still far from the greatest float32, 3.4e38."""


@dataclass(frozen=True)
class BoundScores(ModulePass):
    """Mark attentions of quantized weights whose scores are known to be small."""

    name = "bound-scores"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Set the property `bounded`."""
        store = CompilerContext.of(ctx).store
        sets = ValueSets(store)
        for attention in op.walk():
            if isinstance(attention, sattn.AttentionOp) and _is_bounded(attention, sets, store):
                attention.properties["bounded"] = UnitAttr()


def _is_bounded(attention: sattn.AttentionOp, sets: ValueSets, store: ConstantStore) -> bool:
    fixed = attention.p_scale is not None or attention.p_thresholds is not None
    if not fixed or attention.weights.data == sattn.Weights.SCORES:
        return False
    if attention.q_offset is not None or attention.k_offset is not None:
        return False
    # What is hidden has a weight of 0; what is added to scores may be of any size.
    if attention.mask is not None and not is_bool(element_type(attention.mask)):
        return False
    if (attention.mask is not None or attention.causal is not None) and not isinf(attention.fill.value.data):
        return False
    bound = attention.extents[5] * abs(attention.scale.value.data)
    for value, scale in ((attention.q, attention.q_scale), (attention.k, attention.k_scale)):
        factor = _greatest(scale, store)
        if factor is None:
            return False
        levels = sets.of(value) or BYTE
        bound *= max(map(abs, levels)) * factor
    return bound <= MOST


def _greatest(scale: SSAValue | None, store: ConstantStore) -> float | None:
    """The greatest magnitude of a constant; None for what is not known before the program runs."""
    if scale is None or not isinstance(scale.owner, nn.ConstantOp):
        return None
    return float(np.abs(store.array(scale.owner.data)).max(initial=0.0))
