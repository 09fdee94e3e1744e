"""Where the tokens of a model stand in its values, and what has to change for them to stand in another order.

Between the layers of an encoder every operation treats tokens alike: in another order it gives the same, in that order.
What names tokens by their places are constants with a value for each, slices, patterns and outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from xdsl.dialects.func import ReturnOp
from xdsl.ir import Block, Operation, SSAValue

from ...dialects import bnn, nn, sattn
from ...dialects.elements import element_type, format_of, shape_of
from ..refusal import RefusalError


@dataclass
class TokenPlaces:
    """The values that have the tokens, from `entry` on, each with their axis; operands that are constants with a value
    for each token, and their axis; slices along the tokens; outputs that have them; attentions among them."""

    entry: SSAValue
    tokens: int
    axes: dict[SSAValue, int] = field(default_factory=dict[SSAValue, int])
    constants: list[tuple[Operation, int, int]] = field(default_factory=list[tuple[Operation, int, int]])
    slices: list[tuple[nn.SliceOp, int]] = field(default_factory=list[tuple[nn.SliceOp, int]])
    outputs: list[tuple[ReturnOp, int]] = field(default_factory=list[tuple[ReturnOp, int]])
    attentions: list[sattn.AttentionOp] = field(default_factory=list[sattn.AttentionOp])

    def beside(self, op: Operation, value: SSAValue, axis: int) -> None:
        """Take note of an operand that does not come from the entry, whose `axis` meets the tokens. Raises RefusalError
        where it has a value for each and is no constant."""
        shape = shape_of(value)
        if not 0 <= axis < len(shape) or shape[axis] != self.tokens or self.tokens == 1:
            return
        if not isinstance(value.owner, nn.ConstantOp):
            raise RefusalError(f"{op.name} joins tokens with something else that has a value for each of them")
        self.constants.append((op, list(op.operands).index(value), axis))


def entry_of(block: Block, first: sattn.AttentionOp) -> SSAValue | None:
    """The smallest value [1, tokens, width] that alone passes on what comes before the attention `first`; None where
    there is none."""
    operations = list(block.ops)
    last_use: dict[SSAValue, int] = {}
    for place, op in enumerate(operations):
        last_use |= dict.fromkeys(op.operands, place)
    live = [value for value in block.args if value in last_use]
    found: SSAValue | None = None
    for place, op in enumerate(operations):
        if len(live) == 1 and _is_stream(live[0], first.extents[3]):
            found = live[0] if found is None or _bytes(live[0]) <= _bytes(found) else found
        if op is first:
            break
        made = [] if isinstance(op, nn.ConstantOp) else [value for value in op.results if value in last_use]
        live = [value for value in (*live, *made) if last_use[value] > place]
    return found


def _is_stream(value: SSAValue, tokens: int) -> bool:
    shape = shape_of(value)
    return len(shape) == 3 and shape[:2] == (1, tokens)


def _bytes(value: SSAValue) -> int:
    return prod(shape_of(value)) * format_of(element_type(value)).bits


def places_from(entry: SSAValue) -> TokenPlaces:
    """What has the tokens of `entry` [1, tokens, width]. Raises RefusalError where an operation needs them in order."""
    found = TokenPlaces(entry, shape_of(entry)[1], {entry: 1})
    owner = entry.owner
    op = owner.first_op if isinstance(owner, Block) else owner.next_op
    while op is not None:
        if any(value in found.axes for value in op.operands):
            if isinstance(op, ReturnOp):
                found.outputs += [(op, place) for place, value in enumerate(op.operands) if value in found.axes]
            else:
                rule = _RULES.get(type(op))
                if rule is None:
                    raise RefusalError(f"{op.name} takes tokens in a way that may need their order")
                axis = rule(op, found)
                if axis is not None:
                    found.axes[op.results[0]] = axis
        op = op.next_op
    return found


def _aligned(op: Operation, found: TokenPlaces) -> int:
    rank = len(shape_of(op.results[0]))
    axes = {found.axes[value] - len(shape_of(value)) + rank for value in op.operands if value in found.axes}
    if len(axes) != 1:
        raise RefusalError(f"{op.name} joins tokens along several axes")
    (axis,) = axes
    if axis == rank - 1 and not isinstance(op, nn.MapOp | nn.CastOp):
        raise RefusalError(f"{op.name} joins tokens in bytes")
    for value in op.operands:
        if value not in found.axes:
            found.beside(op, value, axis - rank + len(shape_of(value)))
    return axis


def _norm(op: nn.LayerNormOp | nn.RmsNormOp, found: TokenPlaces) -> int:
    axis = found.axes[op.input]
    if op.axis.value.data <= axis:
        raise RefusalError(f"{op.name} runs along the tokens")
    return axis


def _softmax(op: nn.SoftmaxOp, found: TokenPlaces) -> int:
    if op.axis.value.data == found.axes[op.input]:
        raise RefusalError(f"{op.name} runs along the tokens")
    return found.axes[op.input]


def _reduce(op: nn.ReduceOp, found: TokenPlaces) -> int | None:
    # A sum over tokens is the same in another order, to float rounding.
    return None if found.axes[op.input] in op.axes.get_values() else found.axes[op.input]


def _matmul(op: nn.MatmulOp | bnn.MatmulOp, found: TokenPlaces) -> int:
    rank = len(shape_of(op.lhs))
    if op.rhs in found.axes or found.axes.get(op.lhs) != rank - 2:
        raise RefusalError("a product sums over the tokens, or has some for each")
    return len(shape_of(op.results[0])) - 2


def _attention(op: sattn.AttentionOp, found: TokenPlaces) -> int:
    by_place = op.mask is not None or op.causal is not None or op.order is not None
    if by_place or op.form.pruning is not None or len(op.results) > 1:
        raise RefusalError("an attention names tokens by their places")
    along = {op.q: 2, op.k: 2, op.v: 3 if op.has_packed_values else 2}
    if any(found.axes.get(value) != axis for value, axis in along.items()):
        raise RefusalError("an attention has keys or values of other tokens")
    for value in op.operands:
        if value not in found.axes and value is not op.pattern:
            found.beside(op, value, 2)
    found.attentions.append(op)
    return 2


def _transpose(op: nn.TransposeOp, found: TokenPlaces) -> int:
    return list(op.permutation.get_values()).index(found.axes[op.input])


def _reshape(op: nn.ReshapeOp, found: TokenPlaces) -> int:
    old, new, axis = shape_of(op.input), shape_of(op.result), found.axes[op.input]
    for place, extent in enumerate(new):
        if extent == found.tokens and prod(new[:place]) == prod(old[:axis]):
            return place
    raise RefusalError("a reshape joins the tokens' axis with another")


def _slice(op: nn.SliceOp, found: TokenPlaces) -> int | None:
    axis = found.axes[op.input]
    extent = shape_of(op.result)[axis]
    if extent == found.tokens and op.steps.get_values()[axis] == 1:
        return axis
    if extent != 1:
        raise RefusalError("a slice takes several tokens by their places")
    found.slices.append((op, axis))
    return None


def _concat(op: nn.ConcatOp, found: TokenPlaces) -> int:
    axes = {found.axes.get(value, -1) for value in op.operands}
    if len(axes) != 1 or op.axis.value.data in axes:
        raise RefusalError("tokens are joined with something else")
    return axes.pop()


_RULES: Mapping[type[Operation], Callable[[Any, TokenPlaces], int | None]] = {
    nn.MapOp: _aligned,
    nn.CastOp: _aligned,
    bnn.BinarizeOp: _aligned,
    bnn.PackOp: _aligned,
    bnn.UnpackOp: _aligned,
    nn.LayerNormOp: _norm,
    nn.RmsNormOp: _norm,
    nn.SoftmaxOp: _softmax,
    nn.ReduceOp: _reduce,
    nn.MatmulOp: _matmul,
    bnn.MatmulOp: _matmul,
    nn.TransposeOp: _transpose,
    nn.ReshapeOp: _reshape,
    nn.SliceOp: _slice,
    nn.ConcatOp: _concat,
    sattn.AttentionOp: _attention,
}
"""By operation: the axis of the tokens in its result, None where there is none. Raises RefusalError."""
