"""Few-level values behind the operands of products, however they are spelled, kept as integers in bytes.

A float that can only be a whole number of a narrow range (the result of rounding and clamping, of a comparison, of a
sign, one of two numbers that a comparison chooses, or a constant matrix of few values) is put into a byte and taken
out again, with what scales it behind. That changes no value; products of two such operands then are integer products.

Spellings: Where(x >= 0, 1, -1), Greater and Where, Sign, 2 * (x >= 0) - 1, any arithmetic of one comparison,
Sub / Div / Round / Clip / Mul, and constant matrices of few levels (`constant_levels`). Factors and offsets, also those
that are found when the program runs, stay behind the bytes (`affine_operands`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, f32, i8
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from ...dialects import nn
from ...dialects.constants import ConstantStore, derived_key
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, is_bool, shape_of, ui8
from ...isa.frozen import frozen
from ...isa.lane_functions import LANE_FUNCTIONS
from ..builder import Builder
from .affine_operands import peeled
from .constant_levels import levels_of
from .integer_products import contracted_axis
from .retype import LAYOUT

BYTE, UNSIGNED = (-128, 127), (0, 255)

SMALL = 64
"""Constants of up to so many equal elements are looked at as one number."""

ROUNDINGS = ("rint", "floor", "ceil", "trunc")

Range = tuple[float, float]

BOUNDED: dict[str, Range] = {"sigmoid": (0, 1), "tanh": (-1, 1), "erf": (-1, 1), "sign": (-1, 1)}
"""Functions whose values are bounded, whatever they are of."""


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
    """Bounds of a float value, as far as clamping and scaling by constants tell them."""
    made = value.owner
    if isinstance(made, LAYOUT):
        return bounds(made.operands[0], store)
    if isinstance(made, nn.SoftmaxOp):
        return 0.0, 1.0
    if isinstance(made, nn.MapOp):
        function, inputs = made.function.data, made.inputs
        if function in BOUNDED:
            return BOUNDED[function]
        if function in ("min", "max"):
            pick = min if function == "min" else max
            ranges = [bounds(operand, store) for operand in inputs]
            return pick(ranges[0][0], ranges[1][0]), pick(ranges[0][1], ranges[1][1])
        other = _number(inputs[-1], store)
        if function in ("mul", "div", "add", "sub") and other is not None:
            # Rounding is monotone: what the ends become bounds what lies between.
            ends = [_evaluated(function, (end, other)) for end in bounds(inputs[0], store)]
            return (-np.inf, np.inf) if np.isnan(ends).any() else (float(min(ends)), float(max(ends)))
    number = _number(value, store)
    return (-np.inf, np.inf) if number is None else (number, number)


def _number(value: SSAValue, store: ConstantStore) -> float | None:
    """The one value of a small constant whose elements are equal."""
    made = value.owner
    if not isinstance(made, nn.ConstantOp) or int(np.prod(shape_of(value), dtype=np.int64)) > SMALL:
        return None
    array = store.array(made.data)
    return float(array.flat[0]) if array.size and (array == array.flat[0]).all() else None


def _whole_number(value: SSAValue, store: ConstantStore) -> Range | None:
    number = _number(value, store)
    return None if number is None or number != np.floor(number) else (number, number)


@frozen
class Choice:
    """A value that is `upper` where a truth value holds, and `lower` elsewhere."""

    condition: SSAValue
    upper: np.float32
    lower: np.float32


def choice_of(value: SSAValue, store: ConstantStore) -> Choice | None:
    """The finite numbers that a float value chooses between by one truth value, however it comes from that; None for
    any other value."""
    made = value.owner
    if element_type(value) != f32 or not isinstance(made, nn.MapOp | nn.CastOp):
        return None
    if isinstance(made, nn.CastOp):
        truth = is_bool(element_type(made.input))
        return Choice(made.input, np.float32(1), np.float32(0)) if truth else choice_of(made.input, store)
    if made.function.data == "select":
        upper, lower = (_number(operand, store) for operand in made.inputs[1:])
        if upper is None or lower is None or not np.isfinite([upper, lower]).all():
            return None
        return Choice(made.inputs[0], np.float32(upper), np.float32(lower))
    numbers = [_number(operand, store) for operand in made.inputs]
    places = [place for place, number in enumerate(numbers) if number is None]
    if len(places) != 1 or shape_of(made.inputs[places[0]]) != shape_of(value):
        return None
    choice = choice_of(made.inputs[places[0]], store)
    if choice is None:
        return None
    upper, lower = (
        _evaluated(made.function.data, [side if number is None else number for number in numbers])
        for side in (float(choice.upper), float(choice.lower))
    )
    return Choice(choice.condition, upper, lower) if np.isfinite([upper, lower]).all() else None


def _evaluated(function: str, numbers: Sequence[float]) -> np.float32:
    """A lane function of numbers, as the lanes compute it."""
    operands = [np.asarray(number, np.float32) for number in numbers]
    return np.float32(LANE_FUNCTIONS[function].evaluate(*operands))


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
        choice = choice_of(value, self.store)
        if choice is not None:
            self._two_numbers(Builder.after(value, self.store, user), user, index, choice)
            return
        _, steps = peeled(self.product.operands[self.index], contracted_axis(self.product, self.index))
        if steps:
            user, index = steps[0].operation, steps[0].place
        self._value(user, index, user.operands[index])

    def _value(self, user: Operation, index: int, value: SSAValue) -> None:
        found = whole_range(value, self.store)
        build = Builder.after(value, self.store, user)
        if found is not None:
            self._through_byte(build, user, index, value, found)

    def _through_byte(self, build: Builder, user: Operation, index: int, value: SSAValue, found: Range) -> None:
        if isinstance(value.owner, nn.CastOp) and element_type(value.owner.input) in (i8, ui8):
            return
        for byte, (low, high) in ((i8, BYTE), (ui8, UNSIGNED)):
            if low <= found[0] and found[1] <= high:
                user.operands[index] = build.cast(build.cast(value, byte), f32)
                return

    def _two_numbers(self, build: Builder, user: Operation, index: int, choice: Choice) -> None:
        """One of {-a, a}, {a, 0} or {0, a}: the choice of whole numbers, times a. Of other numbers: of 0 and 1, times
        their difference, plus one of them."""
        upper, lower = choice.upper, choice.lower
        a = upper or lower
        levels = [upper / a, lower / a] if a else [0.0, 0.0]
        if set(levels) <= {-1.0, 0.0, 1.0}:
            whole = build.map("select", choice.condition, *map(float, levels), to=f32)
            scale, offset = a, np.float32(0)
        else:
            whole = build.cast(choice.condition, f32)
            scale, offset = np.float32(upper - lower), lower
        wide = build.cast(build.cast(whole, i8), f32)
        scaled = wide if scale == 1 else build.map("mul", wide, float(scale))
        user.operands[index] = scaled if offset == 0 else build.map("add", scaled, float(offset))

    def _constant(self, user: Operation, index: int, made: nn.ConstantOp) -> None:
        key = made.reference
        if key is None or len(shape_of(made.result)) < 2:
            return
        axis = self._kept_axis(user, made.result)
        levels = None if axis is None else levels_of(self.store.get(key), axis)
        if levels is None:
            return
        name = derived_key("levels", key, scales=levels.scale.shape)
        self.store.derive(name, levels.whole, key, shape=shape_of(made.result), dtype=np.dtype(np.int8))
        build = Builder.after(made.result, self.store, user)
        value = build.cast(build.named_constant(name), f32)
        if levels.scale.size > 1 or levels.scale.item() != 1:
            value = build.map("mul", value, build.constant(levels.scale))
        if levels.offset is not None:
            value = build.map("add", value, build.constant(levels.offset))
        user.operands[index] = value

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
