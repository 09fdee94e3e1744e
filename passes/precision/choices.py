"""Values that are one of two numbers by one comparison, however they are spelled.

What is computed of a comparison (of its opposite too, of a sign, of several comparisons of the same two values) is a
table: what it is where the left value is less than the right one, equal to it, greater, and where one of them is NaN.
Tables are computed as the lanes compute values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from xdsl.dialects.builtin import LocationAttr, i32
from xdsl.ir import Attribute, Operation, SSAValue

from ...dialects import nn
from ...dialects.constants import Array, ConstantStore
from ...dialects.elements import dtype_of, element_type, is_bool, is_float, shape_of
from ...dialects.provenance import fuse
from ...isa.frozen import frozen
from ...isa.lane_functions import LANE_FUNCTIONS
from ..builder import Builder

SAMPLED = 64
"""So many first elements tell most constants that are not one number."""

TABLES = {
    "ge": np.array([False, True, True, False]),
    "gt": np.array([False, False, True, False]),
    "le": np.array([True, True, False, False]),
    "lt": np.array([True, False, False, False]),
    "eq": np.array([False, True, False, False]),
    "ne": np.array([True, False, True, True]),
}
"""What comparisons are where the left value is less, equal, greater, and where the two do not compare."""

REVERSED = [2, 1, 0, 3]
"""The columns of a table whose two values change places."""

Other: TypeAlias = SSAValue | float | None
"""What a value is compared with; None for a truth value, which is greater where it holds and less elsewhere."""


@frozen
class Choice:
    """A value that is `upper` where a comparison holds, and `lower` elsewhere. `location` stands for the comparison and
    all that is made of it."""

    function: str
    left: SSAValue
    right: Other
    upper: np.float32
    lower: np.float32
    location: LocationAttr

    def condition(self, build: Builder) -> SSAValue:
        """The truth value of the comparison."""
        return self.left if self.right is None else build.map(self.function, self.left, self.right)


@frozen
class Table:
    """A value by how `left` compares with `right`: four numbers of its own kind, and the operations that make it of the
    two."""

    left: SSAValue
    right: Other
    numbers: Array
    made: tuple[Operation, ...] = ()


def choice_of(value: SSAValue, store: ConstantStore) -> Choice | None:
    """The two finite numbers that a float value chooses between by one comparison; None for any other value. What it is
    of NaN is kept where it is one of the two."""
    table = _Tables(store).of(value) if is_float(element_type(value)) else None
    if table is None or not np.isfinite(table.numbers[:3]).all():
        return None
    ordered, undefined = table.numbers[:3], table.numbers[3]
    for name, holds in TABLES.items():
        upper, lower = np.unique(ordered[holds[:3]]), np.unique(ordered[~holds[:3]])
        if upper.size != 1 or lower.size != 1 or upper[0] == lower[0]:
            continue
        if undefined == (upper if holds[3] else lower)[0] or undefined not in (upper[0], lower[0]):
            location = fuse(*(operation.location for operation in dict.fromkeys(table.made)))
            return Choice(name, table.left, table.right, upper[0], lower[0], location)
    return None


def number_of(value: SSAValue, store: ConstantStore) -> float | None:
    """The one number that all elements of a constant are, perhaps stretched."""
    while isinstance(value.owner, nn.BroadcastOp | nn.ReshapeOp):
        value = value.owner.input
    made = value.owner
    if not isinstance(made, nn.ConstantOp) or 0 in shape_of(value):
        return None
    elements = store.array(made.data).reshape(-1)
    first = elements[0]
    alike = (elements[:SAMPLED] == first).all() and (elements == first).all()
    return float(first) if alike else None


@dataclass
class _Tables:
    """Finds the tables of values, each once."""

    store: ConstantStore
    _known: dict[SSAValue, Table | None] = field(default_factory=dict[SSAValue, "Table | None"], init=False)

    def of(self, value: SSAValue) -> Table | None:
        """The table of a float, int32 or truth value; None where it is no function of one comparison."""
        if value not in self._known:
            self._known[value] = self._find(value)
        return self._known[value]

    def _find(self, value: SSAValue) -> Table | None:
        element, made = element_type(value), value.owner
        found: Table | None = None
        if not (is_bool(element) or is_float(element) or element == i32):
            return None
        if isinstance(made, nn.CastOp):
            source = self.of(made.input)
            if source is not None and (is_bool(element) or is_float(element) or source.numbers.dtype != np.float32):
                found = Table(source.left, source.right, _stored(source.numbers, element), (*source.made, made))
        elif isinstance(made, nn.MapOp):
            found = self._computed(made) or self._compared(made)
        if found is None and is_bool(element):
            found = Table(value, None, TABLES["gt"])
        return found

    def _computed(self, made: nn.MapOp) -> Table | None:
        """Of numbers and of tables of one comparison."""
        numbers = [number_of(operand, self.store) for operand in made.inputs]
        tables = [self.of(operand) for operand, number in zip(made.inputs, numbers, strict=True) if number is None]
        same = _aligned([table for table in tables if table is not None])
        shapes = {shape_of(operand) for operand, number in zip(made.inputs, numbers, strict=True) if number is None}
        if None in tables or same is None or shapes != {shape_of(made.result)}:
            return None
        columns = iter(same)
        operands = [
            next(columns).numbers if number is None else _stored(np.asarray(number), element_type(operand))
            for operand, number in zip(made.inputs, numbers, strict=True)
        ]
        result = LANE_FUNCTIONS[made.function.data].evaluate(*operands)
        covered = (*(operation for table in same for operation in table.made), made)
        return Table(same[0].left, same[0].right, _stored(result, element_type(made.result)), covered)

    def _compared(self, made: nn.MapOp) -> Table | None:
        """A comparison itself, or a sign."""
        function = made.function.data
        if function == "sign" and is_float(element_type(made.result)):
            return Table(made.inputs[0], 0.0, np.array([-1, 0, 1, np.nan], np.float32), (made,))
        if function not in TABLES or is_bool(element_type(made.inputs[0])):
            return None
        (left, right), (first, second) = made.inputs, [number_of(operand, self.store) for operand in made.inputs]
        if first is None:
            return Table(left, right if second is None else second, TABLES[function], (made,))
        return None if second is not None else Table(right, first, TABLES[function][REVERSED], (made,))


def _stored(numbers: Array, element: Attribute) -> Array:
    """Numbers as lanes read them from a tensor of an element type."""
    stored = numbers.astype(dtype_of(element))
    return stored.astype(np.float32) if is_float(element) else stored


def _aligned(tables: list[Table]) -> list[Table] | None:
    """Tables of one comparison, all in the order of the first; None where they are of several, or none."""
    aligned: list[Table] = []
    for table in tables:
        if (table.left, table.right) == (tables[0].left, tables[0].right):
            aligned.append(table)
        elif (table.right, table.left) == (tables[0].left, tables[0].right):
            aligned.append(Table(tables[0].left, tables[0].right, table.numbers[REVERSED], table.made))
        else:
            return None
    return aligned or None
