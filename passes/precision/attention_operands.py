"""Attention on other operands than it was recognised with."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import SSAValue

from ...dialects import sattn
from ...dialects.elements import element_type, shape_of
from ..builder import Builder


def integer_attention(
    attention: sattn.AttentionOp,
    values: Sequence[SSAValue],
    scales: Sequence[SSAValue],
    p_scale: SSAValue | None = None,
    p_zero_point: int = 0,
    p_thresholds: SSAValue | None = None,
    p_levels: int = 0,
    weights: sattn.Weights = sattn.Weights.SOFTMAX,
    v_offset: SSAValue | None = None,
    q_offset: SSAValue | None = None,
    k_offset: SSAValue | None = None,
    v_zero_point: int = 0,
    key_block: int = 0,
) -> sattn.AttentionOp:
    """The attention on int8 queries, keys and values that `scales` (of four axes) bring back."""
    q, k, v = values
    q_scale, k_scale, v_scale = scales
    made = sattn.AttentionOp(
        q,
        k,
        v,
        attention.mask,
        scale=attention.scale.value.data,
        causal=attention.causal is not None,
        causal_offset=attention.causal_offset.value.data,
        fill=attention.fill.value.data,
        softcap=None if attention.softcap is None else attention.softcap.value.data,
        empty_row=attention.empty_row.data,
        q_scale=q_scale,
        k_scale=k_scale,
        v_scale=v_scale,
        p_scale=p_scale,
        p_zero_point=p_zero_point,
        p_thresholds=p_thresholds,
        p_levels=p_levels,
        weights=weights,
        v_offset=v_offset,
        q_offset=q_offset,
        k_offset=k_offset,
        v_zero_point=v_zero_point,
        key_block=key_block,
        form=attention.form.data,
        pattern=attention.pattern,
        count=attention.count,
        element=element_type(attention.result),
        importance=attention.importance is not None,
    )
    for name in (sattn.MEAN_MAP, sattn.HEADS):
        if name in attention.attributes:
            made.attributes[name] = attention.attributes[name]
    return made


def with_rank_4(build: Builder, factor: SSAValue) -> SSAValue:
    """A factor with leading axes of extent 1 in front of its own."""
    shape = shape_of(factor)
    return build.reshape(factor, (1,) * (4 - len(shape)) + shape)
