"""Attention spelled out as matrix products around a softmax, as one operation.

Factors on the queries, the keys and the scores become the attention's one scale. That reassociates products
of floats (exact for powers of two, as 1/8 for 64 channels is; else within the rounding of a sum of products,
which accumulation order moves as much).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from xdsl.context import Context
from xdsl.dialects.builtin import LocationAttr, ModuleOp, f32
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern

from ....dialects import nn, sattn, shapes
from ....dialects.constants import ConstantStore
from ....dialects.context import CompilerContext
from ....dialects.elements import element_type, is_float, shape_of
from ....dialects.nn import EmptyRow
from ....dialects.provenance import fuse
from ....isa.frozen import frozen
from ...rewrite import rewrite, rewrites, supersede
from ..matching import mapped, orders, producer, scalar
from .masks import Mask, MaskBuilder

DEEPEST = 12
"""Operations that may stand between the product of queries and keys and the softmax."""


@frozen
class Scores:
    """How scores come from the product of queries and keys: its scale, then the soft cap, then the masks in
    their order. `shapes` are those that scores have on their way."""

    product: nn.MatmulOp
    scale: float = 1.0
    softcap: float | None = None
    masks: tuple[Mask, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()


@frozen
class Fused:
    """A spelled attention as one operation, after the operations `before`; `product` gave its scores."""

    product: nn.MatmulOp
    before: tuple[Operation, ...]
    attention: sattn.AttentionOp


@dataclass
class SpelledAttention(RewritePattern):
    """softmax(q @ k^T * scale + mask) @ v."""

    store: ConstantStore

    @rewrites(nn.MatmulOp)
    def match_and_rewrite(self, op: nn.MatmulOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        softmax = softmax_of(op.lhs)
        found = None if softmax is None else self.fused(op, softmax.input, softmax.empty_row.data)
        if found is not None:
            stand_for(rewriter, op, found.attention, found.before)

    def reads(self, value: SSAValue) -> bool:
        """Whether `value` are scores."""
        return next(self._scores(value, DEEPEST), None) is not None

    def fused(self, op: nn.MatmulOp, value: SSAValue, empty_row: EmptyRow) -> Fused | None:
        """The attention with the scores `value`, whose product with the values is `op`; None if it is none.

        `empty_row` is what the softmax of the scores makes of rows without keys. Nothing is inserted yet.
        """
        if not is_float(element_type(op.result)):
            return None
        scores = next(self._scores(value, DEEPEST), None)
        if scores is None or not is_float(element_type(scores.product.lhs)):
            return None
        target = _target(scores)
        masks = MaskBuilder(target, self.store)
        masking = masks.combine(scores.masks)
        if masking is None:
            return None
        place = _Operands(op, scores, target)
        q, q_factor = self._unscaled(scores.product.lhs)
        k, k_factor = self._keys(scores.product, place)
        guarded = empty_row == EmptyRow.ZERO
        queries, keys, values = place.alike(
            place.stretched(q, scores.product.result, share=False),
            place.stretched(k, scores.product.result, share=True),
            place.stretched(place.values(), op.result, share=True),
        )
        attention = sattn.AttentionOp(
            queries,
            keys,
            values,
            masking.mask,
            scale=scores.scale * q_factor * k_factor,
            causal=masking.causal,
            causal_offset=masking.offset,
            fill=masking.fill,
            softcap=scores.softcap,
            empty_row=masking.empty_row(guarded),
            element=element_type(op.result),
        )
        return Fused(scores.product, (*masks.operations, *place.operations), attention)

    def _scores(self, value: SSAValue, depth: int) -> Iterator[Scores]:
        """The ways to read `value`, each of whose steps has one user, as scores."""
        made = value.owner
        if depth == 0 or not value.has_one_use():
            return
        if isinstance(made, nn.MatmulOp):
            yield Scores(made, shapes=(shape_of(value),))
        elif isinstance(made, nn.ReshapeOp) or (isinstance(made, nn.CastOp) and is_float(element_type(made.input))):
            for scores in self._scores(made.input, depth - 1):
                yield replace(scores, shapes=(*scores.shapes, shape_of(value)))
        elif isinstance(made, nn.MapOp):
            yield from self._mapped_scores(made, depth - 1)

    def _mapped_scores(self, op: nn.MapOp, depth: int) -> Iterator[Scores]:
        """As `_scores`, through one map."""
        function, shape = op.function.data, shape_of(op.result)
        if function == "add":
            for value, added in orders(op):
                for scores in self._scores(value, depth) if shape_of(value) == shape else ():
                    yield _masked(scores, Mask(added, shape, op.location))
        elif function == "select":
            condition, kept, hidden = op.inputs
            for value, other, negated in ((kept, hidden, False), (hidden, kept, True)):
                fill = scalar(other, self.store)
                if fill is None or fill >= 0 or shape_of(value) != shape:
                    continue
                for scores in self._scores(value, depth):
                    yield _masked(scores, Mask(condition, shape, op.location, fill, negated))
        elif function in ("mul", "div"):
            yield from self._scaled_scores(op, depth)

    def _scaled_scores(self, op: nn.MapOp, depth: int) -> Iterator[Scores]:
        """As `_scores`, through a factor, or the outer factor of a soft cap."""
        for value, other in orders(op) if op.function.data == "mul" else ((op.inputs[0], op.inputs[1]),):
            factor = scalar(other, self.store)
            if not factor or shape_of(value) != shape_of(op.result):
                continue
            if op.function.data == "div":
                factor = 1.0 / factor
            curve = mapped(value, "tanh")
            if curve is not None and value.has_one_use():
                for scores in self._scores(curve.inputs[0], depth):
                    if not scores.masks and scores.softcap is None:
                        # cap * tanh(x): x already holds the division by the cap.
                        yield replace(scores, softcap=factor, scale=scores.scale * factor)
            for scores in self._scores(value, depth):
                if not scores.masks and scores.softcap is None:
                    yield replace(scores, scale=scores.scale * factor)

    def _keys(self, product: nn.MatmulOp, place: _Operands) -> tuple[SSAValue, float]:
        """The keys as [..., Lk, Dk] without the factor on them, and the factor."""
        value, factor = self._unscaled(product.rhs)
        if product.transpose_rhs is not None:
            return value, factor
        keys, more = self._unscaled(place.swapped(value))
        return keys, factor * more

    def _unscaled(self, value: SSAValue) -> tuple[SSAValue, float]:
        """A value without the constant factor on it, and the factor."""
        made = mapped(value, "mul", "div")
        if made is None:
            return value, 1.0
        for inner, other in orders(made) if made.function.data == "mul" else (tuple(made.inputs),):
            factor = scalar(other, self.store)
            if factor and inner.type == value.type:
                return inner, factor if made.function.data == "mul" else 1.0 / factor
        return value, 1.0


class _Operands:
    """Brings the operands of an attention into the shape [B, H, rows, width]."""

    def __init__(self, root: nn.MatmulOp, scores: Scores, target: tuple[int, ...]):
        self.operations: list[Operation] = []
        self._root = root
        self._target = target
        self._location: LocationAttr = fuse(scores.product.location, root.location)

    def values(self) -> SSAValue:
        """The values as [..., Lk, Dv]."""
        return self._root.rhs if self._root.transpose_rhs is None else self.swapped(self._root.rhs)

    def swapped(self, value: SSAValue) -> SSAValue:
        """A value with its last two axes exchanged."""
        made = producer(value, nn.TransposeOp)
        rank = len(shape_of(value))
        swap = (*range(rank - 2), rank - 1, rank - 2)
        if made is not None and tuple(made.permutation.get_values()) == swap:
            return made.input
        return self._made(nn.TransposeOp(value, swap))

    def stretched(self, value: SSAValue, product: SSAValue, share: bool) -> SSAValue:
        """A factor of `product` with the target's batch axes; heads may stay one where they are shared."""
        shape, full = shape_of(value), shape_of(product)[:-2]
        batch, heads = self._target[:2]
        if len(shape) == 4 and shape[0] == batch and (shape[1] == heads or (share and shape[1] == 1)):
            return value
        if shape[:-2] != full:
            value = self._made(nn.BroadcastOp(value, (*full, *shape[-2:])))
        placed = (batch, heads, *shape[-2:])
        return value if shape_of(value) == placed else self._made(nn.ReshapeOp(value, placed))

    def alike(self, *values: SSAValue) -> list[SSAValue]:
        """Values of one element type: where they differ, all as f32, which holds them."""
        if len({element_type(value) for value in values}) == 1:
            return list(values)
        return [v if element_type(v) == f32 else self._made(nn.CastOp(v, f32)) for v in values]

    def _made(self, operation: Operation) -> SSAValue:
        operation.location = self._location
        self.operations.append(operation)
        return operation.results[0]


