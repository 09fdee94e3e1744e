"""Keys and values repeated for the query heads that share them: the attention reads the ones they are copies
of."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern

from ....dialects import nn, sattn
from ....dialects.elements import shape_of
from ...rewrite import rewrite, rewrites, supersede
from ..matching import producer


class SharedHeads(RewritePattern):
    """An attention whose keys and values are each group's repeated for its query heads: [B, Hkv, 1, L, D]
    stretched to [B, Hkv, G, L, D] and reshaped to [B, Hkv * G, L, D], perhaps with heads and rows exchanged
    after that."""

    @rewrites(sattn.AttentionOp)
    def match_and_rewrite(self, op: sattn.AttentionOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        keys, values = _groups_of(op.k), _groups_of(op.v)
        if not keys or not values or shape_of(keys[-1].results[0])[1] != shape_of(values[-1].results[0])[1]:
            return
        shared = op.clone({op.k: keys[-1].results[0], op.v: values[-1].results[0]})
        made = [step for step in (*keys, *values) if step.parent is None]
        covered = [owner for owner in (op.k.owner, op.v.owner) if isinstance(owner, Operation)]
        for step in made:
            step.location = op.location
        supersede(rewriter, op, shared, before=list(dict.fromkeys(made)), covered=covered)


def _groups_of(value: SSAValue) -> list[Operation]:
    """Operations, new ones last, that give the heads which `value` repeats; empty if it repeats none."""
    turned = producer(value, nn.TransposeOp)
    if turned is not None:
        permutation = turned.permutation.get_values()
        steps = _unrepeated(turned.input, permutation[1])
        return [*steps, nn.TransposeOp(steps[-1], permutation)] if steps else []
    return _unrepeated(value, 1)


def _unrepeated(value: SSAValue, axis: int) -> list[Operation]:
    """A reshape to the heads of which `value`'s along `axis` are repetitions of neighbours."""
    shape = shape_of(value)
    merged = producer(value, nn.ReshapeOp)
    stretched = producer(merged.input if merged is not None else value, nn.BroadcastOp)
    if stretched is None:
        return []
    split, source = shape_of(stretched.result), shape_of(stretched.input)
    if merged is None:
        # One head for all: stretched without an axis of its own.
        one = (*shape[:axis], 1, *shape[axis + 1 :])
        return [nn.ReshapeOp(stretched.input, one)] if source == one and shape[axis] > 1 else []
    if len(split) != len(shape) + 1 or len(source) != len(split):
        return []
    groups, copies = split[axis], split[axis + 1]
    if split != (*shape[:axis], groups, copies, *shape[axis + 1 :]) or groups * copies != shape[axis]:
        return []
    if source != (*shape[:axis], groups, 1, *shape[axis + 1 :]):
        return []
    return [nn.ReshapeOp(stretched.input, (*shape[:axis], groups, *shape[axis + 1 :]))]


@dataclass(frozen=True)
class RecognizeGroupedHeads(ModulePass):
    """Leave out the repetition of keys and values in grouped-query attention."""

    name = "recognize-grouped-heads"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite `op` in place."""
        rewrite(op, SharedHeads())
