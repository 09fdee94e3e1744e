"""Expressions of one integer that never turn round: a product's sums, then constants, scale by scale and step by step.

Each step is monotone in float32 by construction, since rounding is: so is the whole, upwards or downwards for each
column of constants. Where such an expression crosses a bound is found by bisection, evaluating the steps themselves
with the values that the interpreter gives them.
"""

from __future__ import annotations

import numpy as np
from xdsl.dialects.builtin import i32
from xdsl.ir import Operation, SSAValue

from ...dialects import bnn, nn
from ...dialects.constants import Array, ConstantStore
from ...dialects.elements import element_type, format_of, is_bool, is_float, shape_of
from ...dialects.interpret.nn import SEMANTICS
from ...isa.frozen import frozen
from ..builder import INT32
from .retype import before_layout

KEEPING = (nn.TransposeOp, nn.ReshapeOp)
"""Layout that shows every element once."""

RISING = ("add", "min", "max", "rint", "floor", "ceil", "trunc", "sign", "to_float")

COMPARISONS = {"ge": 1, "gt": 1, "le": -1, "lt": -1}
"""What a comparison does as its left operand rises."""

MOST = 1 << 14
"""The largest product of two signed bytes."""


@frozen
class Step:
    """One operation on the running value, its operand number `place`; the others are constants that stretch to the
    sums (None for the running value)."""

    operation: Operation
    place: int
    constants: tuple[Array | None, ...]

    def __call__(self, value: Array, store: ConstantStore) -> Array:
        """The values that the operation gives, in the common shape of value and constants."""
        operands = [value if constant is None else constant for constant in self.constants]
        (result,) = SEMANTICS[type(self.operation)](self.operation, operands, store)
        return result

    def direction(self) -> Array | int | None:
        """1 where the result grows with the value, -1 where it falls, 0 where it stays; None where that is unknown."""
        operation = self.operation
        if isinstance(operation, nn.CastOp):
            return 1 if _is_rising_cast(operation) else None
        if isinstance(operation, nn.QuantizeOp):
            return self._sign_of(self.constants[1])
        assert isinstance(operation, nn.MapOp)
        function = operation.function.data
        if function in RISING:
            return 1
        if function in ("neg", "not"):
            return -1
        if function in COMPARISONS:
            return COMPARISONS[function] * (1 if self.place == 0 else -1)
        if function == "select":
            return self._choice()
        if function == "sub":
            return 1 if self.place == 0 else -1
        if function == "mul" or (function == "div" and self.place == 0 and is_float(element_type(operation.result))):
            return self._sign_of(self.constants[1 - self.place])
        return None

    def _choice(self) -> int | None:
        """The direction of a choice between two constants by the running value."""
        upper, lower = self.constants[1:]
        if upper is None or lower is None:
            return None
        return 1 if (upper >= lower).all() else -1 if (upper <= lower).all() else None

    def _sign_of(self, constant: Array | None) -> Array | None:
        return None if constant is None or not is_float_array(constant) else np.sign(constant).astype(np.int64)


def _is_rising_cast(cast: nn.CastOp) -> bool:
    """Whether a conversion never turns round: floats saturate, integers wrap where they are narrowed."""
    source, target = element_type(cast.input), element_type(cast.result)
    if is_bool(target):
        return is_bool(source)
    return is_float(source) or is_bool(source) or is_float(target) or format_of(source).bits < format_of(target).bits


def is_float_array(array: Array) -> bool:
    """Whether an array holds floats of any width."""
    return array.dtype.kind not in "iub"


