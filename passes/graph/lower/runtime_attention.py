"""Rules for the fused attentions that ONNX Runtime's optimizer writes (domain com.microsoft)."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from ....dialects.elements import shape_of
from ....dialects.nn import EmptyRow
from ....dialects.sattn import AttentionOp
from .conditions import attribute_is, condition
from .lowering import Lowering, Rules
from .rotary import join_heads, split_heads


@condition(remedy="export without a cache that is written in place")
def no_shared_cache(rule: Lowering) -> bool:
    """`past_sequence_length` and `cache_indirection` are absent"""
    return not rule.has("past_sequence_length") and not rule.has("cache_indirection")


@condition(remedy="optimize the model with a mask of two or more axes, or export it unfused")
def mask_form_known(rule: Lowering) -> bool:
    """the mask has one length for each sequence, an end and a start for each, or a value for each key"""
    name = "mask_index" if rule.node.operator == "Attention" else "key_padding_mask"
    if not rule.has(name):
        return True
    shape, batch = rule.shape(name), rule.shape(0)[0]
    return len(shape) in (2, 3) or shape in ((batch,), (2 * batch,))


class FusedAttention(Lowering):
    """What both rules share: the mask, and the attention itself."""

    domain = "com.microsoft"

    def attend(self, query: SSAValue, key: SSAValue, value: SSAValue, mask_name: str, past: int) -> SSAValue:
        """The attention of heads `[batch, heads, rows, width]`, joined to `[batch, rows, hidden]`."""
        build = self.build
        queries, keys = shape_of(query)[2], shape_of(key)[2]
        mask = self.padding(mask_name, keys) if self.has(mask_name) else None
        if self.has("attention_bias"):
            bias = self.wide("attention_bias")
            mask = bias if mask is None else build.map("add", mask, bias)
        scale = self.attribute("scale", float, 0.0) or 1 / sqrt(shape_of(query)[3])
        causal = bool(self.attribute("unidirectional", int, 0)) and queries + past > 1
        operation = AttentionOp(
            query,
            key,
            value,
            mask,
            scale=scale,
            causal=causal,
            causal_offset=past if causal else 0,
            empty_row=EmptyRow.NAN,
        )
        return join_heads(build, build.insert(operation))

    def padding(self, name: str, keys: int) -> SSAValue:
        """The mask as an f32 value to add: 0 for keys that count, `mask_filter_value` for others."""
        build, mask, shape = self.build, self.operand(name), self.shape(name)
        batch = self.shape(0)[0]
        if len(shape) > 1:
            rows = (1, 1) if len(shape) == 2 else (1,)
            kept = build.map("gt", build.reshape(mask, (batch, *rows, *shape[1:])), 0)
        else:
            places = build.iota((1, 1, 1, keys), 3)
            ends = build.reshape(build.slice_axis(mask, 0, 0, batch), (batch, 1, 1, 1))
            kept = build.map("lt", places, ends)
            if shape == (2 * batch,):
                starts = build.reshape(build.slice_axis(mask, 0, batch, batch), (batch, 1, 1, 1))
                kept = build.map("and", kept, build.map("ge", places, starts))
        return build.map("select", kept, 0.0, self.attribute("mask_filter_value", float, -10000.0), to=f32)


class PackedAttention(FusedAttention):
    """`matmul` and `map` for the three projections at once, `slice`, `sattn.attention`."""

    operators = ("Attention",)
    conditions = (attribute_is("do_rotary", 0), no_shared_cache, mask_form_known)

    def lower(self) -> Sequence[SSAValue | None]:
        """Queries, keys and values are slices of input @ weights + bias; the past stands before the keys."""
        build, heads = self.build, self.attribute("num_heads", int, 1)
        projected = build.matmul(self.operand("input"), self.operand("weights"))
        if self.has("bias"):
            projected = build.map("add", projected, self.operand("bias"))
        width = shape_of(projected)[2]
        sizes = self.integers("qkv_hidden_sizes", (width // 3,) * 3)
        starts = np.cumsum((0, *sizes[:2])).tolist()
        query, key, value = (
            split_heads(build, build.slice_axis(projected, 2, start, size), heads)
            for start, size in zip(starts, sizes, strict=True)
        )
        before = 0
        if self.has("past"):
            past = self.operand("past")
            before = shape_of(past)[3]
            key, value = (
                build.concat((build.reshape(build.slice_axis(past, 0, place, 1), shape_of(past)[1:]), new), 2)
                for place, new in enumerate((key, value))
            )
        present = None
        if self.wants("present"):
            present = build.concat((build.unsqueeze(key, 0), build.unsqueeze(value, 0)), 0)
        return self.attend(query, key, value, "mask_index", before), present


@condition(remedy="feed query, key and value apart")
def operands_apart(rule: Lowering) -> bool:
    """query, key and value are three operands, the query of three axes"""
    return rule.has("key") and rule.has("value") and len(rule.shape("query")) == 3


class MultiHeadAttention(FusedAttention):
    """`map` for the bias, `sattn.attention`."""

    operators = ("MultiHeadAttention",)
    conditions = (operands_apart, no_shared_cache, mask_form_known)

    def lower(self) -> Sequence[SSAValue | None]:
        """The bias is that of queries, keys and values, joined; the past stands before the keys."""
        build, heads = self.build, self.attribute("num_heads", int, 1)
        start, parts = 0, list[SSAValue]()
        for name in ("query", "key", "value"):
            part = self.operand(name)
            width = shape_of(part)[2] if len(shape_of(part)) == 3 else shape_of(part)[1] * shape_of(part)[3]
            if len(shape_of(part)) == 3:
                if self.has("bias"):
                    part = build.map("add", part, build.slice_axis(self.operand("bias"), 0, start, width))
                part = split_heads(build, part, heads)
            start += width
            parts.append(part)
        query, key, value = parts
        before = 0
        if self.has("past_key"):
            before = self.shape("past_key")[2]
            key = build.concat((self.operand("past_key"), key), 2)
            value = build.concat((self.operand("past_value"), value), 2)
        return self.attend(query, key, value, "key_padding_mask", before), key, value


RULES: Rules = (PackedAttention, MultiHeadAttention)
