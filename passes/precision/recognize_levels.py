"""Few-level values behind the operands of products, however they are spelled, kept as integers in bytes.

A float that can only be a whole number of a narrow range (the result of rounding and clamping, of a comparison, of a
sign, one of two numbers that a comparison chooses, or a constant matrix of few values) is put into a byte and taken
out again, with what scales it behind. That changes no value; products of two such operands then are integer products.

Spellings: Where(x >= 0, 1, -1), Greater and Where, Sign, Cast of a comparison, Sub / Div / Round / Clip / Mul, and
constant matrices of {-a, a}, {0, a} or {-a, 0, a} with one a for the tensor or for each column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, f32, i8
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from ...dialects import nn
from ...dialects.constants import Array, ConstantStore, derived_key
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, is_bool, shape_of, ui8
from ..builder import Builder
from .integer_products import contracted_axis
from .retype import LAYOUT

BYTE, UNSIGNED = (-128, 127), (0, 255)

SAMPLED = 64
"""So many first values of a constant tell most matrices that have many levels."""

ROUNDINGS = ("rint", "floor", "ceil", "trunc")

Range = tuple[float, float]


@dataclass(frozen=True)
class RecognizeLevels(ModulePass):
    """Put few-level operands of float products into bytes."""

    name = "recognize-levels"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module; what the products no longer read is left for `remove-unused`."""
        store = CompilerContext.of(ctx).store
        for product in [p for p in op.walk() if isinstance(p, nn.MatmulOp)]:
            for index in range(2):
                if element_type(product.operands[index]) == f32:
                    _Operand(product, index, store).recognize()


def whole_range(value: SSAValue, store: ConstantStore) -> Range | None:
    """The range of a float value that is always a whole number; None where that is not known. Bounds may be infinite;
    a NaN is none of its values."""
    made = value.owner
    if isinstance(made, nn.CastOp):
        source = element_type(made.input)
        return (0, 1) if is_bool(source) else BYTE if source == i8 else UNSIGNED if source == ui8 else None
    if isinstance(made, LAYOUT):
        return whole_range(made.operands[0], store)
    if not isinstance(made, nn.MapOp):
        return None
    name, inputs = made.function.data, made.inputs
    if name in ROUNDINGS:
        low, high = bounds(inputs[0], store)
        return float(np.floor(low)), float(np.ceil(high))
    if name == "sign":
        return -1, 1
    if name in ("min", "max"):
        ranges = [whole_range(operand, store) or _whole_number(operand, store) for operand in inputs]
        if ranges[0] is None or ranges[1] is None:
            return None
        pick = min if name == "min" else max
        return pick(ranges[0][0], ranges[1][0]), pick(ranges[0][1], ranges[1][1])
    if name == "select":
        ranges = [whole_range(operand, store) or _whole_number(operand, store) for operand in inputs[1:]]
        if ranges[0] is None or ranges[1] is None:
            return None
        return min(ranges[0][0], ranges[1][0]), max(ranges[0][1], ranges[1][1])
    return None


def bounds(value: SSAValue, store: ConstantStore) -> Range:
    """Bounds of a float value, as far as clamping tells them."""
    made = value.owner
    if isinstance(made, nn.MapOp) and made.function.data in ("min", "max"):
        pick = min if made.function.data == "min" else max
        ranges = [bounds(operand, store) for operand in made.inputs]
        return pick(ranges[0][0], ranges[1][0]), pick(ranges[0][1], ranges[1][1])
    number = _number(value, store)
    return (-np.inf, np.inf) if number is None else (number, number)


def _number(value: SSAValue, store: ConstantStore) -> float | None:
    """The one value of a small constant whose elements are equal."""
    made = value.owner
    if not isinstance(made, nn.ConstantOp) or int(np.prod(shape_of(value), dtype=np.int64)) > SAMPLED:
        return None
    array = store.array(made.data)
    return float(array.flat[0]) if array.size and (array == array.flat[0]).all() else None


def _whole_number(value: SSAValue, store: ConstantStore) -> Range | None:
    number = _number(value, store)
    return None if number is None or number != np.floor(number) else (number, number)


def scale_of_levels(array: Array, axis: int) -> Array | None:
    """The scale that makes a constant whole numbers of -1 to 1, of one element or one for each index of `axis` (it
    stretches to the constant); 1 for small whole numbers. None for a constant of other values."""
    if _has_many_magnitudes(array, axis):
        return None
    size = np.abs(array)
    others = tuple(other for other in range(array.ndim) if other != axis)
    for reduced in (None, others):
        scale = size.max(axis=reduced, keepdims=reduced is not None)
        if np.isfinite(scale).all() and ((size == scale) | (size == 0)).all():
            return np.where(scale > 0, scale, 1).astype(np.float32)
    if size.max() <= BYTE[1] and (array == np.floor(array)).all():
        return np.ones((), np.float32)
    return None


