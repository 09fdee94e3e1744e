"""What the instruction records say that products, passes and copies of a tile cost, for columns of tile sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import ceil as whole
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...isa.columns import ceiling
from ...isa.fields import ACC_BIT
from ...isa.formats import Format
from ...isa.instructions import LoadBlock, MaskedProduct, Pack, Product, StructuredProduct, VectorPass
from ...isa.instructions.masked_product import LEFT
from ...isa.instructions.transfers import ELEMENT_CODES
from ...isa.machine import Machine
from ...isa.matrix import MODE_BITS, MatrixMode, Values
from ...isa.row_packing import RowPacking
from ...isa.structures import Structure

Column = NDArray[np.int64]

TileCost = Callable[..., Column]
"""A cost of tiles, given a column of sizes for each axis: a column, or several as rows of an array."""

MAXIMUM_EXTENT = 65535
"""The largest extent that an instruction's 16-bit field holds."""


def planned_for(machine: Machine) -> Machine:
    """The machine as plans see it: its DRAM is no faster than all LD and ST engines together are on chip. What goes
    beyond that makes no transfer faster, and so changes no plan."""
    engines = machine.engines.ld + machine.engines.st
    taken = engines * machine.transfer.access_bytes
    if machine.dram.bytes_per_cycle <= taken:
        return machine
    return replace(machine, dram=replace(machine.dram, bytes_per_cycle=taken))


