"""Values of few levels packed where they are made, and how they lie behind layout operations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import f32, i32
from xdsl.ir import Attribute, Operation, SSAValue

from ...dialects import bnn, nn
from ...dialects.bnn_types import bipolar
from ...dialects.constants import ConstantStore
from ...dialects.elements import element_type, format_of, shape_of
from ..builder import Builder
from ..tile.view import View
from ..tile.views import derived
from .recognize_levels import ROUNDINGS


def packed(build: Builder, value: SSAValue, element: Attribute) -> SSAValue:
    """`value`, whose elements are all of the type's set, as packed ones: from the truth values, or the floats, that it
    was made of where that is the same."""
    made = value.owner
    if isinstance(made, nn.CastOp) and element_type(made.input) in (f32, i32):
        return packed(build, made.input, element)
    if format_of(element).bits == 1:
        truth = _truth(build, value, element)
        if truth is not None:
            return build.insert(bnn.PackOp(truth, element))
    return build.insert(bnn.PackOp(_unclamped(build.store, value, element), element))


def _truth(build: Builder, value: SSAValue, element: Attribute) -> SSAValue | None:
    """Where `value` is the upper one of its two, if it was chosen so."""
    made = value.owner
    if isinstance(made, nn.CastOp):
        return made.input
    if not isinstance(made, nn.MapOp) or made.function.data != "select":
        return None
    condition = made.inputs[0]
    chosen = [number(build.store, operand) for operand in made.inputs[1:]]
    upper, lower = 1.0, -1.0 if element == bipolar else 0.0
    if shape_of(condition) != shape_of(value) or set(chosen) != {upper, lower}:
        return None
    return condition if chosen[0] == upper else build.not_(condition)


def _unclamped(store: ConstantStore, value: SSAValue, element: Attribute) -> SSAValue:
    """A float without clamps that packing does by itself: to the range of the stored format, or around a bit."""
    low, high = format_of(element).limits
    made = value.owner
    while isinstance(made, nn.MapOp) and made.function.data in ("min", "max") and element_type(value) == f32:
        bounded = [(operand, number(store, made.inputs[1 - place])) for place, operand in enumerate(made.inputs)]
        found = next(((operand, bound) for operand, bound in bounded if bound is not None), None)
        if found is None or shape_of(found[0]) != shape_of(value):
            break
        inner, bound = found
        if format_of(element).bits == 1:
            same = bound > 0 if made.function.data == "min" else bound <= 0
        else:
            same = bound == (high if made.function.data == "min" else low)
        if not same or not _is_rounded(inner):
            break
        value, made = inner, inner.owner
    return value


def _is_rounded(value: SSAValue) -> bool:
    """Whether a value is a whole number by rounding, perhaps clamped."""
    made = value.owner
    if isinstance(made, nn.MapOp) and made.function.data in ("min", "max"):
        return any(_is_rounded(operand) for operand in made.inputs)
    return isinstance(made, nn.MapOp) and made.function.data in ROUNDINGS


def number(store: ConstantStore, value: SSAValue) -> float | None:
    """The one value of a constant of one element."""
    made = value.owner
    if not isinstance(made, nn.ConstantOp) or int(np.prod(shape_of(value), dtype=np.int64)) != 1:
        return None
    return float(store.array(made.data).flat[0])


def placeholder(source: SSAValue, element: Attribute) -> View:
    """How a value will lie once it is packed."""
    pack = bnn.PackOp(source, element)
    view = View.dense(pack.result, shape_of(source))
    pack.drop_all_references()
    return view


def placed_along_depth(view: View, steps: Sequence[Operation], swapped: bool) -> bool | None:
    """Whether a packed value must be placed for layout operations to leave it in rows along the depth of the product
    that takes it, each of whole bytes: the last axis, or the one before where they are `swapped`; None where it cannot
    lie so."""
    placed = False
    for step in steps:
        shown = derived(step, view)
        if shown is None and not placed:
            # It is written in the order in which this step, a reshape, reads it.
            whole = View.dense(view.root, view.shape)
            if not whole.in_whole_bytes or view.unpermuted(shape_of(view.root), whole) is None:
                return None
            shown, placed = derived(step, whole), True
        if shown is None or not shown.in_whole_bytes:
            return None
        view = shown
    return placed if view.strides[-2 if swapped else -1] == 1 else None
