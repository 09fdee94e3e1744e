"""Fewer tokens from a layer on: the most important ones are gathered, and every shape behind them shrinks.

Where layers meet, one value [1, tokens, width] passes on. Its tokens are ranked (Rao et al., "DynamicViT", NeurIPS
2021; Liang et al., "EViT", ICLR 2022, for the class token's attention as measure), the best are gathered in their
order, and what is computed behind is the same with fewer tokens.

With a threshold (Kim et al., "Learned Token Pruning for Transformers", KDD 2022) the run finds how many go on. Values
have room for as many as may; behind the count the first of the tokens stands again, and attentions are told the count.
Nothing else is: what is computed behind it is of that token once more, and nobody's result (`tile.follow_counts` leaves
it out).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr, f32
from xdsl.ir import Block, Operation, SSAValue
from xdsl.passes import ModulePass

from ...dialects import nn, sattn
from ...dialects.constants import ConstantStore
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, is_bool, shape_of
from ...dialects.onnx_interface import main_of
from ...isa.errors import Blocking, UnsupportedError, UsageError
from ..builder import Builder
from ..refusal import RefusalError
from ..token_rules import TokenRule
from .cascade import Cascade
from .restore_tokens import end_of_layers, restore
from .shrink_tokens import MASKED_KEYS, shrink

LOWEST = float(np.finfo(np.float32).min)
"""Less than any token is worth, and more than one that is not there."""


@dataclass(frozen=True)
class KeepTokens(ModulePass):
    """Let only the most important tokens into layers. rules: `TokenRule` texts, in the order of the layers."""

    name = "keep-tokens"
    rules: tuple[str, ...] = ()

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite `@main`. Raises UsageError for a rule that matches no layer, UnsupportedError for a model whose
        tokens cannot be told apart from what surrounds them."""
        store = CompilerContext.of(ctx).store
        block = main_of(op).body.block
        whole: int | None = None
        rules = [TokenRule.parse(text) for text in self.rules]
        if len({rule.restore for rule in rules}) > 1:
            raise UsageError("all tables of [[tokens]] restore what they drop, or none does")
        cascade = Cascade(block)
        end = end_of_layers(block, rules[0].before) if rules and rules[0].restore else None
        dropped: list[tuple[SSAValue, SSAValue]] = []
        count: SSAValue | None = None
        for place, rule in enumerate(rules):
            first = first_of(block, rule.before, "[[tokens]]")
            try:
                stream, masks = _stream(first, end)
                # Shares are of the tokens that there were before the first rule.
                whole = shape_of(stream)[1] if whole is None else whole
                carried = cascade if any(later.by == "cascade" for later in rules[place:]) else None
                ids, count = _keep(block, first, stream, masks, rule, rule.kept(whole), carried, end, count, store)
                dropped.append((stream, ids))
                if end is not None and place == len(rules) - 1:
                    restore(end, dropped, store)
            except RefusalError as error:
                blocking = Blocking(rule.before, "tokens", error.reason, error.remedy)
                raise UnsupportedError((blocking,)) from None


def _path(op: Operation) -> str:
    path = op.attributes.get("path")
    return path.data if isinstance(path, StringAttr) else ""


def first_of(block: Block, layer: str, table: str) -> Operation:
    """The first operation of a layer that a recipe's `table` names. Raises UsageError."""
    for op in block.ops:
        if _path(op) == layer or _path(op).startswith(f"{layer}."):
            return op
    raise UsageError(f"{table} before {layer!r} matches no layer of the model", "`attnc check` lists the paths")