class Rates:
    """The costs of a machine's instructions in cycles; equal for the same machine, so that results can be kept.

    It answers each question once: searches for kernels of like shape ask for the same columns of tiles over and over.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.sram_bytes = machine.sram.bytes
        self.acc_bytes = machine.acc.bytes
        self.columns = machine.matrix.columns
        self.least_rows = machine.matrix.rows
        self.fill = machine.matrix.fill_cycles + machine.matrix.drain_cycles
        # Bytes a cycle of a transfer, at best.
        self.transfer = min(machine.dram.bytes_per_cycle, machine.transfer.access_bytes)
        self.start = machine.dram.latency_cycles + self.fill
        self._answers: dict[tuple[object, ...], Any] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rates) and self.machine is other.machine

    def __hash__(self) -> int:
        return hash((id(self.machine), self.sram_bytes, self.acc_bytes))

    def depth(self, mode: str, left: Values = Values.OWN, structure: Structure | None = None) -> int:
        """Values of K that one pass of the array covers in `mode` where its left operand holds `left` and its right one
        has a `structure`."""
        bits = MODE_BITS[mode] if left.stored is None else left.stored.bits
        depth = max(1, self.machine.matrix.depth(mode) // max(1, bits // MODE_BITS[mode]))
        return depth if structure is None else depth // structure.kept * structure.group

    def product(
        self,
        mode: str,
        m: Column,
        n: Column,
        k: Column,
        left: Values = Values.OWN,
        structure: Structure | None = None,
    ) -> Column:
        """Array cycles of products [m, k] by [k, n], whose left operand holds `left` and whose right one has a
        `structure`."""
        return self._once(self._product, (m, n, k), mode, left, structure)

    def _product(self, m: Column, n: Column, k: Column, mode: str, left: Values, structure: Structure | None) -> Column:
        fields: dict[str, Column] = {"m": m, "n": n, "k": k}
        code = MatrixMode.parse(mode).code
        if structure is None:
            record = Product(mode=code, acc=ACC_BIT, a_values=left.code, **fields)
        else:
            record = StructuredProduct(mode=code, kept=structure.kept, group=structure.group_code, **fields)
        return np.asarray(record.cost(self.machine).busy, dtype=np.int64)

    def masked_product(self, mode: str, m: Column, n: Column, k: Column, packed: Column, masked: int) -> Column:
        """Array cycles of products [m, k] by [k, n] of which a mask of the result or of the left operand (`masked`, as
        in `mx.masked`) keeps what packs into so many rows."""
        return self._once(self._masked_product, (m, n, k, packed), mode, masked)

    def _masked_product(self, m: Column, n: Column, k: Column, packed: Column, mode: str, masked: int) -> Column:
        code = MatrixMode.parse(mode).code
        record = MaskedProduct(mode=code, acc=ACC_BIT, m=m, n=n, k=k, packed=packed, masked=masked)
        return np.asarray(record.cost(self.machine).busy, dtype=np.int64)

    def products(self, mode: str, left: Values = Values.OWN, structure: Structure | None = None) -> TileCost:
        """`product` in a mode, of columns of (m, n, k)."""

        def cost(*sizes: Column) -> Column:
            return self.product(mode, *sizes, left=left, structure=structure)

        return cost

    def masked(self, mode: str, packing: RowPacking, share: float, masked: int = LEFT) -> TileCost:
        """Array cycles of products [m, k] by [k, n] of which a mask is reckoned to keep a share of the left operand, or
        of the result, of columns of (m, n, k)."""

        def cost(*sizes: Column) -> Column:
            return self._once(self._masked, sizes, mode, packing, share, masked)

        return cost

    def _masked(
        self, m: Column, n: Column, k: Column, mode: str, packing: RowPacking, share: float, masked: int
    ) -> Column:
        packed = packing.expected(m, k if masked == LEFT else n, share)
        fields = {"m": m, "n": n, "k": k, "packed": packed}
        record = MaskedProduct(
            mode=MatrixMode.parse(mode).code,
            acc=ACC_BIT,
            masked=masked,
            window=packing.window,
            width=packing.width,
            **fields,
        )
        return np.asarray(record.cost(self.machine).busy, dtype=np.int64)

    def counting(self, rows: Column, columns: Column) -> Column:
        """Cycles of counting what rows x columns bits pack into."""
        return self._once(self._counting, (rows, columns))

    def _counting(self, rows: Column, columns: Column) -> Column:
        return np.asarray(Pack(rows=rows, columns=columns).cost(self.machine).busy, dtype=np.int64)

    def copies(self, pitch: int, width: float, turned: bool = False) -> TileCost:
        """`copy`, of columns of (rows, columns): two rows, channel cycles and engine cycles."""

        def cost(*sizes: Column) -> Column:
            rows, columns = sizes
            return self._once(self._copy, (rows, columns), pitch, width, turned)

        return cost

    def vector(self, rows: Column, columns: Column) -> Column:
        """Cycles of a pass whose streams fit the ports."""
        return self._once(self._vector, (rows, columns))

    def _vector(self, rows: Column, columns: Column) -> Column:
        record = VectorPass(rows=rows, columns=columns, a_format=Format.F32.code)
        return np.asarray(record.cost(self.machine).busy, dtype=np.int64)

    def copy(
        self, rows: Column, columns: Column, pitch: int, width: float, turned: bool = False
    ) -> tuple[Column, Column]:
        """(DRAM channel cycles, engine cycles) of copying tiles of elements of `width` bytes (of which several may
        share one); loads and stores alike.

        Rows lie `pitch` elements apart in DRAM; 0 makes a tile one run. Rows are taken to begin on a burst, and on
        chip on an access. `turned`: on chip, rows and columns change places, so that every element is an access.
        """
        channel, busy = self._once(self._copy, (rows, columns), pitch, width, turned)
        return channel, busy

    def _copy(self, rows: Column, columns: Column, pitch: int, width: float, turned: bool) -> Column:
        burst, access = self.machine.dram.burst_bytes, self.machine.transfer.access_bytes
        # Several operands that are loaded together count as one whose elements are wider than any format.
        unit = next((size for size in sorted(ELEMENT_CODES, reverse=True) if width % size == 0), 1)
        columns, pitch = np.asarray(np.ceil(columns * (width / unit)), np.int64), whole(pitch * width / unit)
        packed, width = width % 1 != 0, unit
        distance: Any = columns * width
        step: Any = columns * width
        if pitch:
            apart = ceiling(pitch * width, burst) * burst
            # Packed rows are so short that it counts whether whole ones follow each other.
            distance = apart + (columns == pitch) * (distance - apart) if packed else apart
            step = ceiling(step, access) * access
        chip = (width, ceiling(rows * width, access) * access) if turned else (step, width)
        record = LoadBlock(
            element=ELEMENT_CODES[width],
            n2=rows,
            n3=columns,
            dram_stride2=distance,
            dram_stride3=width,
            chip_stride2=chip[0],
            chip_stride3=chip[1],
        )
        cost = record.cost(self.machine)
        shape = np.broadcast_shapes(np.shape(rows), np.shape(columns))
        return np.array([np.broadcast_to(part, shape) for part in (cost.channel_cycles, cost.busy)], dtype=np.int64)

    def _once(self, answer: Callable[..., Column], sizes: tuple[Column, ...], *settings: object) -> Column:
        """`answer(*sizes, *settings)`, the same array for the same question; read-only."""
        arrays = [np.asarray(size, dtype=np.int64) for size in sizes]
        question = (answer.__name__, settings, *((array.shape, array.tobytes()) for array in arrays))
        found = self._answers.get(question)
        if found is None:
            found = self._answers[question] = answer(*arrays, *settings)
            found.flags.writeable = False
        return found
