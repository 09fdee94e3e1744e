"""Which packed mode of the matrix engine a product takes: that of fewest cycles, by the cost of the record itself."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import Attribute

from ...dialects import bnn
from ...dialects.elements import format_of, values_of
from ...isa.fields import ACC_BIT
from ...isa.frozen import frozen
from ...isa.instructions import Product
from ...isa.machine import Machine
from ...isa.matrix import MatrixMode, Values

UNPACKED = "unpacked"
"""The attribute of an int8 product of few-level operands that says why they are not packed."""


@frozen
class ProductCost:
    """Cycles of a product of `rows` x `columns`, over `depth`, on the array of a machine."""

    machine: Machine
    rows: int
    columns: int
    depth: int

    def cycles(self, mode: MatrixMode, left: Attribute | None = None) -> int | None:
        """In a mode, the left operand of an element type (None: the mode's own); None where the machine lacks it."""
        if mode.label not in self.machine.matrix.rates:
            return None
        values = Values.OWN if left is None else values_of(left) or Values.OWN
        record = Product(mode=mode.code, acc=ACC_BIT, m=self.rows, n=self.columns, k=self.depth, a_values=values.code)
        return int(record.cost(self.machine).busy)

    def packed_cycles(self, left: Attribute, right: Attribute) -> int | None:
        """In the packed mode for element types; None where there is none."""
        mode = bnn.mode_of(right)
        return None if mode is None else self.cycles(mode, left)

    def choose(self, left: Sequence[Attribute], right: Sequence[Attribute]) -> tuple[Attribute, Attribute] | str:
        """The element types of fewest cycles, then bits; or why int8 is better."""
        if self.depth < 2:
            return "it sums up nothing"
        ranked = [
            (cycles, format_of(one).bits + format_of(other).bits, one, other)
            for one in left
            for other in right
            if (cycles := self.packed_cycles(one, other)) is not None
        ]
        if not ranked:
            names = dict.fromkeys(mode.label for element in right if (mode := bnn.mode_of(element)) is not None)
            return f"the matrix engine of {self.machine.name} has no mode {' or '.join(names)}"
        cycles, _, one, other = min(ranked, key=lambda pair: pair[:2])
        plain = self.cycles(MatrixMode.I8)
        if plain is not None and cycles > plain:
            return f"it would take {cycles} cycles of the array in place of {plain} in int8"
        return one, other
