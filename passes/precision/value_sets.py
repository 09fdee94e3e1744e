"""Which whole numbers a tensor can hold: what decides the element type that it is packed to.

A NaN is none of them: what becomes of it is said where values are packed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import add, mul, sub
from typing import TypeAlias

import numpy as np
from xdsl.dialects.builtin import i8, i32
from xdsl.ir import Attribute, SSAValue

from ...dialects import bnn, nn
from ...dialects.bnn_types import bipolar
from ...dialects.constants import Array, ConstantStore
from ...dialects.elements import PACKED, element_type, is_bool, is_packed, range_of, ui8
from .constant_levels import SAMPLED
from .recognize_levels import BYTE, ROUNDINGS, UNSIGNED, bounds
from .retype import LAYOUT
from .scales import is_scaled_to_bytes

ValueSet: TypeAlias = frozenset[int]

MOST = 256
"""Sets of more values are not followed: nothing that is packed holds them."""

WHOLE: dict[str, Callable[[int, int], int]] = {"add": add, "sub": sub, "mul": mul}
"""Functions of whole numbers that are whole numbers, as floats too while they are small."""

FEW = 16
"""A tensor of so many values is one of few levels."""


def held_by(element: Attribute) -> ValueSet:
    """The values of a packed element type."""
    low, high = range_of(element)
    values = frozenset(range(low, high + 1))
    return values - {0} if element == bipolar else values


def types_for(values: ValueSet | None) -> tuple[Attribute, ...]:
    """The packed element types that can hold a set of values, the narrowest first; none for an unknown set."""
    return () if values is None else tuple(element for element in PACKED if values <= held_by(element))


@dataclass
class ValueSets:
    """Finds the value sets of the tensors of a function, each once."""

    store: ConstantStore
    _known: dict[SSAValue, ValueSet | None] = field(default_factory=dict[SSAValue, "ValueSet | None"], init=False)

    def of(self, value: SSAValue) -> ValueSet | None:
        """The values that a tensor may hold, none but whole numbers; None where they are not known or too many."""
        if value not in self._known:
            found = self._find(value)
            self._known[value] = found if found is None or len(found) <= MOST else None
        return self._known[value]

    def _find(self, value: SSAValue) -> ValueSet | None:
        made = value.owner
        match made:
            case nn.ConstantOp():
                return self._constant(made)
            case nn.CastOp():
                return self._cast(made)
            case bnn.UnpackOp():
                return held_by(element_type(made.input))
            case nn.QuantizeOp():
                return _whole(*(BYTE if element_type(value) == i8 else UNSIGNED))
            case nn.MapOp():
                return self._map(made)
            case _ if isinstance(made, LAYOUT):
                return self.of(made.operands[0])
            case _:
                return held_by(element_type(value)) if is_packed(element_type(value)) else None

    def _constant(self, constant: nn.ConstantOp) -> ValueSet | None:
        if constant.reference is not None and is_scaled_to_bytes(constant.reference):
            # It has all levels, and is not made before it is written.
            return None
        array = self.store.array(constant.data)
        few = set_of(array.ravel()[:SAMPLED])
        return None if few is None else set_of(array)

    def _cast(self, cast: nn.CastOp) -> ValueSet | None:
        source, target = element_type(cast.input), element_type(cast.result)
        if is_bool(source):
            return frozenset((0, 1))
        found = self.of(cast.input)
        if found is None and source in (i8, ui8):
            found = _whole(*(BYTE if source == i8 else UNSIGNED))
        limits = BYTE if target == i8 else UNSIGNED if target == ui8 else None
        if found is None or limits is None or (limits[0] <= min(found) and max(found) <= limits[1]):
            return found
        return None

    def _map(self, made: nn.MapOp) -> ValueSet | None:
        name, inputs = made.function.data, made.inputs
        if name in ROUNDINGS:
            low, high = bounds(inputs[0], self.store)
            if not np.isfinite((low, high)).all():
                return None
            return _whole(int(np.floor(low)), int(np.ceil(high)))
        if name == "sign":
            return frozenset((-1, 0, 1))
        if name == "select":
            return _joined(self.of(inputs[1]), self.of(inputs[2]))
        if name in ("min", "max"):
            return self._clamp(made)
        if name in WHOLE:
            first, second = (self.of(operand) for operand in inputs)
            if first is not None and second is not None:
                return frozenset(WHOLE[name](a, b) for a in first for b in second)
        return None

    def _clamp(self, made: nn.MapOp) -> ValueSet | None:
        """The smaller or the larger of two: of an unknown whole number and a bound, what the other bound leaves."""
        first, second = (self.of(operand) for operand in made.inputs)
        if first is not None and second is not None:
            pick = min if made.function.data == "min" else max
            return frozenset(pick(a, b) for a in first for b in second)
        low, high = bounds(made.result, self.store)
        whole = all(self.of(operand) is not None or self._is_whole(operand) for operand in made.inputs)
        if not whole or not np.isfinite((low, high)).all() or high - low > MOST:
            return None
        return _whole(int(low), int(high))

    def _is_whole(self, value: SSAValue) -> bool:
        """Whether a float is always a whole number, of whatever size."""
        made = value.owner
        if isinstance(made, nn.MapOp) and made.function.data in ("min", "max"):
            return all(self.of(operand) is not None or self._is_whole(operand) for operand in made.inputs)
        if isinstance(made, nn.MapOp):
            return made.function.data in ROUNDINGS
        return isinstance(made, nn.CastOp) and element_type(made.input) == i32


def set_of(array: Array) -> ValueSet | None:
    """The values of an array; None where one is no whole number, or they are too many."""
    if array.dtype.itemsize == 1 and array.dtype.kind in "iu":
        counts = np.bincount(array.ravel().view(np.uint8), minlength=MOST)
        present: Array = np.flatnonzero(counts).astype(np.uint8).view(array.dtype)
        return frozenset(int(number) for number in present)
    unique = np.unique(array.astype(np.float64))
    if len(unique) > MOST or not np.isfinite(unique).all() or (unique != np.floor(unique)).any():
        return None
    return frozenset(int(number) for number in unique)


def _whole(low: int, high: int) -> ValueSet | None:
    return frozenset(range(low, high + 1)) if high - low <= MOST else None


def _joined(first: ValueSet | None, second: ValueSet | None) -> ValueSet | None:
    return None if first is None or second is None else first | second
