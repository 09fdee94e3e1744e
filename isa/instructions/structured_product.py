"""The matrix product of the MX engine by a compressed matrix of a known structure (N:M)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..blocks import Block
from ..columns import Column, both, ceiling, choose, larger, lookup
from ..engines import Engine
from ..fields import on_chip_offset, on_chip_space
from ..formats import Array
from ..kernels import Kernel, Operand
from ..matrix import MODES_BY_CODE, product
from ..matrix_laws import ProductTraffic
from ..packed import fields_of_bytes, packed_bytes, unpacking
from ..record import Condition, Cost, instruction, named, on_chip_address, on_chip_stride, unsigned
from ..structures import CODES, GROUP_SIZES, GROUPS, INDEX_BITS, kept_rows, named_rows, spread, structure_codes
from .matrix_product import PACKED_MODES, Product

if TYPE_CHECKING:
    from ..machine import Machine
    from ..matrix_laws import Law
    from ..state import State

_BYTE, _F32 = np.dtype(np.uint8), np.dtype(np.float32)


@instruction("mx.structured", engine=Engine.MX, opcode=0x22)
class StructuredProduct(Product):
    """As `mx.product` by the values that are left of a matrix of which each `group` of rows keeps `kept` a column:
    acc[m, n] (+)= sum over j of a[m, group floor(j / kept) + indices[j, n]] * b[j, n], j below kept ceil(k / group).

    Columns of a from k on count as 0, and what no index names does not count at all. Indices stand in SRAM, packed
    along n: 1, 2, 4 and 4 bits in groups of 2, 4, 8 and 16, of which the lowest count that a group needs. Not in packed
    modes, nor with b as [n, k].
    """

    indices: Column = on_chip_address("indices[0, 0], in SRAM")
    indices_stride: Column = on_chip_stride("distance between rows of the indices")
    kept: Column = unsigned("rows of b for each group", 4, "row")
    group: Column = named("rows of a group", 2, {code: str(size) for code, size in GROUPS.items()})

    @property
    def _group_size(self) -> Column:
        return lookup(GROUP_SIZES, self.group)

    @property
    def _b_rows(self) -> Column:
        return kept_rows(self.k, self.kept, self._group_size)

    @property
    def _index_bytes(self) -> Column:
        """Of one row of indices."""
        return packed_bytes(self.n, lookup(INDEX_BITS, self.group))

    def reads(self) -> tuple[Block, ...]:
        """a, b and the indices, and acc when it accumulates."""
        run = choose(self.m > 0, self._index_bytes, 0)
        space, offset = on_chip_space(self.indices), on_chip_offset(self.indices)
        indices = Block(space, offset, (self._b_rows,), (self.indices_stride,), run)
        return (*super().reads(), indices.merged())

    def cost(self, machine: Machine) -> Cost:
        """As `mx.product` of as many values of k as b has rows, of which a tile of the array holds whole groups; every
        value of a passes its port."""
        works = self.m * self.n * self.k > 0
        cost = super().cost(machine)
        index_bytes = choose(works, self._b_rows * self._index_bytes, 0)
        return Cost(
            busy=cost.busy,
            fill=cost.fill,
            events={**cost.events, "sram.read": cost.events["sram.read"] + index_bytes},
        )

    def _macs(self, turns: Column) -> Column:
        return self.m * self.n * self._b_rows * turns

    def _traffic(self, machine: Machine, law: Law, depth: Column) -> ProductTraffic:
        kept = larger(self.kept, 1)
        whole_groups = larger(depth // kept, 1) * kept
        traffic = law(machine.matrix, self.m, self.n, self._b_rows, whole_groups, self.accumulate)
        return ProductTraffic(
            busy=traffic.busy,
            fill=traffic.fill,
            a_elements=self.m * self.k * ceiling(self.n, machine.matrix.columns),
            b_elements=traffic.b_elements,
            acc_reads=traffic.acc_reads,
            acc_writes=traffic.acc_writes,
        )

    def faults(self, machine: Machine) -> tuple[Condition, ...]:
        """As of `mx.product`; indices in ACC, a packed mode, b as [n, k], or a structure that the array has not."""
        known = ", ".join(map(str, machine.matrix.structures)) or "none"
        return (
            *super().faults(machine),
            (self.indices >> 31 == 1, "the indices stand in ACC, they must stand in SRAM"),
            (lookup(PACKED_MODES, self.mode) == 1, "a packed b has no structure"),
            (both(self.transpose_b == 1, lookup(PACKED_MODES, self.mode) == 0), "b of a structure stands as [k, n]"),
            (
                lookup(machine.matrix.structure_table, CODES * self.mode + structure_codes(self.kept, self.group)) == 0,
                f"the matrix engine has not this structure in the mode (it has {known}, where the ports carry it)",
            ),
        )

    def execute(self, state: State) -> Kernel:
        """Spread b over k rows, and multiply."""
        m, n, k, kept, rows = self.m, self.n, self.k, self.kept, self._b_rows
        size, bits = self._group_size, lookup(INDEX_BITS, self.group)
        mode = MODES_BY_CODE[self.mode]
        operand, result = mode.operand.dtype, mode.accumulator.dtype
        working = state.working
        whole = working.array("spread b", (rows // kept * size, n), _F32)
        places = working.array("places in groups", (rows, n), _BYTE)
        unpack = unpacking(fields_of_bytes(bits))
        multiply = product(m, n, k, mode, bool(self.accumulate), False, working)
        accumulate, is_float = bool(self.accumulate), mode.operand.kind == "float"

        def multiply_spread(a: Array, b: Array, acc: Array, stored: Array) -> None:
            unpack(stored, places)
            named = named_rows(places, kept, size)
            spread(b, named, kept, whole)
            if is_float and not np.isfinite(a).all():
                _multiply_named(a, b, acc, named, accumulate)
            else:
                multiply(a, whole[:k], acc)

        columns = packed_bytes(n, bits)
        return Kernel(
            multiply_spread,
            (
                Operand.on_chip("a", self.a, (m, k), (self.a_stride, operand.itemsize), operand),
                Operand.on_chip("b", self.b, (rows, n), (self.b_stride, operand.itemsize), operand),
                Operand.on_chip("acc", self.acc, (m, n), (self.acc_stride, 4), result),
                Operand.on_chip("indices", self.indices, (rows, columns), (self.indices_stride, 1), _BYTE),
            ),
        )


def _multiply_named(a: Array, b: Array, acc: Array, named: Array, accumulate: bool) -> None:
    """Column by column of b, of what its indices name only: an infinite value of a that none does gives no NaN."""
    padded = np.zeros((len(a), max(a.shape[1], int(named.max()) + 1)), dtype=_F32)
    padded[:, : a.shape[1]] = a
    for column in range(b.shape[1]):
        sums = padded[:, named[:, column]] @ b[:, column].astype(_F32)
        acc[:, column] = acc[:, column] + sums if accumulate else sums