def _stream(first: Operation, end: Operation | None) -> tuple[SSAValue, list[SSAValue]]:
    """The one value that passes into the operations from `first` on, up to `end`, and the masks of attentions beside
    it."""
    behind: set[Operation] = set()
    op: Operation | None = first
    while op is not None and op is not end:
        behind.add(op)
        op = op.next_op
    crossing: dict[SSAValue, bool] = {}
    for op in behind:
        for value in op.operands:
            if value.owner in behind or isinstance(value.owner, nn.ConstantOp):
                continue
            if not (isinstance(op, sattn.AttentionOp) and value is op.count):
                masks = isinstance(op, sattn.AttentionOp) and value is op.mask
                crossing[value] = crossing.get(value, True) and masks
    streams = [value for value, masks in crossing.items() if not masks]
    if len(streams) != 1:
        raise RefusalError(
            f"{len(streams)} values pass into this layer and those behind it, tokens can be dropped from one",
            "take a layer of an encoder",
        )
    shape = shape_of(streams[0])
    if len(shape) != 3 or shape[0] != 1:
        raise RefusalError(f"what passes into this layer is {list(shape)}, not [1, tokens, width]", "a batch of one")
    return streams[0], [value for value, masks in crossing.items() if masks]


def _keep(
    block: Block,
    first: Operation,
    stream: SSAValue,
    masks: Sequence[SSAValue],
    rule: TokenRule,
    kept: int,
    cascade: Cascade | None,
    end: Operation | None,
    count: SSAValue | None,
    store: ConstantStore,
) -> tuple[SSAValue, SSAValue | None]:
    """Let the tokens that a rule keeps, of the first `count` (None: of all), into the operations from `first` on, up to
    `end`; gives their places, and how many they are where the run finds it."""
    tokens = shape_of(stream)[1]
    if kept > tokens:
        raise RefusalError(f"{kept} tokens cannot be kept of {tokens}", "give later layers smaller shares")
    build = Builder.before(first, store)
    owner = stream.owner
    build.location = owner.location if isinstance(owner, Operation) else first.location
    build.path = StringAttr(f"{rule.before}.tokens")
    importance = None if cascade is None else cascade.importance(build, first, tokens)
    worth = importance if rule.by == "cascade" else _worth(build, block, first, stream, rule)
    assert worth is not None
    table = build.reshape(stream, shape_of(stream)[1:])
    ranked = worth
    if rule.always:
        # Infinity stands above whatever a token is worth.
        always = np.where(np.arange(tokens) < rule.always, np.float32(np.inf), np.float32(0))
        ranked = build.map("add", worth, build.constant(always[None]))
    if count is None and not rule.threshold:
        ids, number = build.greatest(ranked, kept), None
    else:
        ids, number = _above(build, worth, ranked, rule, kept, count)
    chosen = build.gather_rows(table, ids)
    if cascade is not None:
        if rule.package:
            raise RefusalError("a package has no attention of layers before", "no package before a cascade")
        cascade.carry(build, ids)
    if rule.package:
        if masks:
            raise RefusalError("masks of attentions behind say nothing of a package", "no package")
        chosen = build.concat([chosen, _package(build, worth, table, ids, chosen, rule)], 1)
    axes = {chosen: 1}
    _exchange(stream, chosen, first, end)
    for mask in masks:
        seen = _gathered(build, mask, ids, tokens)
        _exchange(mask, seen, first, end)
        axes[seen] = MASKED_KEYS
    shrink(first, end, axes, tokens, shape_of(chosen)[1], rule.always, number)
    return ids, number


def _above(
    build: Builder, worth: SSAValue, ranked: SSAValue, rule: TokenRule, kept: int, count: SSAValue | None
) -> tuple[SSAValue, SSAValue]:
    """The places of the tokens that are worth the rule's threshold times the mean of the first `count` (None: of all),
    `kept` at most, and how many they are."""
    tokens = shape_of(worth)[1]
    if rule.package:
        raise RefusalError("a package stands behind a fixed number of tokens", "no package behind a threshold")
    if count is None:
        least = build.map("mul", build.reduce("sum", worth, (1,)), rule.threshold / tokens)
        return build.greatest_above(ranked, kept, least)
    there = build.map("lt", build.iota((1, tokens), 1), count)
    mean = build.map("div", build.reduce("sum", build.map("select", there, worth, 0.0), (1,)), build.cast(count, f32))
    least = build.map("mul", mean, rule.threshold) if rule.threshold else build.filled((1, 1), LOWEST, f32)
    return build.greatest_above(build.map("select", there, ranked, -np.inf), kept, least)