def _has_many_magnitudes(array: Array, axis: int) -> bool:
    """What a glance at a few elements of one index of `axis` tells; most weights need no closer look."""
    sample = np.abs(array.take(0, axis).ravel()[:SAMPLED])
    present = sample[sample > 0]
    return bool((present != present[:1]).any() and (sample != np.floor(sample)).any())


@dataclass
class _Operand:
    """One operand of a product."""

    product: nn.MatmulOp
    index: int
    store: ConstantStore

    def recognize(self) -> None:
        """Find the few-level value behind layout and constant factors, and rewrite what reads it."""
        user: Operation = self.product
        index = self.index
        value = user.operands[index]
        while isinstance(value.owner, LAYOUT):
            user, index, value = value.owner, 0, value.owner.operands[0]
        if isinstance(value.owner, nn.ConstantOp):
            self._constant(user, index, value.owner)
            return
        scaled = self._factor(value)
        if scaled is not None:
            user, index = scaled
            value = user.operands[index]
        self._value(user, index, value)

    def _factor(self, value: SSAValue) -> tuple[Operation, int] | None:
        """The multiplication by a constant that makes `value`, and the place of its other operand."""
        made = value.owner
        if not isinstance(made, nn.MapOp) or made.function.data != "mul":
            return None
        for place in (0, 1):
            if isinstance(made.inputs[1 - place].owner, nn.ConstantOp):
                return made, place
        return None

    def _value(self, user: Operation, index: int, value: SSAValue) -> None:
        found = whole_range(value, self.store)
        build = Builder.after(value, self.store, user)
        if found is not None:
            self._through_byte(build, user, index, value, found)
            return
        made = value.owner
        if isinstance(made, nn.MapOp) and made.function.data == "select":
            self._two_numbers(build, user, index, made)

    def _through_byte(self, build: Builder, user: Operation, index: int, value: SSAValue, found: Range) -> None:
        if isinstance(value.owner, nn.CastOp) and element_type(value.owner.input) in (i8, ui8):
            return
        for byte, (low, high) in ((i8, BYTE), (ui8, UNSIGNED)):
            if low <= found[0] and found[1] <= high:
                user.operands[index] = build.cast(build.cast(value, byte), f32)
                return

    def _two_numbers(self, build: Builder, user: Operation, index: int, made: nn.MapOp) -> None:
        """One of {-a, a}, {a, 0} or {0, a}: the choice of whole numbers, times a."""
        numbers = [_number(operand, self.store) for operand in made.inputs[1:]]
        if numbers[0] is None or numbers[1] is None:
            return
        a = numbers[0] or numbers[1]
        levels = [number / a for number in numbers if number is not None] if a and np.isfinite(a) else []
        if not levels or not set(levels) <= {-1.0, 0.0, 1.0}:
            return
        whole = build.cast(build.map("select", made.inputs[0], *levels, to=f32), i8)
        wide = build.cast(whole, f32)
        if user is self.product or isinstance(user, LAYOUT):
            user.operands[index] = build.map("mul", wide, a)
            return
        # Levels of -1, 0 and 1 keep the two factors exact as one.
        factor = user.operands[1 - index].owner
        assert isinstance(factor, nn.ConstantOp)
        before = Builder.before(user, self.store)
        user.operands[index] = wide
        user.operands[1 - index] = before.constant(self.store.array(factor.data) * np.float32(a))

    def _constant(self, user: Operation, index: int, made: nn.ConstantOp) -> None:
        key = made.reference
        if key is None or len(shape_of(made.result)) < 2:
            return
        axis = self._kept_axis(user, made.result)
        scale = None if axis is None else scale_of_levels(self.store.get(key), axis)
        if scale is None:
            return

        def whole(array: Array) -> Array:
            return np.rint(array / scale).astype(np.int8)

        name = derived_key("levels", key, scales=scale.shape)
        self.store.derive(name, whole, key, shape=shape_of(made.result), dtype=np.dtype(np.int8))
        build = Builder.after(made.result, self.store, user)
        wide = build.cast(build.named_constant(name), f32)
        user.operands[index] = (
            wide if scale.size == 1 and scale.item() == 1 else build.map("mul", wide, build.constant(scale))
        )

    def _kept_axis(self, user: Operation, constant: SSAValue) -> int | None:
        """The axis of a constant matrix that the product keeps; None where layout operations mix it."""
        rank = len(shape_of(constant))
        contracted = contracted_axis(self.product, self.index)
        kept = {rank - 1: rank - 2, rank - 2: rank - 1}.get(contracted)
        steps: list[Operation] = []
        value = self.product.operands[self.index]
        while isinstance(value.owner, LAYOUT):
            steps.append(value.owner)
            value = value.owner.operands[0]
        for step in steps:
            if kept is None or not isinstance(step, nn.TransposeOp):
                return None
            kept = step.permutation.get_values()[kept]
        return kept
