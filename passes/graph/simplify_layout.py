"""Layout changes that cancel, compose or change nothing."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern

from ...dialects import nn, shapes
from ...dialects.elements import element_type, shape_of
from ..constant_operand import ConstantOperand
from ..rewrite import accounted, bypass, rewrite, rewrites, supersede
from .matching import last_axes_swapped, producer


class ComposeTransposes(RewritePattern):
    """Two transpositions are one; one that moves only axes of extent 1 is a reshape."""

    @rewrites(nn.TransposeOp)
    def match_and_rewrite(self, op: nn.TransposeOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        permutation = op.permutation.get_values()
        inner = producer(op.input, nn.TransposeOp)
        if inner is not None:
            first = inner.permutation.get_values()
            composed = nn.TransposeOp(inner.input, [first[axis] for axis in permutation])
            supersede(rewriter, op, composed, covered=(inner,))
            return
        shape = shape_of(op.input)
        moved = [axis for axis in permutation if shape[axis] != 1]
        if moved == sorted(moved):
            _reshape(rewriter, op, op.input)


class TransposesMeet(RewritePattern):
    """A transposition of axes that a reshape leaves as they are comes before the reshape, where it meets
    another."""

    @rewrites(nn.TransposeOp)
    def match_and_rewrite(self, op: nn.TransposeOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        between = producer(op.input, nn.ReshapeOp)
        if between is None or producer(between.input, nn.TransposeOp) is None:
            return
        permutation, inner = op.permutation.get_values(), shape_of(between.input)
        rank = len(permutation)
        fixed = next(place for place, axis in enumerate(permutation) if axis != place)
        moved = rank - fixed
        if moved > len(inner) or inner[-moved:] != shape_of(op.input)[-moved:]:
            return
        shift = len(inner) - rank
        early = nn.TransposeOp(
            between.input, (*range(len(inner) - moved), *(axis + shift for axis in permutation[-moved:]))
        )
        late = nn.ReshapeOp(early, shape_of(op.result))
        supersede(rewriter, op, late, before=(early,), covered=(between,))


class ComposeReshapes(RewritePattern):
    """Two reshapes are one; one to the same shape is none."""

    @rewrites(nn.ReshapeOp)
    def match_and_rewrite(self, op: nn.ReshapeOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        inner = producer(op.input, nn.ReshapeOp)
        if shape_of(op.input) == shape_of(op.result):
            bypass(rewriter, op, op.input)
        elif inner is not None:
            _reshape(rewriter, op, inner.input, inner)


class ComposeBroadcasts(RewritePattern):
    """Two broadcasts are one; one that only adds axes of extent 1 is a reshape."""

    @rewrites(nn.BroadcastOp)
    def match_and_rewrite(self, op: nn.BroadcastOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        inner = producer(op.input, nn.BroadcastOp)
        target = shape_of(op.result)
        if shapes.elements(shape_of(op.input)) == shapes.elements(target):
            _reshape(rewriter, op, op.input)
        elif inner is not None:
            supersede(rewriter, op, nn.BroadcastOp(inner.input, target), covered=(inner,))


class BroadcastsInMaps(RewritePattern):
    """A map stretches its operands itself where another operand already gives it its shape."""

    @rewrites(nn.MapOp)
    def match_and_rewrite(self, op: nn.MapOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        stretched = {i: made for i, v in enumerate(op.inputs) if (made := producer(v, nn.BroadcastOp)) is not None}
        if not stretched:
            return
        operands: list[SSAValue] = [stretched[i].input if i in stretched else v for i, v in enumerate(op.inputs)]
        if shapes.broadcast(*map(shape_of, operands)) != shape_of(op.result):
            return
        narrower = nn.MapOp(op.function.data, operands, op.result.type.get_element_type())
        supersede(rewriter, op, narrower, covered=tuple(stretched.values()))


class MapsBeforeBroadcasts(RewritePattern):
    """A map of stretched operands only is made before it is stretched."""

    @rewrites(nn.MapOp)
    def match_and_rewrite(self, op: nn.MapOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        made = [v.owner for v in op.inputs if isinstance(v.owner, nn.BroadcastOp)]
        if not made:
            return
        operands = [v.owner.input if isinstance(v.owner, nn.BroadcastOp) else v for v in op.inputs]
        small = shapes.broadcast(*map(shape_of, operands))
        if shapes.elements(small) == shapes.elements(shape_of(op.result)):
            return
        narrower = nn.MapOp(op.function.data, operands, op.result.type.get_element_type())
        wide = nn.BroadcastOp(narrower, shape_of(op.result))
        supersede(rewriter, op, wide, before=(narrower,), covered=made)


class ComposeSlices(RewritePattern):
    """A slice of a slice is one; a slice of everything is none."""

    @rewrites(nn.SliceOp)
    def match_and_rewrite(self, op: nn.SliceOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        sizes, steps = shape_of(op.result), op.steps.get_values()
        if sizes == shape_of(op.input) and all(s == 1 or n == 1 for s, n in zip(steps, sizes, strict=True)):
            bypass(rewriter, op, op.input)
            return
        inner = producer(op.input, nn.SliceOp)
        if inner is None:
            return
        inner_steps = inner.steps.get_values()
        starts = [
            start + step * offset
            for start, step, offset in zip(inner.starts.get_values(), inner_steps, op.starts.get_values(), strict=True)
        ]
        composed = [a * b for a, b in zip(inner_steps, steps, strict=True)]
        supersede(rewriter, op, nn.SliceOp(inner.input, starts, sizes, composed), covered=(inner,))


class FlattenConcats(RewritePattern):
    """A join of one is none; a join within a join along the same axis is part of it."""

    @rewrites(nn.ConcatOp)
    def match_and_rewrite(self, op: nn.ConcatOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        if len(op.inputs) == 1:
            bypass(rewriter, op, op.inputs[0])
            return
        parts: list[SSAValue] = []
        inner: list[Operation] = []
        for value in op.inputs:
            made = producer(value, nn.ConcatOp)
            if made is not None and made.axis == op.axis and value.has_one_use():
                parts.extend(made.inputs)
                inner.append(made)
            else:
                parts.append(value)
        if inner:
            supersede(rewriter, op, nn.ConcatOp(parts, op.axis.value.data), covered=inner)


class SlicesOfConcats(RewritePattern):
    """A slice that lies in one part of a join is a slice of that part."""

    @rewrites(nn.SliceOp)
    def match_and_rewrite(self, op: nn.SliceOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        join = producer(op.input, nn.ConcatOp)
        if join is None or 0 in shape_of(op.result):
            return
        axis, begin = join.axis.value.data, 0
        starts, steps = list(op.starts.get_values()), op.steps.get_values()
        ends = (starts[axis], starts[axis] + (shape_of(op.result)[axis] - 1) * steps[axis])
        for part in join.inputs:
            end = begin + shape_of(part)[axis]
            if begin <= min(ends) and max(ends) < end:
                starts[axis] -= begin
                supersede(rewriter, op, nn.SliceOp(part, starts, shape_of(op.result), steps))
                return
            begin = end


class SlicesOfProducts(RewritePattern):
    """Columns of a product by a constant that alone are read are the product by these columns."""

    @rewrites(nn.SliceOp)
    def match_and_rewrite(self, op: nn.SliceOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        shown = producer(op.input, nn.ReshapeOp)
        product = producer(op.input if shown is None else shown.input, nn.MatmulOp)
        if product is None or product.structure or not product.result.has_one_use():
            return
        *outer, columns = shape_of(op.result)
        *whole, all_columns = shape_of(op.input)
        starts, steps = op.starts.get_values(), op.steps.get_values()
        same_columns = shown is None or (shown.result.has_one_use() and shape_of(product.result)[-1] == all_columns)
        if outer != whole or any(starts[:-1]) or columns >= all_columns or steps[-1] != 1 or not same_columns:
            return
        if ConstantOperand.of(product.rhs) is None or any(step != 1 for step in steps[:-1]):
            return
        transposed = product.transpose_rhs is not None
        begin, sizes = [0] * len(shape_of(product.rhs)), list(shape_of(product.rhs))
        axis = -2 if transposed else -1
        begin[axis], sizes[axis] = starts[-1], columns
        weights = nn.SliceOp(product.rhs, begin, sizes)
        made = nn.MatmulOp(product.lhs, weights, transposed, element_type(product.result))
        made.threshold = product.threshold
        made.attributes |= {name: value for name, value in product.attributes.items() if name != "value"}
        covered = (product,) if shown is None else (product, shown)
        if shown is None:
            supersede(rewriter, op, made, before=(weights,), covered=covered)
            return
        result = nn.ReshapeOp(made.result, shape_of(op.result))
        supersede(rewriter, op, result, before=(weights, made), covered=covered)


class DropEmptyPads(RewritePattern):
    """A border of nothing is none."""

    @rewrites(nn.PadOp)
    def match_and_rewrite(self, op: nn.PadOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        if not any(op.low.get_values()) and not any(op.high.get_values()):
            bypass(rewriter, op, op.input)


class TransposeInProducts(RewritePattern):
    """A product reads its right operand transposed if that spares a transposition of the last two axes."""

    @rewrites(nn.MatmulOp)
    def match_and_rewrite(self, op: nn.MatmulOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        swap = producer(op.rhs, nn.TransposeOp)
        if swap is None or not last_axes_swapped(swap):
            return
        element = op.result.type.get_element_type()
        product = nn.MatmulOp(op.lhs, swap.input, op.transpose_rhs is None, element)
        supersede(rewriter, op, product, covered=(swap,))


def _reshape(rewriter: PatternRewriter, op: Operation, value: SSAValue, *covered: Operation) -> None:
    """Put a reshape of `value`, or `value` itself, in the place of `op`."""
    shape = shape_of(op.results[0])
    if shape_of(value) == shape:
        bypass(rewriter, op, value)
    else:
        supersede(rewriter, op, nn.ReshapeOp(value, shape), covered=covered)


PATTERNS: tuple[RewritePattern, ...] = (
    ComposeTransposes(),
    TransposesMeet(),
    ComposeReshapes(),
    ComposeBroadcasts(),
    BroadcastsInMaps(),
    MapsBeforeBroadcasts(),
    ComposeSlices(),
    FlattenConcats(),
    SlicesOfConcats(),
    SlicesOfProducts(),
    DropEmptyPads(),
    TransposeInProducts(),
)


@dataclass(frozen=True)
class SimplifyLayout(ModulePass):
    """Compose and cancel layout changes."""

    name = "simplify-layout"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite `op` in place."""
        with accounted(op, "its layout changes cancel or change nothing"):
            rewrite(op, *PATTERNS)
