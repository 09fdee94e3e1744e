"""Dense attentions as ordinary products and passes, whose scores are tensors: what fusing them is measured against.

A fused attention (FLAT; Kao et al., 2023, arXiv 2107.06419) keeps the scores of a block of queries on chip until its
values are multiplied. Unfused, scores and weights are stored between kernels as any other tensor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, f32, i8, i32
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from ...dialects import sattn
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, is_bool, is_float, is_packed
from ...dialects.nn import EmptyRow
from ..builder import Builder
from ..rewrite import carry

LEVELS = 127.0
"""Greatest level of an int8 weight."""


@dataclass(frozen=True)
class UnfuseAttention(ModulePass):
    """Write dense attentions out. Those whose heads share keys, whose operands are packed or have a zero point, whose
    weights have levels that the model fixes, that tell what their keys are worth, and of a
    number of tokens that the run finds, stay as they are."""

    name = "unfuse-attention"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module."""
        store = CompilerContext.of(ctx).store
        for attention in [found for found in op.walk() if isinstance(found, sattn.AttentionOp)]:
            if _is_plain(attention):
                build = Builder.before(attention, store)
                _replace(attention, _weighted(build, attention, _scores(build, attention)))


def _is_plain(attention: sattn.AttentionOp) -> bool:
    _, heads, groups, *_ = attention.extents
    points = (attention.q_offset, attention.k_offset, attention.v_offset)
    more = (attention.p_scale, attention.p_thresholds, *points, attention.importance, attention.count)
    packed = any(is_packed(element_type(value)) for value in (attention.q, attention.k, attention.v))
    return attention.form.is_dense and heads == groups and not packed and all(value is None for value in more)


def _scores(build: Builder, attention: sattn.AttentionOp) -> SSAValue:
    """The scores in float32, masked, in the order of the operation's definition."""
    integers = not is_float(element_type(attention.q))
    product = build.matmul(attention.q, attention.k, transpose_rhs=True, element=i32 if integers else f32)
    scores = build.cast(product, f32)
    if attention.q_scale is not None and attention.k_scale is not None:
        scores = build.map("mul", build.map("mul", scores, attention.q_scale), build.swap_last(attention.k_scale))
    scores = build.map("mul", scores, attention.scale.value.data)
    if attention.softcap is not None:
        cap = attention.softcap.value.data
        scores = build.map("mul", build.map("tanh", build.map("div", scores, cap)), cap)
    fill = attention.fill.value.data
    if attention.mask is not None and is_bool(element_type(attention.mask)):
        scores = build.map("select", attention.mask, scores, fill)
    elif attention.mask is not None:
        scores = build.map("add", scores, build.widen(attention.mask))
    if attention.causal is not None:
        *_, queries, keys, _, _ = attention.extents
        seen = build.constant(np.tri(queries, keys, attention.causal_offset.value.data, dtype=np.bool_))
        scores = build.map("select", seen, scores, fill)
    return scores


def _weighted(build: Builder, attention: sattn.AttentionOp, scores: SSAValue) -> SSAValue:
    """The values weighted by exp(score - maximum), divided by the sum of the weights."""
    raw = build.map("exp", build.map("sub", scores, build.reduce("max", scores, (3,))))
    if attention.v_scale is None:
        weights = build.cast(raw, element_type(attention.v))
        total = build.reduce("sum", build.widen(weights), (3,))
        result = build.map("div", build.matmul(weights, attention.v, element=f32), total)
    else:
        total = build.map("mul", build.reduce("sum", raw, (3,)), LEVELS)
        levels = build.cast(build.map("rint", build.map("mul", raw, LEVELS)), i8)
        product = build.cast(build.matmul(levels, attention.v, element=i32), f32)
        result = build.map("div", build.map("mul", product, attention.v_scale), total)
    if attention.empty_row.data == EmptyRow.ZERO:
        result = build.map("select", build.map("is_nan", result), 0.0, result)
    return build.cast(result, element_type(attention.result))


def _replace(attention: sattn.AttentionOp, made: SSAValue) -> None:
    assert isinstance(made.owner, Operation)
    carry(attention, made.owner)
    attention.result.replace_all_uses_with(made)
    attention.detach()
    attention.erase()
