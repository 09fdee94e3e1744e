"""Changes of element type carried through layout operations, which keep the type of what they move."""

from __future__ import annotations

import numpy as np
from xdsl.ir import Operation, SSAValue
from xdsl.rewriter import Rewriter

from ...dialects import nn
from ...dialects.constants import Array
from ...dialects.elements import element_type, shape_of, tensor
from ..rewrite import carry, insert_before

LAYOUT = (nn.TransposeOp, nn.ReshapeOp, nn.BroadcastOp, nn.SliceOp)
"""Operations with one operand whose elements they move and do not change."""


def above_layout(value: SSAValue) -> tuple[SSAValue, tuple[Operation, ...]]:
    """The value whose elements `value` shows, and the layout operations between them (first to last).

    It stops at a layout operation that something else uses too: that one is not ours to change.
    """
    steps: list[Operation] = []
    while isinstance(value.owner, LAYOUT) and value.has_one_use():
        steps.append(value.owner)
        value = value.owner.operands[0]
    return value, tuple(reversed(steps))


def through_layout(value: SSAValue, steps: tuple[Operation, ...]) -> SSAValue:
    """`value` shown through copies of the layout operations `steps`, each copy beside its original."""
    for step in steps:
        copy = type(step).create(
            operands=[value],
            result_types=[tensor(element_type(value), *shape_of(step.results[0]))],
            properties=dict(step.properties),
            attributes={name: data for name, data in step.attributes.items() if name != "value"},
        )
        copy.location = step.location
        insert_before(step, copy)
        value = copy.results[0]
    return value


def before_layout(constant: Array, value: SSAValue, steps: tuple[Operation, ...]) -> Array | None:
    """A constant that stretches to `value`, as it stretches to what `steps` show as `value`; None where it cannot."""
    if constant.shape == ():
        return constant
    whole = np.broadcast_to(constant, shape_of(value))
    for step in reversed(steps):
        if isinstance(step, nn.TransposeOp):
            whole = whole.transpose(np.argsort(step.permutation.get_values()))
        elif isinstance(step, nn.ReshapeOp):
            whole = whole.reshape(shape_of(step.input))
        else:
            return None
    for axis in range(whole.ndim):
        first = whole.take([0], axis)
        if (whole == first).all():
            whole = first
    return whole


def replace(old: Operation, new: SSAValue) -> None:
    """Put `new` in the place of the only result of `old`; its operation carries on the name and path of `old`."""
    if isinstance(new.owner, Operation):
        carry(old, new.owner)
    Rewriter.replace_op(old, [], [new])


def carry_path(source: Operation, target: Operation) -> None:
    """Let `target`, which does the work of `source` but does not give its value, have its path."""
    path = source.attributes.get("path")
    if path is not None:
        target.attributes["path"] = path
