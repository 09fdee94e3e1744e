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
from ...dialects.constants import Array, ConstantStore, derived_key
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, is_bool, is_float, shape_of, ui8
from ...isa.lane_functions import LANE_FUNCTIONS
from ..builder import Builder
from ..graph.fold_constants import constant_key
from .affine_operands import peeled
from .choices import Choice, choice_of, number_of
from .constant_levels import SAMPLED, levels_of
from .integer_products import contracted_axis
from .retype import LAYOUT

BYTE, UNSIGNED = (-128, 127), (0, 255)

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
                if is_float(element_type(product.operands[index])):
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
    if name in ("add", "sub", "mul"):
        first, second = (whole_range(operand, store) or _whole_number(operand, store) for operand in inputs)
        if first is None or second is None or not np.isfinite((*first, *second)).all():
            return None
        ends = [float(_evaluated(name, (one, other))) for one in first for other in second]
        return min(ends), max(ends)
    return None


def bounds(value: SSAValue, store: ConstantStore) -> Range:
    """Bounds of a float value, as far as clamping and scaling by constants tell them."""
    made = value.owner
    if isinstance(made, LAYOUT):
        return bounds(made.operands[0], store)
    if isinstance(made, nn.SoftmaxOp):
        return 0.0, 1.0
    if isinstance(made, nn.CastOp):
        return whole_range(value, store) or (-np.inf, np.inf)
    if isinstance(made, nn.MapOp):
        function, inputs = made.function.data, made.inputs
        if function in ROUNDINGS:
            return whole_range(value, store) or (-np.inf, np.inf)
        if function in BOUNDED:
            return BOUNDED[function]
        if function in ("min", "max"):
            pick = min if function == "min" else max
            ranges = [bounds(operand, store) for operand in inputs]
            return pick(ranges[0][0], ranges[1][0]), pick(ranges[0][1], ranges[1][1])
        other = number_of(inputs[-1], store)
        if function in ("mul", "div", "add", "sub") and other is not None:
            # Rounding is monotone: what the ends become bounds what lies between.
            ends = [_evaluated(function, (end, other)) for end in bounds(inputs[0], store)]
            return (-np.inf, np.inf) if np.isnan(ends).any() else (float(min(ends)), float(max(ends)))
    number = number_of(value, store)
    return (-np.inf, np.inf) if number is None else (number, number)


def rounds(value: SSAValue) -> bool:
    """Whether floats that something rounds, compares or takes the sign of have part in a value."""
    pending, seen = [value], {value}
    while pending:
        made = pending.pop().owner
        if isinstance(made, nn.MapOp) and made.function.data in (*ROUNDINGS, "sign", "select"):
            return True
        if isinstance(made, (nn.MapOp, nn.CastOp, *LAYOUT)):
            pending += [operand for operand in made.operands if operand not in seen]
            seen.update(made.operands)
    return False


def _is_uniform(array: Array) -> bool:
    return bool((array.ravel()[:SAMPLED] == array.flat[0]).all() and (array == array.flat[0]).all())


def _whole_number(value: SSAValue, store: ConstantStore) -> Range | None:
    number = number_of(value, store)
    return None if number is None or number != np.floor(number) else (number, number)


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
            self._constant(user, index, value, constant_key(value, self.store))
            return
        choice = choice_of(value, self.store)
        if choice is not None:
            self._two_numbers(Builder.after(value, self.store, user), user, index, choice)
            return
        _, steps = peeled(self.product.operands[self.index], contracted_axis(self.product, self.index))
        inner, place = (steps[0].operation, steps[0].place) if steps else (user, index)
        whole = inner.operands[place]
        found = whole_range(whole, self.store)
        if found is not None and self._through_byte(inner, place, whole, found):
            return
        key = constant_key(value, self.store)
        if key is not None and rounds(value):
            self._constant(user, index, value, key)

    def _through_byte(self, user: Operation, index: int, value: SSAValue, found: Range) -> bool:
        """Put whole numbers of a range into the byte that holds them; whether there is one."""
        if isinstance(value.owner, nn.CastOp) and element_type(value.owner.input) in (i8, ui8):
            return True
        build = Builder.after(value, self.store, user)
        for byte, (low, high) in ((i8, BYTE), (ui8, UNSIGNED)):
            if low <= found[0] and found[1] <= high:
                user.operands[index] = build.cast(build.cast(value, byte), element_type(value))
                return True
        return False

    def _two_numbers(self, build: Builder, user: Operation, index: int, choice: Choice) -> None:
        """One of {-a, a}, {a, 0} or {0, a}: the choice of whole numbers, times a. Of other numbers: of 0 and 1, times
        their difference, plus one of them."""
        upper, lower = choice.upper, choice.lower
        element = element_type(user.operands[index])
        build.location = choice.location
        a = upper or lower
        levels = [upper / a, lower / a] if a else [0.0, 0.0]
        if set(levels) <= {-1.0, 0.0, 1.0}:
            whole = build.map("select", choice.condition(build), *map(float, levels), to=f32)
            scale, offset = a, np.float32(0)
        else:
            whole = build.cast(choice.condition(build), f32)
            scale, offset = np.float32(upper - lower), lower
        wide = build.cast(build.cast(whole, i8), element)
        scaled = wide if scale == 1 else build.map("mul", wide, float(scale), to=element)
        user.operands[index] = scaled if offset == 0 else build.map("add", scaled, float(offset), to=element)

    def _constant(self, user: Operation, index: int, value: SSAValue, key: str | None) -> None:
        """Known by the values that it has."""
        if key is None or len(shape_of(value)) < 2:
            return
        axis = self._kept_axis(user, value)
        array = self.store.get(key)
        levels = None if axis is None else levels_of(array, axis)
        if levels is None or (_is_uniform(array) and not rounds(self.product.operands[1 - self.index])):
            # A matrix of one number sums up or takes means; it says nothing of levels.
            return
        name = derived_key("levels", key, scales=levels.scale.shape)
        self.store.derive(name, levels.whole, key, shape=shape_of(value), dtype=np.dtype(np.int8))
        build = Builder.after(value, self.store, user)
        element = element_type(value)
        wide = build.cast(build.named_constant(name), element)
        if levels.scale.size > 1 or levels.scale.item() != 1:
            wide = build.map("mul", wide, build.constant(levels.scale), to=element)
        if levels.offset is not None:
            wide = build.map("add", wide, build.constant(levels.offset), to=element)
        user.operands[index] = wide

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
