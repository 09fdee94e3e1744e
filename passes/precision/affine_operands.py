"""Operands of products that are whole numbers times a factor, plus an offset: X = a * Xq + b.

Factor and offset may be constants or values of the run (a token's scale, the least element of a tensor); what makes
them stands between the whole numbers and the product. Those that are the same along the axis that the product sums
over can leave it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from xdsl.dialects.builtin import LocationAttr, f32
from xdsl.ir import Operation, SSAValue

from ...dialects import nn
from ...dialects.constants import ConstantStore
from ...dialects.elements import element_type, is_float, shape_of
from ...dialects.provenance import fuse
from ...isa.frozen import frozen
from ..builder import Builder
from ..integer_product import Bytes
from .dequantized import Dequantized, axis_after
from .retype import LAYOUT, through_layout

SCALING = {"mul": (0, 1), "div": (0,), "add": (0, 1), "sub": (0, 1)}
"""Functions that keep a value affine, and the places that it may take in them."""

LARGEST_ZERO = 1 << 15


@frozen
class Step:
    """One operation between whole numbers and a product; they are its operand number `place`."""

    operation: Operation
    place: int

    @property
    def source(self) -> SSAValue:
        """The operand that shows the whole numbers."""
        return self.operation.operands[self.place]

    @property
    def other(self) -> SSAValue:
        """The factor or offset."""
        return self.operation.operands[1 - self.place]


def peeled(value: SSAValue, axis: int) -> tuple[SSAValue, tuple[Step, ...]]:
    """What lies under layout, factors and offsets that are the same along `axis` of a value; and these, the inmost
    first."""
    steps: list[Step] = []
    rank = len(shape_of(value))
    while (step := _step(value, steps, rank, axis)) is not None:
        steps.insert(0, step)
        value = step.source
    return value, tuple(steps)


def _step(value: SSAValue, outer: list[Step], rank: int, axis: int) -> Step | None:
    made = value.owner
    if isinstance(made, LAYOUT):
        return Step(made, 0)
    if not isinstance(made, nn.MapOp) or not is_float(element_type(value)):
        return None
    for place in SCALING.get(made.function.data, ()):
        source = made.inputs[place]
        if shape_of(source) != shape_of(value) or not is_float(element_type(source)):
            continue
        shape: tuple[int, ...] | None = shape_of(made.inputs[1 - place])
        for step in outer:
            shape = None if shape is None else _shape_after(shape, step.operation)
        # An axis that a shape lacks is one of extent 1.
        if shape is not None and (axis < rank - len(shape) or shape[axis - rank] == 1):
            return Step(made, place)
    return None


def _shape_after(shape: tuple[int, ...], operation: Operation) -> tuple[int, ...] | None:
    """The shape of a parameter that stretches to the operand of an operation, as it stretches to the result."""
    if prod(shape) == 1:
        return ()
    if not isinstance(operation, LAYOUT):
        return shape
    full = (1,) * (len(shape_of(operation.operands[0])) - len(shape)) + shape
    if isinstance(operation, nn.TransposeOp):
        return tuple(full[axis] for axis in operation.permutation.get_values())
    wide = [axis for axis, extent in enumerate(full) if extent > 1]
    after = axis_after(operation, wide[0]) if len(wide) == 1 else None
    if after is None:
        return None
    return tuple(full[wide[0]] if axis == after else 1 for axis in range(len(shape_of(operation.results[0]))))


def _carried(build: Builder, parameter: SSAValue, operation: Operation) -> SSAValue:
    """A parameter as it stretches to the result of a layout operation."""
    shape = shape_of(parameter)
    after = _shape_after(shape, operation)
    assert after is not None
    if isinstance(operation, nn.TransposeOp) and after:
        full = (1,) * (len(shape_of(operation.operands[0])) - len(shape)) + shape
        return build.transpose(build.reshape(parameter, full), operation.permutation.get_values())
    return build.reshape(parameter, after)


@frozen
class Affine:
    """A value of which is known that it is affine in bytes: `whole` shows them, `steps` follow."""

    whole: Dequantized
    steps: tuple[Step, ...]

    @staticmethod
    def of(value: SSAValue, axis: int, store: ConstantStore) -> Affine | None:
        """The operand `value` of a product that sums over its axis `axis`; None where it is not of bytes, or what
        scales and moves them cannot leave the product."""
        whole = Dequantized.of(value, store)
        if whole is not None:
            return None if whole.axis == axis else Affine(whole, ())
        core, steps = peeled(value, axis)
        whole = Dequantized.of(core, store)
        return None if whole is None or whole.axis is not None else Affine(whole, steps)

    @property
    def location(self) -> LocationAttr:
        """What stands between the bytes and the value."""
        return fuse(self.whole.location, *(step.operation.location for step in self.steps))

    def operand(self, build: Builder, transposed: bool = False) -> AffineOperand:
        """The operand; what stretches to it stretches to its transpose if `transposed`."""
        if not self.steps:
            return AffineOperand(self.whole.bytes(build, transposed), self.whole.factor(build, transposed), None)
        factor = None if self.whole.scale is None else self.whole.factor(build)
        found = AffineOperand(self.whole.bytes(build), factor, None)
        for step in self.steps:
            found.take(build, step)
        return found.transposed(build) if transposed else found


@dataclass
class AffineOperand:
    """An operand as (bytes - zero) * factor + offset; factor and offset are float32 and stretch to it, None for 1
    and 0."""

    bytes: Bytes
    factor: SSAValue | None
    offset: SSAValue | None

    def take(self, build: Builder, step: Step) -> None:
        """Go on to the value that the operation of a step makes."""
        if isinstance(step.operation, LAYOUT):
            shown = through_layout(build, self.bytes.value, (step.operation,))
            self.bytes = Bytes(shown, self.bytes.zero)
            self.factor = None if self.factor is None else _carried(build, self.factor, step.operation)
            self.offset = None if self.offset is None else _carried(build, self.offset, step.operation)
            return
        assert isinstance(step.operation, nn.MapOp)
        function, other = step.operation.function.data, build.cast(step.other, f32)
        if function in ("mul", "div"):
            one = build.constant(np.asarray(1, np.float32))
            self.factor = build.map(function, one if self.factor is None else self.factor, other)
            self.offset = None if self.offset is None else build.map(function, self.offset, other)
        elif not self._take_zero(build.store, step):
            falls = function == "sub" and step.place == 1
            if falls:
                minus = build.constant(np.asarray(-1, np.float32))
                self.factor = minus if self.factor is None else build.map("neg", self.factor)
            if self.offset is None:
                self.offset = other if function == "add" or falls else build.map("neg", other)
            else:
                operands = (other, self.offset) if falls else (self.offset, other)
                self.offset = build.map(function, *operands)

    def _take_zero(self, store: ConstantStore, step: Step) -> bool:
        """Take a whole number off whole numbers: a zero point, which keeps the product exact."""
        constant = step.other.owner
        if self.factor is not None or self.offset is not None or isinstance(self.bytes.zero, SSAValue):
            return False
        if step.place != 0 or not isinstance(constant, nn.ConstantOp) or prod(shape_of(step.other)) != 1:
            return False
        number = float(store.array(constant.data).reshape(()))
        if number != np.floor(number) or abs(number) > LARGEST_ZERO:
            return False
        assert isinstance(step.operation, nn.MapOp)
        zero = int(number) if step.operation.function.data == "sub" else -int(number)
        known = np.zeros((), np.int64) if self.bytes.zero is None else self.bytes.zero
        self.bytes = Bytes(self.bytes.value, known + zero if (known + zero).any() else None)
        return True

    def transposed(self, build: Builder) -> AffineOperand:
        """The same bytes; zero point, factor and offset as they stretch to the operand's transpose."""

        def swapped(parameter: SSAValue | None) -> SSAValue | None:
            if parameter is None or prod(shape_of(parameter)) == 1:
                return parameter
            shape = shape_of(parameter)
            return build.swap_last(build.reshape(parameter, (1,) * max(0, 2 - len(shape)) + shape))

        zero = self.bytes.zero
        if isinstance(zero, SSAValue):
            zero = swapped(zero)
        elif zero is not None and zero.size > 1:
            zero = zero.reshape((1,) * max(0, 2 - zero.ndim) + zero.shape).swapaxes(-1, -2)
        return AffineOperand(Bytes(self.bytes.value, zero), swapped(self.factor), swapped(self.offset))
