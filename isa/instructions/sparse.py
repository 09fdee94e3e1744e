"""Instructions of the SX engine: which elements count, and where they stand.

Masks are packed bits, [rows, columns] with each row from a byte on; bits behind the last column are written as 0 and
never read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..blocks import Block
from ..columns import Column, both, ceiling, choose, either
from ..engines import Engine
from ..fields import on_chip_offset, on_chip_space
from ..formats import Array, Format
from ..kernels import Kernel, Operand
from ..packed import packed_bytes
from ..record import (
    Condition,
    Cost,
    Instruction,
    extent,
    instruction,
    number_format,
    on_chip_address,
    on_chip_stride,
    rows_overlap,
    unsigned,
)
from ..row_packing import RowPacking
from .transfers import checked_ids

if TYPE_CHECKING:
    from ..machine import Machine
    from ..state import State

_BYTE, _I32 = np.dtype(np.uint8), np.dtype(np.int32)

RANKED = (Format.F32, Format.I32)
"""What values that are ranked may be stored as."""

SELECTION_PASSES = 5
"""A radix selection: a histogram for each eight bits of a key of 32, and a pass that writes the mask."""


def mask_bits(stored: Array, columns: int) -> Array:
    """Packed bits [rows, bytes] as bools [rows, columns]."""
    return np.unpackbits(stored, axis=1, count=columns, bitorder="little").view(np.bool_)


def mask_block(address: Column, rows: Column, columns: Column, stride: Column) -> Block:
    """The bytes of a mask."""
    run = choose(rows > 0, packed_bytes(columns, 1), 0)
    return Block(on_chip_space(address), on_chip_offset(address), (rows,), (stride,), run).merged()


def mask_operand(name: str, values: dict[str, int], rows: int, columns: int) -> Operand:
    """The bytes of the mask at the field `name`, whose stride is `name`_stride."""
    shape, strides = (rows, packed_bytes(columns, 1)), (values[f"{name}_stride"], 1)
    return Operand.on_chip(name, values[name], shape, strides, _BYTE)


def _words(address: Column, count: Column) -> Block:
    return Block(on_chip_space(address), on_chip_offset(address), (), (), 4 * count)


def _traffic(way: str, address: Column, moved: Column) -> dict[str, Column]:
    in_acc = (address >> 31) & 1
    return {f"sram.{way}": moved * (1 - in_acc), f"acc.{way}": moved * in_acc}


def _joined(*parts: dict[str, Column]) -> dict[str, Column]:
    events: dict[str, Column] = {}
    for part in parts:
        for name, count in part.items():
            events[name] = events.get(name, 0) + count
    return events


def _unaligned(what: str, address: Column) -> Condition:
    return (address % 4 != 0, f"{what} does not stand at a multiple of 4 bytes")


@instruction("sx.top", engine=Engine.SX, opcode=0x40)
class Top(Instruction):
    """mask[r, c] = whether values[r, c] is one of the `keep` greatest of row r: of equal ones those of lower columns
    come first, a NaN after all numbers. All are kept where `keep` is not below `columns`."""

    values: Column = on_chip_address("values[0, 0]")
    format: Column = number_format("f32 or i32")
    mask: Column = on_chip_address("mask[0, 0]")
    rows: Column = extent("rows of values and of the mask")
    columns: Column = extent("columns of values and of the mask")
    keep: Column = extent("how many of each row are kept")
    values_stride: Column = on_chip_stride("distance between rows of values")
    mask_stride: Column = on_chip_stride("distance between rows of the mask")

    def reads(self) -> tuple[Block, ...]:
        """The values."""
        run = choose(both(self.rows > 0, self.keep > 0), 4 * self.columns, 0)
        space, offset = on_chip_space(self.values), on_chip_offset(self.values)
        return (Block(space, offset, (self.rows,), (self.values_stride,), run).merged(),)

    def writes(self) -> tuple[Block, ...]:
        """The mask."""
        rows = choose(self.keep > 0, self.rows, 0)
        return (mask_block(self.mask, rows, self.columns, self.mask_stride),)

    def cost(self, machine: Machine) -> Cost:
        """Five passes over each row: a radix selection by eight bits of key at a time, and the mask."""
        works = self.rows * self.columns * self.keep > 0
        elements = choose(works, self.rows * self.columns, 0)
        busy = choose(works, SELECTION_PASSES * self.rows * _cycles(self.columns, machine), 0)
        events = _joined(
            {"sparse.element": SELECTION_PASSES * elements},
            _traffic("read", self.values, 4 * SELECTION_PASSES * elements),
            _traffic("write", self.mask, choose(works, self.rows * packed_bytes(self.columns, 1), 0)),
        )
        return Cost(busy=busy, events=events)

    def faults(self, machine: Machine) -> tuple[Condition, ...]:
        """Values of another format, unaligned, or rows of the mask that overlap."""
        del machine
        known = self.format == RANKED[0].code
        for form in RANKED[1:]:
            known = either(known, self.format == form.code)
        return (
            (known == 0, "values are ranked as f32 or i32"),
            _unaligned("a row of values", self.values | self.values_stride),
            rows_overlap("rows of the mask", self.rows, self.mask_stride, packed_bytes(self.columns, 1)),
        )

    def execute(self, state: State) -> Kernel:
        """Rank and keep."""
        form = next(form for form in RANKED if form.code == self.format)
        shape, strides = (self.rows, self.columns), (self.values_stride, 4)
        return Kernel(
            _top(self.keep),
            (
                Operand.on_chip("values", self.values, shape, strides, form.dtype),
                mask_operand("mask", self.__dict__, self.rows, self.columns),
            ),
        )


def greatest(values: Array, count: int) -> Array:
    """Which of `values` [rows, columns], float32 or int32, are among the `count` greatest of their row: bools."""
    # NaN is put last whatever its sign; ~ turns the order of integers without overflow.
    order = np.argsort(~values if values.dtype.kind == "i" else -values, axis=1, kind="stable")
    kept = np.zeros(values.shape, np.bool_)
    np.put_along_axis(kept, order[:, :count], True, axis=1)
    return kept


def _top(keep: int) -> Callable[[Array, Array], None]:
    def choose_top(values: Array, mask: Array) -> None:
        mask[...] = np.packbits(greatest(values, keep), axis=1, bitorder="little")

    return choose_top


def compacted(mask: Array, columns: int) -> tuple[Array, int]:
    """The columns that are set in any row of a packed mask, int32, zeros behind them up to `columns`; how many."""
    found = np.flatnonzero(mask_bits(mask, columns).any(axis=0)).astype(np.int32)
    return np.pad(found, (0, columns - len(found))), len(found)


@instruction("sx.compact", engine=Engine.SX, opcode=0x41)
class Compact(Instruction):
    """ids = the columns that are set in any row of the mask, ascending, as int32; count = how many. What stands in ids
    behind them is lost."""

    mask: Column = on_chip_address("mask[0, 0]")
    ids: Column = on_chip_address("room for `columns` int32")
    count: Column = on_chip_address("where the count is written, int32")
    rows: Column = extent("rows of the mask")
    columns: Column = extent("columns of the mask")
    mask_stride: Column = on_chip_stride("distance between rows of the mask")

    def reads(self) -> tuple[Block, ...]:
        """The mask."""
        return (mask_block(self.mask, self.rows, self.columns, self.mask_stride),)

    def writes(self) -> tuple[Block, ...]:
        """All the room of ids, and the count."""
        works = self.rows * self.columns > 0
        return (_words(self.ids, choose(works, self.columns, 0)), _words(self.count, choose(works, 1, 0)))

    def cost(self, machine: Machine) -> Cost:
        """A pass over each row, and one that writes the ids."""
        works = self.rows * self.columns > 0
        busy = choose(works, (self.rows + 1) * _cycles(self.columns, machine), 0)
        events = _joined(
            {"sparse.element": choose(works, (self.rows + 1) * self.columns, 0)},
            _traffic("read", self.mask, choose(works, self.rows * packed_bytes(self.columns, 1), 0)),
            _traffic("write", self.ids, choose(works, 4 * self.columns, 0)),
            _traffic("write", self.count, choose(works, 4, 0)),
        )
        return Cost(busy=busy, events=events)

    def faults(self, machine: Machine) -> tuple[Condition, ...]:
        """Ids or count unaligned."""
        del machine
        return (_unaligned("ids", self.ids), _unaligned("the count", self.count))

    def execute(self, state: State) -> Kernel:
        """List the columns."""
        columns = self.columns

        def compact(mask: Array, ids: Array, count: Array) -> None:
            ids[...], count[0] = compacted(mask, columns)

        return Kernel(
            compact,
            (
                mask_operand("mask", self.__dict__, self.rows, columns),
                Operand.on_chip("ids", self.ids, (columns,), (4,), _I32),
                Operand.on_chip("count", self.count, (1,), (4,), _I32),
            ),
        )


@instruction("sx.pack", engine=Engine.SX, opcode=0x42, version=2)
class Pack(Instruction):
    """count = into how many rows of at most `width` kept elements the mask is cut, each within one window of `window`
    columns of `height` rows: sum over these pieces of the mask of ceil(kept / width). What `mx.masked` takes that many
    rows for."""

    mask: Column = on_chip_address("mask[0, 0]")
    count: Column = on_chip_address("where the count is written, int32")
    rows: Column = extent("rows of the mask")
    columns: Column = extent("columns of the mask")
    mask_stride: Column = on_chip_stride("distance between rows of the mask")
    window: Column = unsigned("columns that one row is gathered from", 16, "element")
    width: Column = unsigned("kept elements that one row takes", 16, "element")
    height: Column = unsigned("rows of the mask that one row is gathered from", 16, "element", 1)

    def reads(self) -> tuple[Block, ...]:
        """The mask."""
        return (mask_block(self.mask, self.rows, self.columns, self.mask_stride),)

    def writes(self) -> tuple[Block, ...]:
        """The count."""
        return (_words(self.count, choose(self.rows * self.columns > 0, 1, 0)),)

    def cost(self, machine: Machine) -> Cost:
        """A pass over each row."""
        works = self.rows * self.columns > 0
        events = _joined(
            {"sparse.element": choose(works, self.rows * self.columns, 0)},
            _traffic("read", self.mask, choose(works, self.rows * packed_bytes(self.columns, 1), 0)),
            _traffic("write", self.count, choose(works, 4, 0)),
        )
        return Cost(busy=choose(works, self.rows * _cycles(self.columns, machine), 0), events=events)

    def faults(self, machine: Machine) -> tuple[Condition, ...]:
        """No width, a window that the machine has not, or the count unaligned."""
        return (
            (self.width == 0, "the width is 0"),
            *window_faults(self.window, self.height, machine),
            _unaligned("the count", self.count),
        )

    def execute(self, state: State) -> Kernel:
        """Count the rows."""
        columns, packing = self.columns, RowPacking(self.window, self.width, self.height)

        def pack(mask: Array, count: Array) -> None:
            count[0] = packing.count(mask_bits(mask, columns))

        return Kernel(
            pack,
            (
                mask_operand("mask", self.__dict__, self.rows, columns),
                Operand.on_chip("count", self.count, (1,), (4,), _I32),
            ),
        )


def window_faults(window: Column, height: Column, machine: Machine) -> tuple[Condition, ...]:
    """A window of no columns or rows, or of more than rows can be gathered from."""
    columns, rows = machine.sparse.window, machine.sparse.height
    return (
        (either(window == 0, window > columns), f"a window has 1 to {columns} columns on this machine"),
        (either(height == 0, height > rows), f"a window has 1 to {rows} rows on this machine"),
    )


@instruction("sx.gather", engine=Engine.SX, opcode=0x43)
class GatherRows(Instruction):
    """out[i] = table[ids[i]] for i below `count`, rows of `row_bytes` bytes, all on chip. An id out of range faults."""

    table: Column = on_chip_address("row 0 of the table")
    ids: Column = on_chip_address("the ids: `count` contiguous int32")
    out: Column = on_chip_address("row 0 of the result")
    limit: Column = extent("rows in the table", unit="row")
    count: Column = extent("rows to copy", unit="row")
    row_bytes: Column = extent("bytes of a row", unit="byte")
    table_stride: Column = on_chip_stride("distance between rows of the table")
    out_stride: Column = on_chip_stride("distance between rows of the result")

    def _rows(self, address: Column, rows: Column, stride: Column) -> Block:
        run = choose(self.limit * self.count > 0, self.row_bytes, 0)
        return Block(on_chip_space(address), on_chip_offset(address), (rows,), (stride,), run).merged()

    def reads(self) -> tuple[Block, ...]:
        """The ids and the whole table."""
        ids = _words(self.ids, choose(self.limit * self.row_bytes > 0, self.count, 0))
        return (ids, self._rows(self.table, self.limit, self.table_stride))

    def writes(self) -> tuple[Block, ...]:
        """The rows."""
        return (self._rows(self.out, self.count, self.out_stride),)

    def cost(self, machine: Machine) -> Cost:
        """Each row as many elements of four bytes as it has."""
        works = self.count * self.limit * self.row_bytes > 0
        moved = choose(works, self.count * self.row_bytes, 0)
        busy = choose(works, self.count * _cycles(ceiling(self.row_bytes, 4), machine), 0)
        events = _joined(
            {"sparse.element": choose(works, self.count * ceiling(self.row_bytes, 4), 0)},
            _traffic("read", self.ids, choose(works, 4 * self.count, 0)),
            _traffic("read", self.table, moved),
            _traffic("write", self.out, moved),
        )
        return Cost(busy=busy, events=events)

    def faults(self, machine: Machine) -> tuple[Condition, ...]:
        """Ids unaligned, or rows of the result that overlap."""
        del machine
        return (
            _unaligned("ids", self.ids),
            rows_overlap("rows of the result", self.count, self.out_stride, self.row_bytes),
        )

    def execute(self, state: State) -> Kernel:
        """Copy the rows."""
        return Kernel(
            _gather,
            (
                Operand.on_chip("ids", self.ids, (self.count,), (4,), _I32),
                Operand.on_chip("table", self.table, (self.limit, self.row_bytes), (self.table_stride, 1), _BYTE),
                Operand.on_chip("out", self.out, (self.count, self.row_bytes), (self.out_stride, 1), _BYTE),
            ),
        )


def _gather(ids: Array, table: Array, out: Array) -> None:
    out[...] = table[checked_ids(ids, len(table))]


def _cycles(elements: Column, machine: Machine) -> Column:
    return ceiling(elements, machine.sparse.elements_per_cycle)
