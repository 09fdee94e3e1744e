"""What the matrix products of a run met: zeros and set bits in their operands, what masks kept, and their sums."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..isa.formats import Array, Format
from ..isa.instructions.masked_product import LEFT, MaskedProduct
from ..isa.instructions.matrix_product import Product
from ..isa.instructions.sparse import mask_bits
from ..isa.matrix import MODE_NAMES, MODES_BY_CODE, operand_values, values_of_bytes
from ..isa.packed import unpacking
from ..isa.program import Program
from ..isa.state import State
from .kernels import kernels_of
from .report import OperandRow

_F32 = np.dtype(np.float32)


class OperandStatistics:
    """Taken row by row, each right after it was performed on `state`."""

    def __init__(self, program: Program, state: State) -> None:
        self._program, self._state = program, state
        self._kernel, self._nodes = kernels_of(program)
        self._found: dict[tuple[int, int], _Totals] = {}

    def take(self, row: int) -> None:
        """Note what the product of a row met; nothing where the row is none."""
        if not issubclass(self._program.table.record(row), Product):
            return
        product = self._program.table.instruction(row).resolved(self._state)
        if isinstance(product, Product) and not product.empty:
            mode: Any = product.mode
            self._found.setdefault((int(self._kernel[row]), int(mode)), _Totals()).add(product, self._state)

    @property
    def rows(self) -> tuple[OperandRow, ...]:
        """By kernel and mode, in the order of their first products; none for a program that names no nodes."""
        nodes = self._program.nodes
        return tuple(
            totals.row(tuple(nodes[place].name for place in places), nodes[places[0]].path, MODE_NAMES[mode])
            for (kernel, mode), totals in self._found.items()
            if self._nodes and (places := self._nodes[kernel])
        )


@dataclass
class _Totals:
    """Over the products of a kernel in one mode. `shares` are summed with the multiply-accumulates as weights: kept by
    a mask, zeros of a and of b, set bits of a and of b (NaN where they are no bits)."""

    macs: int = 0
    shares: NDArray[np.float64] = field(default_factory=lambda: np.zeros(5))
    least: float = np.inf
    greatest: float = -np.inf

    def add(self, product: Product, state: State) -> None:
        """Take one more product, just performed."""
        fields: dict[str, Any] = product.__dict__
        views = {
            operand.field: state.view(operand, fields[operand.field]) for operand in product.kernel(state).operands
        }
        a, ones_of_a = _values(product, "a", views["a"])
        b, ones_of_b = _values(product, "b", views["b"])
        kept = 1.0
        if isinstance(product, MaskedProduct):
            of_a = bool(product.masked == LEFT)
            mask = mask_bits(views["mask"], fields["k"] if of_a else fields["n"])
            kept = float(mask.mean())
            a = np.where(mask, a, 0) if of_a else a
        macs: int = fields["m"] * fields["n"] * fields["k"]
        self.macs += macs
        self.shares += macs * np.array([kept, (a == 0).mean(), (b == 0).mean(), ones_of_a, ones_of_b])
        self.least = min(self.least, float(views["acc"].min()))
        self.greatest = max(self.greatest, float(views["acc"].max()))

    def row(self, nodes: tuple[str, ...], path: str, mode: str) -> OperandRow:
        """The means and the range."""
        kept, left_zeros, right_zeros, left_ones, right_ones = (self.shares / self.macs).tolist()
        return OperandRow(
            nodes=nodes,
            path=path,
            mode=mode,
            kept=kept,
            left_zeros=left_zeros,
            right_zeros=right_zeros,
            left_ones=None if np.isnan(left_ones) else left_ones,
            right_ones=None if np.isnan(right_ones) else right_ones,
            least_sum=self.least,
            greatest_sum=self.greatest,
        )


def _values(product: Product, side: str, stored: Array) -> tuple[Array, float]:
    """The values of an operand, and the share of set bits among them (NaN where they are no bits)."""
    fields: dict[str, Any] = product.__dict__
    mode = MODES_BY_CODE[fields["mode"]]
    if not mode.packed:
        return stored, np.nan
    values = operand_values(mode, fields[f"{side}_values"])
    spread = np.empty((len(stored), fields["k"]), _F32)
    unpacking(values_of_bytes(values))(stored, spread)
    return spread, float((spread > 0).mean()) if values.stored is Format.B1 else np.nan
