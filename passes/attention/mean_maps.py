"""Mean attention maps over calibration data, attached to attentions whose forms are made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from ...dialects import sattn
from ...dialects.constants import Array, ConstantStore, RefAttr
from ...dialects.interpret.function import run_for
from ...dialects.interpret.sattn import probabilities
from ..attention_rules import AttentionRule
from .rules import rules_of_heads


def attach_mean_maps(
    module: ModuleOp, store: ConstantStore, samples: Iterable[Sequence[Array]], rules: Sequence[AttentionRule]
) -> None:
    """Average the softmax of every attention with a head whose rule has a calibrated form, over `samples` (arguments of
    @main) and the batch. Raises UsageError for rules that match nothing."""
    decided = rules_of_heads(module, rules)
    asked = {op for op, heads in decided.items() if any(rule is not None and rule.form.calibrated for rule in heads)}
    if not asked:
        return
    totals = {op: np.zeros(op.extents[1:2] + op.extents[3:5]) for op in asked}
    runs = 0

    def observe(operation: Operation, arguments: Sequence[Array], _: Sequence[Array]) -> None:
        if isinstance(operation, sattn.AttentionOp) and operation in totals:
            totals[operation] += probabilities(operation, arguments).mean(axis=0)

    for sample in samples:
        run_for(module, sample, store, [op.result for op in asked], observe)
        runs += 1
    for op, total in totals.items():
        op.attributes[sattn.MEAN_MAP] = RefAttr(store.anonymous((total / max(runs, 1)).astype(np.float32)))
