"""8-bit values behind a float operand, as quantizers and weight-only exporters write them."""

from __future__ import annotations

from math import prod

import numpy as np
from xdsl.dialects.builtin import LocationAttr, f32, i8
from xdsl.ir import Operation, SSAValue

from ...dialects import nn
from ...dialects.constants import Array, ConstantStore
from ...dialects.elements import element_type, is_float, shape_of, ui8
from ...dialects.provenance import fuse
from ...isa.frozen import frozen
from ..builder import Builder
from ..integer_product import SHIFT, Bytes
from .retype import LAYOUT, through_layout


@frozen
class Dequantized:
    """A float value that is (source - zero_point) * scale, `source` being 8-bit and shown through `steps`.

    scale (None for 1) and zero_point (None for 0) hold one element, or one for each index of `axis` of `value` (not of
    `source`).
    """

    value: SSAValue
    source: SSAValue
    steps: tuple[Operation, ...]
    scale: SSAValue | None
    zero_point: SSAValue | None
    axis: int | None

    @staticmethod
    def of(value: SSAValue, store: ConstantStore) -> Dequantized | None:
        """See through layout and borders of zeros to what dequantizes; None where nothing does, or its axis
        is mixed with others on the way."""
        steps: list[Operation] = []
        source = value
        while isinstance(source.owner, LAYOUT) or is_zero_border(source, store):
            assert isinstance(source.owner, Operation)
            steps.insert(0, source.owner)
            source = source.owner.operands[0]
        found = _by_operator(source) or _by_cast(source)
        if found is None:
            return None
        values, scale, zero_point, axis = found
        for step in steps if axis is not None else ():
            axis = axis_after(step, axis) if axis is not None else None
            if axis is None:
                return None
        if axis is not None and zero_point is not None and any(isinstance(step, nn.PadOp) for step in steps):
            # A border of zeros would have another level in every channel.
            return None
        return Dequantized(value, values, tuple(steps), scale, zero_point, axis)

    @property
    def location(self) -> LocationAttr:
        """What stands between the 8-bit values and the float one."""
        made = [owner for owner in (self._dequantizer, *self.steps) if isinstance(owner, Operation)]
        return fuse(*(operation.location for operation in made))

    @property
    def _dequantizer(self) -> object:
        return (self.steps[0].operands[0] if self.steps else self.value).owner

    def is_symmetric(self, store: ConstantStore) -> bool:
        """Whether level 0 of the values, uint8 moved into int8, is known to stand for 0."""
        return self.signed_zero(store) == 0

    def signed_zero(self, store: ConstantStore) -> int | None:
        """The level, of the values as signed bytes, that stands for 0: None where it is not known, or not one."""
        zero = self._known_zero(store)
        if zero is None or not zero.size or (zero != zero.flat[0]).any():
            return None
        return int(zero.flat[0]) - (SHIFT if element_type(self.source) == ui8 else 0)

    def bytes(self, build: Builder, transposed: bool = False) -> Bytes:
        """The values as signed bytes in the shape of `value`. Their zero point stretches to them, or to their
        transpose if `transposed`."""
        zero = self._known_zero(build.store)
        found = Bytes.of(build, self.source, self.zero_point if zero is None else zero)
        shown = through_layout(build, found.value, self.steps, found)
        return found.reshaped(build, shown, self._parameter_shape(transposed))

    def factor(self, build: Builder, transposed: bool = False) -> SSAValue:
        """The scale in float32, stretching to `value`, or to its transpose if `transposed`."""
        if self.scale is None:
            return build.constant(np.asarray(1, np.float32))
        return build.reshape(build.cast(self.scale, f32), self._parameter_shape(transposed))

    def _parameter_shape(self, transposed: bool) -> tuple[int, ...]:
        if self.axis is None:
            return ()
        axes = list(range(len(shape_of(self.value))))
        if transposed:
            axes[-2:] = reversed(axes[-2:])
        behind = len(axes) - 1 - axes.index(self.axis)
        return (shape_of(self.value)[self.axis], *(1,) * behind)

    def _known_zero(self, store: ConstantStore) -> Array | None:
        """The zero point if it is known, as integers of the source's type."""
        if self.zero_point is None:
            return np.zeros((), np.int32)
        constant = self.zero_point.owner
        return store.array(constant.data) if isinstance(constant, nn.ConstantOp) else None


def is_zero_border(value: SSAValue, store: ConstantStore) -> bool:
    """Whether `nn.pad` makes the value, with zeros."""
    pad = value.owner
    if not isinstance(pad, nn.PadOp) or not isinstance(pad.fill.owner, nn.ConstantOp):
        return False
    return not store.array(pad.fill.owner.data).any()


_Found = tuple[SSAValue, SSAValue | None, SSAValue | None, int | None]


def _by_operator(value: SSAValue) -> _Found | None:
    made = value.owner
    if not isinstance(made, nn.DequantizeOp) or element_type(made.input) not in (i8, ui8):
        return None
    return made.input, made.scale, made.zero_point, None if made.axis is None else made.axis.value.data


def _by_cast(value: SSAValue) -> _Found | None:
    """8-bit values cast to floats, and perhaps multiplied by a constant of one element, or of one for each index
    of an axis."""
    product = value.owner
    if isinstance(product, nn.CastOp) and element_type(product.input) in (i8, ui8) and is_float(element_type(value)):
        return product.input, None, None, None
    if not isinstance(product, nn.MapOp) or product.function.data != "mul":
        return None
    for cast, factor in (product.inputs, reversed(product.inputs)):
        widened = cast.owner
        if not isinstance(widened, nn.CastOp) or not isinstance(factor.owner, nn.ConstantOp):
            continue
        if element_type(widened.input) not in (i8, ui8) or not is_float(element_type(cast)):
            continue
        shape, rank = shape_of(factor), len(shape_of(value))
        axes = [rank - len(shape) + place for place, extent in enumerate(shape) if extent != 1]
        if shape_of(cast) == shape_of(value) and len(axes) <= 1:
            return widened.input, factor, None, axes[0] if axes else None
    return None


def axis_after(step: Operation, axis: int) -> int | None:
    """Where `axis` of the operand of a layout operation is in its result; None if it is mixed with others or
    cut."""
    before, after = shape_of(step.operands[0]), shape_of(step.results[0])
    match step:
        case nn.TransposeOp():
            return step.permutation.get_values().index(axis)
        case nn.ReshapeOp():
            for place, extent in enumerate(after):
                if extent == before[axis] and prod(after[:place]) == prod(before[:axis]):
                    return place
            return None
        case nn.BroadcastOp():
            place = axis + len(after) - len(before)
            return place if after[place] == before[axis] else None
        case nn.SliceOp():
            whole = before[axis] == after[axis] and step.steps.get_values()[axis] == 1
            return axis if whole else None
        case _:
            # Borders and windows leave an axis alone whose extent stays.
            return axis if before[axis] == after[axis] and (axis < 2 or isinstance(step, nn.PadOp)) else None
