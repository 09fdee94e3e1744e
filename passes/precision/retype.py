"""Changes of element type carried through layout operations, which keep the type of what they move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.ir import Operation, SSAValue
from xdsl.rewriter import Rewriter

from ...dialects import nn
from ...dialects.constants import Array
from ...dialects.elements import element_type, shape_of, tensor
from ..builder import Builder
from ..integer_product import Bytes
from ..rewrite import carry

LAYOUT = (nn.TransposeOp, nn.ReshapeOp, nn.BroadcastOp, nn.SliceOp, nn.WindowsOp)
"""Operations with one operand whose elements they move and do not change."""


def above_layout(value: SSAValue) -> tuple[SSAValue, tuple[Operation, ...]]:
    """The value whose elements `value` shows all of, and the layout operations between them (first to
    last)."""
    steps: list[Operation] = []
    while isinstance(value.owner, LAYOUT) and not isinstance(value.owner, nn.SliceOp):
        steps.insert(0, value.owner)
        value = value.owner.operands[0]
    return value, tuple(steps)


def through_layout(build: Builder, value: SSAValue, steps: Sequence[Operation], zero: Bytes | None = None) -> SSAValue:
    """`value` shown through copies of layout operations, each standing for the nodes of its original.

    Borders among them get the zero point of `zero`.
    """
    location = build.location
    for step in steps:
        build.location = step.location
        if isinstance(step, nn.PadOp):
            assert zero is not None
            fill = zero.scalar_zero(build)
            value = build.pad(value, step.low.get_values(), step.high.get_values(), fill)
            continue
        shape = shape_of(step.results[0])
        copy = type(step).create(
            operands=[value],
            result_types=[tensor(element_type(value), *shape)],
            properties=dict(step.properties),
        )
        if "path" in step.attributes:
            copy.attributes["path"] = step.attributes["path"]
        value = build.insert(copy)
    build.location = location
    return value


def before_layout(constant: Array, value: SSAValue, steps: Sequence[Operation]) -> Array | None:
    """A constant that stretches to `value`, as it stretches to what `steps` show as `value`; None where it
    cannot."""
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
    """Put `new` in the place of the first result of `old`, and the further results of its operation in that of the
    others; its operation carries on the name and path of `old`."""
    others: Sequence[SSAValue] = ()
    if isinstance(new.owner, Operation):
        carry(old, new.owner)
        others = new.owner.results[1:] if len(old.results) > 1 else ()
    Rewriter.replace_op(old, [], [new, *others])
