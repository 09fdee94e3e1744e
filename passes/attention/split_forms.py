"""Heads whose forms do not go together become attentions of their own, side by side.

Patterns of single heads are one attention. A pruning or a linear form is that of all heads of one: where a recipe gives
it to some, these are cut out, and so is what stands between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby, pairwise

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from ...dialects import sattn
from ...dialects.constants import ConstantStore
from ...dialects.context import CompilerContext
from ...dialects.elements import shape_of
from ..attention_rules import AttentionRule
from ..builder import Builder
from ..rewrite import carry
from .rules import rules_of_heads


@dataclass(frozen=True)
class SplitForms(ModulePass):
    """Split the attentions whose heads have, by `rules` (texts of `AttentionRule`), forms that are no patterns beside
    others."""

    name = "split-forms"

    rules: tuple[str, ...] = ()

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module. Raises UsageError for rules that match nothing."""
        store = CompilerContext.of(ctx).store
        for attention, heads in rules_of_heads(op, [AttentionRule.parse(rule) for rule in self.rules]).items():
            parts = _parts(heads, attention.extents[1] // attention.extents[2])
            if len(parts) > 1:
                _split(attention, parts, store)


def _parts(heads: Sequence[AttentionRule | None], share: int) -> list[tuple[int, int]]:
    """First heads and ends of what is one attention: adjacent heads of patterns, or of one other rule; of key heads
    that are shared, whole ones or heads of a single one."""
    kinds = [None if rule is None or rule.form.patterns else rule for rule in heads]
    found: list[tuple[int, int]] = []
    for _, group in groupby(range(len(kinds)), key=lambda head: kinds[head]):
        members = list(group)
        first, end = members[0], members[-1] + 1
        if len(set(kinds)) > 1 and (first % share or end % share):
            edges = sorted({first, end, *range(-(-first // share) * share, end, share)})
            found += pairwise(edges)
        else:
            found.append((first, end))
    return found


def _split(attention: sattn.AttentionOp, parts: Sequence[tuple[int, int]], store: ConstantStore) -> None:
    build = Builder.before(attention, store)
    share = attention.extents[1] // attention.extents[2]
    made = [_part(attention, first, end, share, build) for first, end in parts]
    joined = build.concat([part.result for part in made], 1)
    carry(attention, joined.owner)  # pyright: ignore[reportArgumentType] - an operation of the builder
    attention.result.replace_all_uses_with(joined)
    if attention.importance is not None:
        # What a key is worth is a sum over heads.
        told = [part.importance for part in made if part.importance is not None]
        attention.importance.replace_all_uses_with(reduce(lambda total, more: build.map("add", total, more), told))
    attention.detach()
    attention.erase()


def _part(attention: sattn.AttentionOp, first: int, end: int, share: int, build: Builder) -> sattn.AttentionOp:
    def cut(value: SSAValue, low: int, high: int, whole: int) -> SSAValue:
        axis = len(shape_of(value)) - 3
        if axis < 0 or shape_of(value)[axis] != whole:
            return value
        return build.slice_axis(value, axis, low, high - low)

    _, heads, groups, *_ = attention.extents
    low, high = first // share, -(-end // share)
    made = sattn.AttentionOp(
        cut(attention.q, first, end, heads),
        cut(attention.k, low, high, groups),
        cut(attention.v, low, high, groups),
        None if attention.mask is None else cut(attention.mask, first, end, heads),
        scale=attention.scale.value.data,
        causal=attention.causal is not None,
        causal_offset=attention.causal_offset.value.data,
        fill=attention.fill.value.data,
        softcap=None if attention.softcap is None else attention.softcap.value.data,
        empty_row=attention.empty_row.data,
        count=attention.count,
        importance=attention.importance is not None,
    )
    made.attributes[sattn.HEADS] = sattn.heads_attribute(first, heads)
    build.insert(made)
    return made