def _exchange(old: SSAValue, new: SSAValue, first: Operation, end: Operation | None) -> None:
    """Let what reads a value from `first` on, up to `end`, read another one."""
    for use in list(old.uses):
        if not use.operation.is_before_in_block(first) and (end is None or use.operation.is_before_in_block(end)):
            use.operation.operands[use.index] = new


def _gathered(build: Builder, mask: SSAValue, ids: SSAValue, tokens: int) -> SSAValue:
    """A mask of the queries and keys at `ids`."""
    kept = shape_of(ids)[1]
    rank = len(shape_of(mask))
    for axis in range(max(rank - 2, 0), rank):
        if shape_of(mask)[axis] == tokens:
            turned = build.move_axis(mask, axis, 0)
            shape = shape_of(turned)
            rows = build.gather_rows(build.reshape(turned, (tokens, prod(shape[1:]))), build.reshape(ids, (kept,)))
            mask = build.move_axis(build.reshape(rows, (kept, *shape[1:])), 0, axis)
        elif shape_of(mask)[axis] != 1:
            raise RefusalError("a mask of an attention behind is of other tokens", "a layer of an encoder")
    return mask


def _worth(build: Builder, block: Block, first: Operation, stream: SSAValue, rule: TokenRule) -> SSAValue:
    """What each token is worth, f32 [1, tokens]."""
    if rule.by == "norm":
        value = build.widen(stream)
        return build.reshape(build.reduce("sum", build.map("mul", value, value), (2,)), shape_of(stream)[:2])
    found: sattn.AttentionOp | None = None
    for op in block.ops:
        if op is first:
            break
        found = op if isinstance(op, sattn.AttentionOp) else found
    tokens = shape_of(stream)[1]
    if found is None or found.extents[3] != tokens or found.extents[4] != tokens:
        raise RefusalError("no attention among these tokens precedes this layer", 'by = "norm", or a later layer')
    batch, heads, groups = found.extents[:3]
    if heads != groups or batch != 1:
        raise RefusalError("heads share keys in the attention before this layer", 'by = "norm"')
    if found.causal is not None or found.softcap is not None:
        raise RefusalError("the attention before this layer is causal or caps its scores", 'by = "cascade"')
    query = build.slice_axis(build.widen(found.q), 2, 0, 1)
    keys = build.swap_last(build.widen(found.k))
    scores = build.map("mul", build.matmul(query, keys), float(found.scale.value.data))
    if found.mask is not None:
        shape = shape_of(found.mask)
        mask = build.slice_axis(build.reshape(found.mask, (1,) * (4 - len(shape)) + shape), 2, 0, 1)
        fill = found.fill.value.data
        seen = is_bool(element_type(mask))
        scores = build.map("select", mask, scores, fill) if seen else build.map("add", scores, build.widen(mask))
    if found.count is not None:
        there = build.map("lt", build.iota((1, 1, 1, tokens), 3), build.reshape(found.count, (1, 1, 1, 1)))
        scores = build.map("select", there, scores, -np.inf)
    return build.reshape(build.reduce("mean", build.softmax(scores, 3), (1,)), (1, tokens))


def _package(
    build: Builder, worth: SSAValue, table: SSAValue, ids: SSAValue, chosen: SSAValue, rule: TokenRule
) -> SSAValue:
    """The mean of the tokens that are dropped, weighted by what they are worth: [1, 1, width].

    Their sums are those of all less those of the kept, in float32.
    """
    tokens, width = shape_of(table)
    kept = shape_of(ids)[1]
    own = build.reshape(build.gather_rows(build.reshape(worth, (tokens, 1)), ids), (1, kept))
    matrix = build.reshape(chosen, (kept, width))
    whole = build.matmul(worth, build.widen(table))
    sums = build.map("sub", whole, build.matmul(own, build.widen(matrix)))
    weight = build.map("sub", build.reduce("sum", worth, (1,)), build.reduce("sum", own, (1,)))
    mean = build.map("div", sums, build.reshape(weight, (1, 1)))
    return build.cast(build.reshape(mean, (1, 1, width)), element_type(chosen))
