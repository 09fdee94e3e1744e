"""Fewer attention heads from a layer on: the most important ones by data, whose weights alone are fetched.

What a head is worth is the sum of its output's magnitudes over tokens, channels and all layers so far (Wang et al.,
"SpAtten", HPCA 2021, arXiv 2012.09852, section III-B). Before a layer the best are chosen; for it and all behind it,
the slices of their weights in the projections of queries, keys and values, and in that of the output, are gathered by
their numbers. How many stay is fixed, so that every shape is; which ones, the run decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import Block, Operation, SSAValue
from xdsl.passes import ModulePass

from ...dialects import sattn
from ...dialects.constants import ConstantStore
from ...dialects.context import CompilerContext
from ...dialects.elements import shape_of
from ...dialects.onnx_interface import main_of
from ...isa.errors import Blocking, UnsupportedError
from ..builder import Builder
from ..head_rules import HeadRule
from ..refusal import RefusalError
from .chosen_heads import Chosen
from .keep_tokens import first_of


@dataclass(frozen=True)
class KeepHeads(ModulePass):
    """Let layers have only the most important heads. rules: `HeadRule` texts, in the order of the layers."""

    name = "keep-heads"
    rules: tuple[str, ...] = ()

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite `@main`. Raises UsageError for a rule that matches no layer, UnsupportedError for a model whose heads
        cannot be told apart."""
        block = main_of(op).body.block
        rules = [HeadRule.parse(text) for text in self.rules]
        starts = [first_of(block, rule.before, "[[heads]]") for rule in rules]
        before, *behind = _attentions(block, starts)
        cascade = _Cascade(CompilerContext.of(ctx).store)
        for rule, first, attentions in zip(rules, starts, behind, strict=True):
            try:
                cascade.choose(rule, first, before)
                for attention in attentions:
                    cascade.apply(attention)
            except RefusalError as error:
                raise UnsupportedError((Blocking(rule.before, "heads", error.reason, error.remedy),)) from None
            before = attentions


def _attentions(block: Block, starts: Sequence[Operation]) -> list[list[Chosen]]:
    """The attentions before the first of some operations, between each and the next, and behind the last."""
    found: list[list[Chosen]] = [[] for _ in range(len(starts) + 1)]
    begun = {first: place + 1 for place, first in enumerate(starts)}
    now = 0
    for op in block.ops:
        now = begun.get(op, now)
        if isinstance(op, sattn.AttentionOp):
            found[now].append(Chosen(op))
    return found


class _Cascade:
    """The heads that are left: `ids`, their numbers [kept] in the model, ascending (None: all), and what they are worth
    by the layers before the last choice, f32 [1, kept]."""

    def __init__(self, store: ConstantStore) -> None:
        self._store = store
        self._ids: SSAValue | None = None
        self._worth: SSAValue | None = None

    def choose(self, rule: HeadRule, first: Operation, before: Sequence[Chosen]) -> None:
        """Choose heads for the layers from `first` on, by the attentions since the last choice too."""
        if not before:
            raise RefusalError("no attention precedes this layer", "a later layer")
        build = Builder.before(first, self._store)
        build.path = StringAttr(f"{rule.before}.heads")
        heads = before[0].heads
        left = heads if self._ids is None else shape_of(self._ids)[0]
        if any(attention.heads != heads for attention in before):
            raise RefusalError("layers before this one have different numbers of heads", "a later layer")
        kept = rule.kept(heads)
        if kept > left:
            raise RefusalError(f"{kept} heads cannot be kept of {left}", "give later layers smaller shares")
        worth = self._worth
        for attention in before:
            told = build.reshape(self._magnitude(attention.op), (1, left))
            worth = told if worth is None else build.map("add", worth, told)
        assert worth is not None
        self._worth = worth
        if kept == left:
            return
        chosen = build.reshape(build.greatest(worth, kept), (kept,))
        self._worth = build.reshape(_picked(build, worth, chosen), (1, kept))
        # Numbers among those that were left become numbers among the model's.
        self._ids = chosen if self._ids is None else _picked(build, self._ids, chosen)

    def _magnitude(self, attention: sattn.AttentionOp) -> SSAValue:
        """Of each head's output, [1, heads, 1, 1]: found where it is made, so that it need not wait for it."""
        build = Builder.after(attention.result, self._store, attention)
        return build.reduce("sum", build.map("abs", build.widen(attention.result)), (2, 3))

    def apply(self, attention: Chosen) -> None:
        """Let an attention have the heads that are left."""
        if self._ids is not None:
            attention.keep(self._ids, self._store)


def _picked(build: Builder, values: SSAValue, ids: SSAValue) -> SSAValue:
    """The values [kept] at some places."""
    column = build.reshape(values, (prod(shape_of(values)), 1))
    return build.reshape(build.gather_rows(column, ids), shape_of(ids))
