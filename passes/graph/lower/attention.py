"""The rule for ONNX's Attention operator."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from ....dialects.elements import element_type, is_bool, shape_of
from ....dialects.nn import EmptyRow
from ....dialects.sattn import AttentionOp
from ....isa.frozen import frozen
from ...builder import Builder
from .conditions import attribute_is, condition
from .lowering import Lowering, Rules
from .rotary import join_heads, split_heads


@condition(remedy="give `q_num_heads` and `kv_num_heads`")
def heads_known(rule: Lowering) -> bool:
    """the operands have four axes, or `q_num_heads` and `kv_num_heads` are given"""
    if len(rule.shape("Q")) == 4:
        return True
    return min(rule.attribute("q_num_heads", int, 0), rule.attribute("kv_num_heads", int, 0)) > 0


@frozen
class Mask:
    """What a score may see: `additive` is added to it, where `allowed` is false it becomes -inf. With
    `causal_offset`, query i sees key j only if j <= i + offset. A row can be empty only if `may_be_empty`.
    """

    additive: SSAValue | None = None
    allowed: SSAValue | None = None
    causal_offset: int | None = None
    may_be_empty: bool = False

    def operand(self, build: Builder) -> SSAValue | None:
        """Additive and allowed as one mask."""
        if self.additive is None or self.allowed is None:
            return self.allowed if self.additive is None else self.additive
        return build.map("select", self.allowed, self.additive, -np.inf)

    def bias(self, build: Builder, queries: int, keys: int) -> SSAValue | None:
        """All of it as one f32 value to add to scores, the causal part included."""
        mask = self
        if self.causal_offset is not None:
            mask = mask.restricted(build, causal(build, queries, keys, self.causal_offset))
        merged = mask.operand(build)
        if merged is None or not is_bool(element_type(merged)):
            return None if merged is None else build.cast(merged, f32)
        return build.map("select", merged, 0.0, -np.inf, to=f32)

    def restricted(self, build: Builder, allowed: SSAValue) -> Mask:
        """The mask with a further condition."""
        both = allowed if self.allowed is None else build.map("and", self.allowed, allowed)
        return Mask(self.additive, both, self.causal_offset, may_be_empty=True)


def causal(build: Builder, queries: int, keys: int, offset: SSAValue | int) -> SSAValue:
    """Where key j <= query i + offset; an offset of the run is `[batch, 1, 1, 1]`."""
    return build.map("le", build.iota((1, 1, queries, keys), 3), position(build, queries, keys, offset))


def position(build: Builder, queries: int, keys: int, offset: SSAValue | int) -> SSAValue:
    """The place of each query among the keys."""
    rows = build.iota((1, 1, queries, keys), 2)
    return rows if isinstance(offset, int) and offset == 0 else build.map("add", rows, offset)


class Attention(Lowering):
    """`sattn.attention`; scores that the model also asks for are made by `matmul`, `map` and `softmax`
    instead.
    """

    operators = ("Attention",)
    conditions = (
        heads_known,
        attribute_is("qk_matmul_output_mode", 0, 1, 2, 3),
    )

    def lower(self) -> Sequence[SSAValue | None]:
        """Heads split from three axes, the past joined, masks merged. Softmax is in float32, whatever
        `softmax_precision` says; a fully masked row gives zeros."""
        build = self.build
        query, key, value = (self.heads(name) for name in ("Q", "K", "V"))
        if self.has("past_key"):
            key = build.concat((self.operand("past_key"), key), 2)
            value = build.concat((self.operand("past_value"), value), 2)
        scale = self.attribute("scale", float, 1 / sqrt(shape_of(query)[3]))
        mask = self.mask(shape_of(query)[2], shape_of(key)[2])
        softcap = self.attribute("softcap", float, 0.0)
        scores: SSAValue | None = None
        if self.wants("qk_matmul_output"):
            result, scores = self.spelled_out(query, key, value, mask, scale, softcap)
        else:
            result = build.insert(
                AttentionOp(
                    query,
                    key,
                    value,
                    mask.operand(build),
                    scale=scale,
                    causal=mask.causal_offset is not None,
                    causal_offset=mask.causal_offset or 0,
                    softcap=softcap or None,
                    empty_row=EmptyRow.ZERO if mask.may_be_empty else EmptyRow.NAN,
                )
            )
        joined = join_heads(build, result) if len(self.shape("Q")) == 3 else result
        return joined, key, value, scores

    def heads(self, name: str) -> SSAValue:
        """An operand as `[batch, heads, rows, width]`."""
        value = self.operand(name)
        if len(shape_of(value)) == 4:
            return value
        heads = self.attribute("q_num_heads" if name == "Q" else "kv_num_heads", int, 0)
        return split_heads(self.build, value, heads)

    def mask(self, queries: int, keys: int) -> Mask:
        """The operand `attn_mask`, causality, windows and the lengths of the keys, together."""
        build = self.build
        lengths = self.lengths()
        offset: SSAValue | int = 0
        if self.has("past_key"):
            offset = self.shape("past_key")[2]
        elif lengths is not None:
            offset = build.map("sub", lengths, queries)
        mask = Mask()
        if self.has("attn_mask"):
            given = self.given_mask(keys)
            truth = is_bool(element_type(given))
            mask = Mask(None if truth else given, given if truth else None, may_be_empty=True)
        if self.attribute("is_causal", int, 0):
            if isinstance(offset, int):
                mask = Mask(mask.additive, mask.allowed, offset, mask.may_be_empty)
            else:
                mask = mask.restricted(build, causal(build, queries, keys, offset))
        for name in ("left_window_size", "right_window_size"):
            size = self.attribute(name, int, -1)
            if size >= 0:
                mask = mask.restricted(build, self.window(name, size, queries, keys, offset))
        if lengths is not None:
            mask = mask.restricted(build, build.map("lt", build.iota((1, 1, queries, keys), 3), lengths))
        return mask

    def lengths(self) -> SSAValue | None:
        """The number of valid keys as `[batch, 1, 1, 1]`."""
        if not self.has("nonpad_kv_seqlen"):
            return None
        return self.build.reshape(self.operand("nonpad_kv_seqlen"), (self.shape("Q")[0], 1, 1, 1))

    def given_mask(self, keys: int) -> SSAValue:
        """The operand, with keys beyond it masked."""
        given = self.operand("attn_mask")
        shape = shape_of(given)
        missing = keys - shape[-1]
        if missing <= 0 or shape[-1] == 1:
            return given
        none = [0] * len(shape)
        fill = 0 if is_bool(element_type(given)) else -np.inf
        return self.build.pad(given, none, [*none[:-1], missing], fill)

    def window(self, name: str, size: int, queries: int, keys: int, offset: SSAValue | int) -> SSAValue:
        """Where a key lies at most `size` places before (left) or behind (right) the query."""
        build = self.build
        distance = build.map("sub", position(build, queries, keys, offset), build.iota((1, 1, queries, keys), 3))
        return build.map("le", distance, size) if name.startswith("left") else build.map("ge", distance, -size)

    def spelled_out(
        self, query: SSAValue, key: SSAValue, value: SSAValue, mask: Mask, scale: float, softcap: float
    ) -> tuple[SSAValue, SSAValue]:
        """The result, and the scores at the place that `qk_matmul_output_mode` names."""
        build, mode = self.build, self.attribute("qk_matmul_output_mode", int, 0)
        heads = shape_of(query)[1]
        key, values = self.shared(key, heads), self.shared(value, heads)
        scores = build.map("mul", build.matmul(query, key, transpose_rhs=True, element=f32), scale)
        shown = scores
        if softcap:
            scores = build.map("mul", build.map("tanh", build.map("div", scores, softcap)), softcap)
        if mode == 1:
            shown = scores
        bias = mask.bias(build, shape_of(query)[2], shape_of(key)[2])
        if bias is not None:
            scores = build.map("add", scores, bias)
        if mode == 2:
            shown = scores
        weights = build.softmax(scores, 3)
        if bias is not None:
            greatest = build.reduce("max", bias, (len(shape_of(bias)) - 1,))
            weights = build.map("select", build.map("eq", greatest, -np.inf), 0.0, weights)
        if mode == 3:
            shown = weights
        narrow = build.cast(weights, self.element("Q"))
        return build.matmul(narrow, build.cast(values, self.element("Q"))), shown

    def shared(self, value: SSAValue, heads: int) -> SSAValue:
        """Keys or values with each head repeated for the queries that share it."""
        batch, groups, rows, width = shape_of(value)
        if groups == heads:
            return value
        wide = (batch, groups, heads // groups, rows, width)
        return self.build.reshape(
            self.build.broadcast(self.build.unsqueeze(value, 2), wide), (batch, heads, rows, width)
        )


RULES: Rules = (Attention,)