@frozen
class Monotone:
    """A value that is a monotone function of `sums` (i32) and constants: `steps` from the sums on, shown through
    `layout`. `low` and `high` are the least and greatest value that the sums can have."""

    sums: SSAValue
    steps: tuple[Step, ...]
    layout: tuple[Operation, ...]
    low: int
    high: int
    store: ConstantStore

    @staticmethod
    def of(value: SSAValue, store: ConstantStore) -> Monotone | None:
        """Follow a value to the sums it is made of; None where something else than constants joins in, where a step
        may turn round or leave the finite numbers, or where another operation reads a value on the way."""
        path: list[Operation] = []
        while not _is_root(value):
            made = value.owner
            if not isinstance(made, (nn.MapOp, nn.CastOp, nn.QuantizeOp, *KEEPING)) or not value.has_one_use():
                return None
            path.insert(0, made)
            place = running_operand(made)
            if place is None:
                return None
            value = made.operands[place]
        steps = _aligned(path, store)
        limits = _limits(value)
        if not steps or limits is None:
            return None
        found = Monotone(value, steps, tuple(made for made in path if isinstance(made, KEEPING)), *limits, store)
        return found if found.direction is not None and found._is_finite() else None

    @property
    def shape(self) -> tuple[int, ...]:
        """The common shape of the constants: one expression for each element."""
        return np.broadcast_shapes(*(c.shape for step in self.steps for c in step.constants if c is not None))

    @property
    def direction(self) -> Array | None:
        """1, -1 or 0 for each expression."""
        result = np.ones(self.shape, np.int64)
        for step in self.steps:
            way = step.direction()
            if way is None:
                return None
            result = result * way
        return result

    def __call__(self, sums: Array) -> Array:
        """The values for sums, int32, that stretch to the constants."""
        value = sums
        for step in self.steps:
            value = step(value, self.store)
        return value

    def first(self, bound: Array, strict: bool) -> Array:
        """The first sum, int64, from which on the value is at least `bound` (above it, if `strict`); where it falls,
        from which on it is not. `high` + 1 where there is none."""
        direction = self.direction
        assert direction is not None
        falls = direction < 0
        shape = np.broadcast_shapes(self.shape, bound.shape)
        first, end = np.full(shape, self.low, np.int64), np.full(shape, self.high + 1, np.int64)
        while (first < end).any():
            middle = (first + end) >> 1
            # Where it is settled, the last sum is asked for again.
            value = self(np.minimum(middle, self.high).astype(np.int32))
            beyond = (value > bound if strict else value >= bound) ^ falls
            end, first = np.where(beyond, np.minimum(middle, end), end), np.where(beyond, first, middle + 1)
            first = np.minimum(first, end)
        return end

    def _is_finite(self) -> bool:
        """Whether no step overflows: at both ends, and so between them."""
        for end in (self.low, self.high):
            before = np.full(self.shape, end, np.int32)
            for step in self.steps:
                after = step(before, self.store)
                if is_float_array(after) and not np.isfinite(after.astype(np.float32)).all():
                    return False
                if element_type(step.operation.results[0]) == i32 and not _fits(step, before, after):
                    return False
                before = after
        return True


def _fits(step: Step, before: Array, after: Array) -> bool:
    """Whether an integer sum of a step did not wrap."""
    if not isinstance(step.operation, nn.MapOp):
        return False
    operands = [before if constant is None else constant for constant in step.constants]
    wide = [operand.astype(np.int64) for operand in operands]
    exact = {"add": np.add, "sub": np.subtract}.get(step.operation.function.data)
    return exact is not None and bool((exact(*wide) == after).all())


def _is_root(value: SSAValue) -> bool:
    """Whether a value is an i32 one that is no sum with a constant."""
    if element_type(value) != i32:
        return False
    made = value.owner
    if not isinstance(made, nn.MapOp) or made.function.data not in ("add", "sub"):
        return True
    return running_operand(made) is None


def running_operand(made: Operation) -> int | None:
    """The place of the only operand that is no constant, if it has the result's shape; None if there is none."""
    others = [place for place, operand in enumerate(made.operands) if not isinstance(operand.owner, nn.ConstantOp)]
    if len(others) != 1:
        return None
    if isinstance(made, nn.QuantizeOp) and (others[0] != 0 or made.axis is not None):
        return None
    same = isinstance(made, KEEPING) or shape_of(made.operands[others[0]]) == shape_of(made.results[0])
    return others[0] if same else None


def _aligned(path: list[Operation], store: ConstantStore) -> tuple[Step, ...] | None:
    """The operations of a path from the sums on as steps, their constants as they stretch to the sums."""
    steps: list[Step] = []
    layout: list[Operation] = []
    for made in path:
        if isinstance(made, KEEPING):
            layout.append(made)
            continue
        place = running_operand(made)
        assert place is not None
        constants: list[Array | None] = []
        for index, operand in enumerate(made.operands):
            if index == place:
                constants.append(None)
                continue
            assert isinstance(operand.owner, nn.ConstantOp)
            array = store.array(operand.owner.data)
            above = before_layout(array, made.operands[place], layout) if layout else array
            if above is None or (is_float_array(above) and not np.isfinite(above.astype(np.float32)).all()):
                return None
            constants.append(above)
        steps.append(Step(made, place, tuple(constants)))
    return tuple(steps)


def _limits(sums: SSAValue) -> tuple[int, int] | None:
    """The least and greatest value of sums: of a product by its depth, of others any int32."""
    made = sums.owner
    if not isinstance(made, nn.MatmulOp | bnn.MatmulOp):
        return int(INT32.min), int(INT32.max)
    most = shape_of(made.lhs)[-1] * MOST
    return (-most, most) if most < INT32.max else None
