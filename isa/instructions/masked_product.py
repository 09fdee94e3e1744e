"""The matrix product of the MX engine that leaves out what a mask does not keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..blocks import Block
from ..columns import Column, both, choose, either, larger, lookup, smaller
from ..engines import Engine
from ..errors import Fault
from ..formats import Array
from ..kernels import Kernel
from ..matrix import MODES_BY_CODE, OWN_BITS
from ..matrix_laws import ProductTraffic
from ..record import Condition, Cost, extent, instruction, named, on_chip_address, on_chip_stride, unsigned
from ..row_packing import RowPacking
from .matrix_product import PACKED_MODES, Product
from .sparse import mask_bits, mask_block, mask_operand, window_faults

if TYPE_CHECKING:
    from ..machine import Machine
    from ..matrix_laws import Law
    from ..state import State

RESULT, LEFT = 0, 1
"""What a mask belongs to: elements of the result, or elements of a."""


@instruction("mx.masked", engine=Engine.MX, opcode=0x21, version=2)
class MaskedProduct(Product):
    """As `mx.product`, of what `mask` keeps: with `masked` result, acc[m, n] (+)= the product where mask[m, n] is set
    and 0 elsewhere; with `masked` left, a[m, k] counts as 0 where mask[m, k] is clear (not in packed modes).

    The array takes a row for each of `packed` parts into which the mask is cut: at most `width` kept elements within
    `window` columns of `height` rows. Fewer than the mask has (`sx.pack` counts them) is a fault; none is a result
    of zeros, not an instruction that does nothing.
    """

    mask: Column = on_chip_address("mask[0, 0]: [m, n] of a result, [m, k] of a; in SRAM")
    mask_stride: Column = on_chip_stride("distance between rows of the mask")
    masked: Column = named("what the mask belongs to", 1, {RESULT: "result", LEFT: "left"}, RESULT)
    packed: Column = extent("rows that the array takes, as `sx.pack` counts them", unit="row")
    window: Column = unsigned("columns that one of them is gathered from", 16, "element")
    width: Column = unsigned("kept elements of one of them: the array's columns, or its depth in k", 16, "element")
    height: Column = unsigned("rows of the mask that one of them is gathered from", 16, "element", 1)

    @property
    def empty(self) -> Column:
        """Whether m, n or k is zero; with no row packed there still is a result of zeros."""
        return either(either(self.m == 0, self.n == 0), self.k == 0)

    @property
    def _mask_columns(self) -> Column:
        return choose(self.masked == LEFT, self.k, self.n)

    def reads(self) -> tuple[Block, ...]:
        """a, b and the mask, and acc when it accumulates."""
        works = self.m * self.n * self.k > 0
        columns = choose(works, self._mask_columns, 0)
        return (*super().reads(), mask_block(self.mask, self.m, columns, self.mask_stride))

    def cost(self, machine: Machine) -> Cost:
        """As `mx.product`, where for a masked result all columns are one tile of `packed` rows, and for a masked a all
        of k is one tile of `packed` rows; energy is of the places in those rows."""
        works = self.m * self.n * self.k > 0
        mask_bytes = choose(works, self.m * ((self._mask_columns + 7) // 8), 0)
        cost = super().cost(machine)
        return Cost(
            busy=cost.busy,
            fill=cost.fill,
            events={**cost.events, "sram.read": cost.events["sram.read"] + mask_bytes},
        )

    def _macs(self, turns: Column) -> Column:
        kept = self.packed * self.width * choose(self.masked == LEFT, self.n, self.k)
        return smaller(kept, self.m * self.n * self.k) * turns

    def _traffic(self, machine: Machine, law: Law, depth: Column) -> ProductTraffic:
        engine = machine.matrix
        left = self.masked == LEFT
        columns, inner = choose(left, self.n, engine.columns), choose(left, depth, self.k)
        traffic = law(engine, self.packed, columns, inner, depth, self.accumulate)
        # Whatever is left out, every element of the result is written, and b is loaded whole.
        return ProductTraffic(
            busy=traffic.busy,
            fill=traffic.fill,
            a_elements=traffic.a_elements,
            b_elements=self.k * self.n,
            acc_reads=choose(self.accumulate, larger(traffic.acc_reads, self.m * self.n), traffic.acc_reads),
            acc_writes=larger(traffic.acc_writes, self.m * self.n),
        )

    def faults(self, machine: Machine) -> tuple[Condition, ...]:
        """As of `mx.product`; a mask in ACC or of a packed a, a window that the machine has not, or a width that is not
        the array's."""
        own = larger(lookup(OWN_BITS, self.mode), 1)
        turns = larger(self._bits("a") // own, 1)
        depth = larger(lookup(machine.matrix.depths, self.mode) // turns, 1)
        left = self.masked == LEFT
        return (
            *super().faults(machine),
            (self.mask >> 31 == 1, "the mask stands in ACC, it must stand in SRAM"),
            (both(left, lookup(PACKED_MODES, self.mode) == 1), "a packed a takes no mask"),
            (
                self.width != choose(left, depth, machine.matrix.columns),
                "the width is not that of the array: its columns for a result, its depth in k for a",
            ),
            *window_faults(self.window, self.height, machine),
        )

    def execute(self, state: State) -> Kernel:
        """Multiply what is kept."""
        whole = super().execute(state)
        m, n, packed, packing = self.m, self.n, self.packed, RowPacking(self.window, self.width, self.height)
        columns = self._mask_columns
        accumulate, left = bool(self.accumulate), self.masked == LEFT
        mode = MODES_BY_CODE[self.mode]
        product = state.working.array("masked product", (m, n), mode.accumulator.dtype)
        kept_a = state.working.array("masked a", (m, self.k), mode.operand.dtype) if left else None

        def multiply(a: Array, b: Array, acc: Array, stored: Array) -> None:
            mask = mask_bits(stored, columns)
            rows = packing.count(mask)
            if rows > packed:
                raise Fault(f"the mask packs into {rows} rows, and {packed} are taken")
            if kept_a is not None:
                kept_a.fill(0)
                np.copyto(kept_a, a, where=mask)
                whole.function(kept_a, b, acc)
                return
            if accumulate:
                product[...] = acc
            whole.function(a, b, product)
            np.copyto(acc, product, where=mask)
            if not accumulate:
                acc[~mask] = 0

        return Kernel(multiply, (*whole.operands, mask_operand("mask", self.__dict__, m, columns)))
