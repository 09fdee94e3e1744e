"""Fewer tokens along the axis that has them: every value behind a gather gets its new extent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

from xdsl.dialects.func import ReturnOp
from xdsl.ir import Operation, SSAValue
from xdsl.rewriter import Rewriter

from ...dialects import nn, sattn
from ...dialects.elements import element_type, shape_of, tensor
from ..refusal import RefusalError

Axes = dict[SSAValue, int]
"""The axis along which a value has the tokens."""

MASKED_KEYS = 3
"""That of a mask's keys."""


def shrink(
    first: Operation, end: Operation | None, axes: Axes, before: int, after: int, always: int, count: SSAValue | None
) -> None:
    """Give every result from `first` on, up to `end`, that has the tokens along an axis its new extent. With a `count`,
    no more than so many of them are there."""
    op: Operation | None = first
    changed: set[SSAValue] = set(axes)
    while op is not None and op is not end:
        following = op.next_op
        touched = [value for value in op.operands if value in axes]
        if any(value in changed for value in op.operands):
            # Its values are no longer those of the model.
            op.attributes.pop("value", None)
            changed.update(op.results)
        if touched and not isinstance(op, ReturnOp):
            rule = _RULES.get(type(op))
            if rule is None:
                raise RefusalError(f"{op.name} takes tokens in a way that is not known to go with fewer")
            axis = rule(op, axes, before, always)
            if axis is None and count is not None and isinstance(op, nn.ReduceOp):
                raise RefusalError(f"a {op.kind.data} over tokens whose number the run finds", "no `threshold`")
            if axis is not None:
                op = _retype(op, axis, after)
                op = _counted(op, count) if count is not None and isinstance(op, sattn.AttentionOp) else op
                axes[op.results[0]] = axis
                changed.add(op.results[0])
        elif touched:
            raise RefusalError(
                "an output of the model has all tokens", "`restore`, or prune models whose output is of one token"
            )
        op = following


def _retype(op: Operation, axis: int, extent: int) -> Operation:
    shape = list(shape_of(op.results[0]))
    shape[axis] = extent
    new = type(op).create(
        operands=list(op.operands),
        result_types=[tensor(element_type(op.results[0]), *shape)],
        properties=dict(op.properties),
        attributes=dict(op.attributes),
    )
    new.location = op.location
    Rewriter.replace_op(op, new)
    return new


def _counted(op: sattn.AttentionOp, count: SSAValue) -> sattn.AttentionOp:
    made = op.of_form(op.form.data, op.pattern, op.mask, op.empty_row.data, order=op.order, count=count)
    made.attributes |= op.attributes
    made.location = op.location
    Rewriter.replace_op(op, made)
    return made


def _aligned(op: Operation, axes: Axes, before: int, _: int) -> int:
    """Elementwise: the axis counted from the last; nothing else may have the tokens' extent of its own there."""
    rank = len(shape_of(op.results[0]))
    found = {axes[value] - len(shape_of(value)) + rank for value in op.operands if value in axes}
    for value in op.operands:
        shape = shape_of(value)
        place = next(iter(found)) - rank + len(shape)
        if value not in axes and place >= 0 and shape[place] == before != 1:
            raise RefusalError(f"{op.name} joins tokens with something that has one value for each of them")
    if len(found) != 1:
        raise RefusalError(f"{op.name} joins tokens along several axes")
    return found.pop()


def _kept_axis(op: nn.LayerNormOp | nn.RmsNormOp | nn.SoftmaxOp, axes: Axes, _: int, __: int) -> int:
    axis = axes[op.input]
    if op.axis.value.data == axis:
        raise RefusalError(f"{op.name} runs along the tokens")
    return axis


def _reduce(op: nn.ReduceOp, axes: Axes, _: int, __: int) -> int | None:
    return None if axes[op.input] in op.axes.get_values() else axes[op.input]


def _matmul(op: nn.MatmulOp, axes: Axes, _: int, __: int) -> int:
    rank = len(shape_of(op.lhs))
    if op.rhs in axes or axes[op.lhs] == rank - 1:
        raise RefusalError("a product sums over the tokens")
    return axes[op.lhs] - rank + len(shape_of(op.result))


def _attention(op: sattn.AttentionOp, axes: Axes, _: int, __: int) -> int:
    if op.causal is not None or (op.mask is not None and axes.get(op.mask) != MASKED_KEYS):
        raise RefusalError("an attention behind has a mask, which names tokens by their places")
    if any(value not in axes or axes[value] != 2 for value in (op.q, op.k, op.v)):
        raise RefusalError("an attention behind has keys or values of other tokens")
    return 2


def _transpose(op: nn.TransposeOp, axes: Axes, _: int, __: int) -> int:
    return op.permutation.get_values().index(axes[op.input])


def _reshape(op: nn.ReshapeOp, axes: Axes, before: int, _: int) -> int:
    old, new, axis = shape_of(op.input), shape_of(op.result), axes[op.input]
    for place in range(len(new)):
        if new[place] == before and prod(new[:place]) == prod(old[:axis]):
            return place
    raise RefusalError("a reshape joins the tokens' axis with another")


def _slice(op: nn.SliceOp, axes: Axes, before: int, always: int) -> int | None:
    axis = axes[op.input]
    start, step, size = (
        op.starts.get_values()[axis],
        op.steps.get_values()[axis],
        shape_of(op.result)[axis],
    )
    if step == 1 and size == before:
        return axis
    if start >= 0 and max(start, start + step * (size - 1)) < always:
        return None
    raise RefusalError("a slice names tokens by places that change", "raise `always` where it takes the first ones")


_RULES: Mapping[type[Operation], Callable[[Any, Axes, int, int], int | None]] = {
    nn.MapOp: _aligned,
    nn.CastOp: _aligned,
    nn.LayerNormOp: _kept_axis,
    nn.RmsNormOp: _kept_axis,
    nn.SoftmaxOp: _kept_axis,
    nn.ReduceOp: _reduce,
    nn.MatmulOp: _matmul,
    nn.TransposeOp: _transpose,
    nn.ReshapeOp: _reshape,
    nn.SliceOp: _slice,
    sattn.AttentionOp: _attention,
}
"""By operation: the axis of the tokens in its result, None where there is none. Raises RefusalError."""
