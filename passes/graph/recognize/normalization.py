"""Layer and root-mean-square normalization that is spelled out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern

from ....dialects import nn
from ....dialects.constants import ConstantStore
from ....dialects.context import CompilerContext
from ....dialects.elements import element_type, shape_of
from ....isa.frozen import frozen
from ...rewrite import rewrite, rewrites, supersede
from ..matching import is_trailing, mapped, orders, reduced, scalar, users, widened


@frozen
class Root:
    """The deviation that values are divided by: sqrt(mean(deviation**2) + epsilon), or its reciprocal."""

    value: SSAValue
    is_reciprocal: bool
    deviation: SSAValue
    axes: tuple[int, ...]
    epsilon: float


@dataclass
class SpelledNorm(RewritePattern):
    """y / sqrt(mean(y * y) + epsilon) over the last axes, where y is x (RMSNorm) or x - mean(x) (LayerNorm);
    the division may be a product with the reciprocal, and a constant scale may stand anywhere in that
    product."""

    store: ConstantStore

    @rewrites(nn.ReduceOp)
    def match_and_rewrite(self, op: nn.ReduceOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        for root in _roots(op, self.store):
            for quotient, scale in _quotients(root, self.store):
                supersede(rewriter, quotient, self._norm(quotient, root, scale))
                return

    def _norm(self, quotient: Operation, root: Root, scale: SSAValue | None) -> nn.LayerNormOp | nn.RmsNormOp:
        axis, element = root.axes[0], element_type(quotient.results[0])
        centred = _centred(root)
        if centred is not None:
            return nn.LayerNormOp(centred, scale, None, axis, root.epsilon, element)
        return nn.RmsNormOp(root.deviation, scale, axis, root.epsilon, element)


def _roots(op: nn.ReduceOp, store: ConstantStore) -> Iterator[Root]:
    """The roots that a mean of squares ends in."""
    deviation = _squared(op.input, store) if op.kind.data == nn.Reduction.MEAN else None
    axes = tuple(op.axes.get_values())
    if deviation is None or not is_trailing(axes, len(shape_of(op.input))):
        return
    for total in users(op.result):
        if not (isinstance(total, nn.MapOp) and total.function.data == "add"):
            continue
        epsilon = next((number for _, other in orders(total) if (number := scalar(other, store)) is not None), None)
        if epsilon is None:
            continue
        for root in users(total.result):
            if isinstance(root, nn.MapOp):
                yield from _reciprocals(root, deviation, axes, epsilon, store)


def _reciprocals(
    root: nn.MapOp, deviation: SSAValue, axes: tuple[int, ...], epsilon: float, store: ConstantStore
) -> Iterator[Root]:
    """A square root and the reciprocals that follow it."""
    function = root.function.data
    exponent = scalar(root.inputs[1], store) if function == "pow" else None
    if function == "rsqrt" or exponent == -0.5:
        yield Root(root.result, True, deviation, axes, epsilon)
    elif function == "sqrt" or exponent == 0.5:
        yield Root(root.result, False, deviation, axes, epsilon)
        for user in users(root.result):
            if not isinstance(user, nn.MapOp):
                continue
            inverse = user.function.data == "div" and scalar(user.inputs[0], store) == 1.0
            if user.function.data == "reciprocal" or (inverse and user.inputs[1] is root.result):
                yield Root(user.result, True, deviation, axes, epsilon)


def _squared(value: SSAValue, store: ConstantStore) -> SSAValue | None:
    """What `value` is the square of."""
    made = mapped(value, "mul", "pow")
    if made is None:
        return None
    left, right = made.inputs
    if made.function.data == "mul":
        return widened(left) if widened(left) is widened(right) else None
    return widened(left) if scalar(right, store) == 2.0 else None


def _centred(root: Root) -> SSAValue | None:
    """x, where the deviation is x - mean(x) over the same axes."""
    difference = mapped(root.deviation, "sub")
    if difference is None:
        return None
    value, mean = difference.inputs
    made = reduced(widened(mean), nn.Reduction.MEAN)
    if made is None or tuple(made.axes.get_values()) != root.axes or widened(made.input) is not widened(value):
        return None
    return widened(value)


def _quotients(root: Root, store: ConstantStore) -> Iterator[tuple[Operation, SSAValue | None]]:
    """Operations that give the deviation divided by the root, with the scale they multiply it by."""
    for user in users(root.value):
        if not isinstance(user, nn.MapOp) or shape_of(user.result) != shape_of(root.deviation):
            yield from _scaled_reciprocals(root, user, store)
        elif user.function.data == "div" and not root.is_reciprocal and user.inputs[1] is root.value:
            yield from _numerator(user, user.inputs[0], root, store)
        elif user.function.data == "mul" and root.is_reciprocal:
            other = user.inputs[1] if user.inputs[0] is root.value else user.inputs[0]
            yield from _numerator(user, other, root, store)
            yield from _scaled_reciprocals(root, user, store)


def _numerator(
    quotient: nn.MapOp, value: SSAValue, root: Root, store: ConstantStore
) -> Iterator[tuple[Operation, SSAValue | None]]:
    """The deviation itself, or times a scale."""
    if widened(value) is root.deviation:
        yield quotient, None
        return
    product = mapped(value, "mul")
    for deviation, scale in orders(product) if product is not None else ():
        if widened(deviation) is root.deviation and is_row(scale, root.axes, len(shape_of(root.deviation))):
            yield quotient, scale


def _scaled_reciprocals(
    root: Root, user: Operation, store: ConstantStore
) -> Iterator[tuple[Operation, SSAValue | None]]:
    """The deviation times (the reciprocal times a scale)."""
    if not (isinstance(user, nn.MapOp) and user.function.data == "mul" and root.is_reciprocal):
        return
    scale = user.inputs[1] if user.inputs[0] is root.value else user.inputs[0]
    if not is_row(scale, root.axes, len(shape_of(root.deviation))):
        return
    for product in users(user.result):
        if not (isinstance(product, nn.MapOp) and product.function.data == "mul"):
            continue
        for deviation, factor in orders(product):
            if factor is user.result and widened(deviation) is root.deviation:
                yield product, scale


def is_row(value: SSAValue, axes: tuple[int, ...], rank: int) -> bool:
    """Whether `value` is a parameter that varies along the normalized axes only."""
    made = value.owner
    while isinstance(made, nn.CastOp | nn.DequantizeOp | nn.ReshapeOp):
        made = made.input.owner
    if not isinstance(made, nn.ConstantOp):
        return False
    shape = shape_of(value)
    return len(shape) <= rank and all(extent == 1 for extent in shape[: max(len(shape) - len(axes), 0)])


class ScaledNorm(RewritePattern):
    """A norm times a row of parameters, or plus one, holds it as its scale or bias."""

    @rewrites(nn.MapOp)
    def match_and_rewrite(self, op: nn.MapOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        if op.function.data not in ("mul", "add"):
            return
        for value, row in orders(op):
            norm = _norm_of(value)
            if norm is None or shape_of(op.result) != shape_of(norm.result):
                continue
            rank = len(shape_of(norm.input))
            axis = norm.axis.value.data
            if not is_row(row, tuple(range(axis, rank)), rank):
                continue
            replacement = _with_row(norm, op, row)
            if replacement is not None:
                supersede(rewriter, op, replacement)
                return


def _norm_of(value: SSAValue) -> nn.LayerNormOp | nn.RmsNormOp | None:
    """The norm that gives `value` (perhaps rounded) and nothing else."""
    source = value.owner.input if isinstance(value.owner, nn.CastOp) else value
    made = source.owner
    if not isinstance(made, nn.LayerNormOp | nn.RmsNormOp) or not source.has_one_use() or not value.has_one_use():
        return None
    return made


def _with_row(norm: nn.LayerNormOp | nn.RmsNormOp, op: nn.MapOp, row: SSAValue) -> nn.LayerNormOp | nn.RmsNormOp | None:
    """The norm with `row` as its scale (a product) or bias (a sum); None where it has one already."""
    axis, epsilon, element = norm.axis.value.data, norm.epsilon.value.data, element_type(op.result)
    if isinstance(norm, nn.RmsNormOp):
        if op.function.data == "mul" and norm.scale is None:
            return nn.RmsNormOp(norm.input, row, axis, epsilon, element)
        return None
    if norm.bias is not None:
        return None
    if op.function.data == "add":
        return nn.LayerNormOp(norm.input, norm.scale, row, axis, epsilon, element)
    return nn.LayerNormOp(norm.input, row, None, axis, epsilon, element) if norm.scale is None else None


@dataclass(frozen=True)
class RecognizeNorms(ModulePass):
    """Fuse normalizations that are spelled out."""

    name = "recognize-norms"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite `op` in place."""
        rewrite(op, SpelledNorm(CompilerContext.of(ctx).store), ScaledNorm())
