"""The comparison with a threshold that finds which values of a product's left operand are skipped."""

from __future__ import annotations

import numpy as np

from ...isa.formats import Format
from ...isa.frozen import frozen
from ...isa.lanes import LaneProgram
from ...isa.machine import Machine
from ...isa.matrix import MatrixMode
from ...isa.row_packing import RowPacking
from .rates import MAXIMUM_EXTENT

EXPECTED = 0.5
"""The part of the values that tilings are chosen for, since what is kept is known when the program runs: AccelTran's
simulator reckons with it (Tuli and Jha, 2023, config_tiny.yaml)."""


@frozen
class Comparison:
    """What compares the left operand, of a format, with `threshold` on a machine, and how what is kept is packed."""

    threshold: float
    form: Format
    packing: RowPacking

    @staticmethod
    def of(threshold: float, mode: MatrixMode, machine: Machine) -> Comparison:
        """That of a product in a mode."""
        return Comparison(threshold, mode.operand, RowPacking.of(machine, int(machine.matrix.depths[mode.code])))

    @property
    def program(self) -> LaneProgram:
        """From a value to whether it is kept: see `dialects.sparsity.passes`. Of levels, which have no scale here, it
        is what is not zero."""
        if self.form.kind == "int":
            return LaneProgram.parse("r0 = ne(a, 0); out r0")
        least = float(np.float32(self.threshold))
        return LaneProgram.parse(f"r0 = abs(a); r1 = le(r0, {least!r}); r2 = not(r1); out r2")

    @property
    def largest(self) -> int:
        """How many elements a tile of the operand may have: its rows of the array are counted in 16 bits."""
        return MAXIMUM_EXTENT * min(self.packing.width, self.packing.window)