def stand_for(
    rewriter: PatternRewriter, op: nn.MatmulOp, attention: sattn.AttentionOp, before: Sequence[Operation]
) -> None:
    """Put an attention, after the operations `before`, in the place of the product with the values."""
    if shape_of(attention.result) == shape_of(op.result):
        supersede(rewriter, op, attention, before=before)
    else:
        supersede(rewriter, op, nn.ReshapeOp(attention, shape_of(op.result)), before=[*before, attention])


def softmax_of(value: SSAValue) -> nn.SoftmaxOp | None:
    """The softmax over the last axis that gives these weights and nothing else."""
    while isinstance(value.owner, nn.ReshapeOp | nn.CastOp) and value.has_one_use():
        value = value.owner.input
    made = producer(value, nn.SoftmaxOp)
    if made is None or not value.has_one_use() or made.axis.value.data != len(shape_of(value)) - 1:
        return None
    return made


def _masked(scores: Scores, mask: Mask) -> Scores:
    return replace(scores, masks=(*scores.masks, mask))


def _target(scores: Scores) -> tuple[int, ...]:
    """[B, H, Lq, Lk]: a shape of four axes that scores have on their way, or one made of what they have."""
    for shape in scores.shapes:
        if len(shape) == 4:
            return shape
    *batch, queries, keys = scores.shapes[0]
    heads = batch[-1] if batch else 1
    return (shapes.elements(batch[:-1]), heads, queries, keys)


@dataclass(frozen=True)
class RecognizeAttention(ModulePass):
    """Fuse attention that is spelled out."""

    name = "recognize-attention"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite `op` in place."""
        rewrite(op, SpelledAttention(CompilerContext.of(ctx).store))
