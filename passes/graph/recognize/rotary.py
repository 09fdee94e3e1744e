"""Rotary position embeddings as arithmetic on halves, so that nothing is turned round and joined before it is
used."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern

from ....dialects import nn
from ....dialects.elements import shape_of
from ...rewrite import rewrite, rewrites, supersede
from ..matching import mapped, orders, producer


class RotatedHalves(RewritePattern):
    """x * c + concat(-x2, x1) * s, where x is [x1, x2] along the last axis, is
    concat(x1 * c1 - x2 * s1, x2 * c2 + x1 * s2) to the bit."""

    @rewrites(nn.MapOp)
    def match_and_rewrite(self, op: nn.MapOp, rewriter: PatternRewriter, /) -> None:
        """See the class."""
        if op.function.data != "add":
            return
        for straight, turned in orders(op):
            for halves, sine in _products(turned):
                x = _rotated(halves)
                if x is None or shape_of(x) != shape_of(op.result):
                    continue
                cosine = next((other for value, other in _products(straight) if value is x), None)
                if cosine is not None and x.type == op.result.type:
                    before = _Halves(x).rotated(cosine, sine, op)
                    joined = before.pop()
                    supersede(rewriter, op, joined, before=before)
                    return


class _Halves:
    """Arithmetic on the halves of tensors along the last axis."""

    def __init__(self, x: SSAValue):
        self.x = x
        self.operations: list[Operation] = []

    def rotated(self, cosine: SSAValue, sine: SSAValue, op: nn.MapOp) -> list[Operation]:
        """The operations that rotate x, the join of its halves last."""
        low, high = (self._half(self.x, half) for half in (0, 1))
        first = self._map(
            "sub", self._map("mul", low, self._half(cosine, 0)), self._map("mul", high, self._half(sine, 0))
        )
        second = self._map(
            "add", self._map("mul", high, self._half(cosine, 1)), self._map("mul", low, self._half(sine, 1))
        )
        return [*self.operations, nn.ConcatOp((first, second), len(shape_of(op.result)) - 1)]

    def _map(self, function: str, left: SSAValue, right: SSAValue) -> SSAValue:
        made = nn.MapOp(function, (left, right))
        self.operations.append(made)
        return made.result

    def _half(self, value: SSAValue, half: int) -> SSAValue:
        """The first or second half along the last axis, or a value that is one along it."""
        shape = shape_of(value)
        if not shape or shape[-1] == 1:
            return value
        width = shape[-1] // 2
        starts = [0] * (len(shape) - 1) + [half * width]
        made = nn.SliceOp(value, starts, (*shape[:-1], width))
        self.operations.append(made)
        return made.result


def _products(value: SSAValue) -> list[tuple[SSAValue, SSAValue]]:
    """The factors of a product, either way round."""
    made = mapped(value, "mul")
    return list(orders(made)) if made is not None else []


def _rotated(value: SSAValue) -> SSAValue | None:
    """x, if a value is concat(-x2, x1) along the last axis."""
    joined = producer(value, nn.ConcatOp)
    if joined is None or len(joined.inputs) != 2:
        return None
    negated, low = mapped(joined.inputs[0], "neg"), producer(joined.inputs[1], nn.SliceOp)
    high = producer(negated.inputs[0], nn.SliceOp) if negated is not None else None
    if low is None or high is None or low.input is not high.input:
        return None
    shape = shape_of(low.input)
    width = shape[-1] // 2
    halves = (*shape[:-1], width)
    start = (*(0 for _ in shape[:-1]), width)
    steps_are_one = all(step == 1 for made in (low, high) for step in made.steps.get_values())
    whole = shape_of(low.result) == shape_of(high.result) == halves and 2 * width == shape[-1]
    in_place = not any(low.starts.get_values()) and tuple(high.starts.get_values()) == start
    last = joined.axis.value.data == len(shape) - 1
    return low.input if steps_are_one and whole and in_place and last else None


@dataclass(frozen=True)
class SplitRotary(ModulePass):
    """Rotate halves instead of turned copies."""

    name = "split-rotary"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite `op` in place."""
        rewrite(op, RotatedHalves())
