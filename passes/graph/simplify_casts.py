"""Conversions between element types that lose nothing, taken into the operations around them."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import BFloat16Type, Float16Type, ModuleOp, bf16, f16, f32, i1, i8, i32
from xdsl.ir import Attribute, Operation
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern

from ...dialects import nn
from ...dialects.elements import element_type, is_float, shape_of, tensor, ui8
from ...dialects.provenance import fuse
from ..rewrite import accounted, bypass, rewrite, rewrites, supersede
from .matching import producer

_LOSSLESS: dict[Attribute, frozenset[Attribute]] = {
    i1: frozenset((i8, ui8, i32, f16, bf16, f32)),
    i8: frozenset((i32, f16, bf16, f32)),
    ui8: frozenset((i32, f16, bf16, f32)),
    f16: frozenset((f32,)),
    bf16: frozenset((f32,)),
}
"""Element types that hold every value of a narrower one."""

_FLOAT32_INSIDE = (nn.SoftmaxOp, nn.LayerNormOp, nn.RmsNormOp, nn.ReduceOp)


def is_lossless(source: Attribute, target: Attribute) -> bool:
    """Whether a conversion keeps every value apart."""
    return source == target or target in _LOSSLESS.get(source, ())


def is_transparent(source: Attribute, between: Attribute, target: Attribute) -> bool:
    """Whether converting by way of `between` gives what converting at once does."""
    if not is_lossless(source, between):
        return False
    if is_float(between) and not is_float(source) and not is_float(target):
        # Floats saturate where integers wrap: the two agree on what the target holds.
        return is_lossless(source, target) or target == i1
    return True


class ComposeCasts(RewritePattern):
    """A conversion to the same type is none; after one that does not show, only the second counts."""

    @rewrites(nn.CastOp)
    def match_and_rewrite(self, op: nn.CastOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        target = element_type(op.result)
        if element_type(op.input) == target:
            bypass(rewriter, op, op.input)
            return
        inner = producer(op.input, nn.CastOp)
        if inner is None or not is_transparent(element_type(inner.input), element_type(op.input), target):
            return
        if element_type(inner.input) == target:
            bypass(rewriter, op, inner.input)
        else:
            supersede(rewriter, op, nn.CastOp(inner.input, target), covered=(inner,))


class WidenInside(RewritePattern):
    """Operations that compute in float32 anyway read f16 and bf16 themselves: a widening before them is left
    out."""

    @rewrites(nn.MapOp, *_FLOAT32_INSIDE)
    def match_and_rewrite(self, op: Operation, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        for place in range(len(op.operands) if isinstance(op, nn.MapOp) else 1):
            made = producer(op.operands[place], nn.CastOp)
            if made is None or element_type(made.result) != f32:
                continue
            if isinstance(element_type(made.input), Float16Type | BFloat16Type):
                op.operands[place] = made.input
                _absorb(rewriter, op, made)


class WidenInProducts(RewritePattern):
    """A product of f16 or bf16 values widened to f32 is the product of the narrow ones: they accumulate in
    float32."""

    @rewrites(nn.MatmulOp)
    def match_and_rewrite(self, op: nn.MatmulOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        left, right = producer(op.lhs, nn.CastOp), producer(op.rhs, nn.CastOp)
        if left is None or right is None or element_type(op.lhs) != f32:
            return
        narrow = element_type(left.input)
        if narrow != element_type(right.input) or not isinstance(narrow, Float16Type | BFloat16Type):
            return
        product = nn.MatmulOp(left.input, right.input, op.transpose_rhs is not None, element_type(op.result))
        supersede(rewriter, op, product, covered=(left, right))


class NarrowInside(RewritePattern):
    """Operations that compute in float32 round their result once: a conversion to f16 or bf16 that alone
    reads an f32 result is that rounding."""

    @rewrites(nn.CastOp)
    def match_and_rewrite(self, op: nn.CastOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        target = element_type(op.result)
        made = op.input.owner
        if not isinstance(made, (nn.MapOp, nn.MatmulOp, *_FLOAT32_INSIDE)):
            return
        if element_type(op.input) != f32 or not is_float(target) or not op.input.has_one_use():
            return
        narrowed = made.create(
            operands=made.operands,
            properties=made.properties,
            result_types=[tensor(target, *shape_of(op.result))],
        )
        if "path" in made.attributes:
            narrowed.attributes["path"] = made.attributes["path"]
        supersede(rewriter, op, narrowed, covered=(made,))


def _absorb(rewriter: PatternRewriter, op: Operation, cast: nn.CastOp) -> None:
    """Let `op` stand for a conversion too, which goes if nothing else needs it."""
    op.location = fuse(cast.location, op.location)
    rewriter.notify_op_modified(op)
    if not any(True for _ in cast.result.uses):
        rewriter.erase(cast)


@dataclass(frozen=True)
class SimplifyCasts(ModulePass):
    """Take lossless conversions into the operations around them."""

    name = "simplify-casts"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite `op` in place."""
        with accounted(op, "its conversion changes no value"):
            rewrite(op, ComposeCasts(), WidenInside(), WidenInProducts(), NarrowInside())
