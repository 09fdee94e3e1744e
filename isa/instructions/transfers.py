"""Instructions of the LD and ST engines: strided block copies, gather and scatter of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..blocks import Block, Space, count_lines
from ..bursts import dram_bursts, on_chip_accesses, targets_overlap
from ..columns import Column, ceiling, choose, common_length, larger
from ..engines import Engine
from ..errors import Fault
from ..fields import on_chip_offset, on_chip_space
from ..formats import Array, assign
from ..kernels import Kernel, Operand
from ..record import (
    Condition,
    Cost,
    Instruction,
    dram_address,
    dram_stride,
    extent,
    instruction,
    named,
    on_chip_address,
    on_chip_stride,
    rows_overlap,
    unsigned,
)

if TYPE_CHECKING:
    from ..machine import Machine
    from ..state import State

_BYTE = np.dtype(np.uint8)
_ID = np.dtype(np.int32)
_ELEMENTS: tuple[np.dtype[Any], ...] = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.uint32))


def _element_dtype(code: int) -> np.dtype[Any]:
    return _ELEMENTS[code]


ELEMENT_CODES = {1: 0, 2: 1, 4: 2}
"""The code of `element` for a width in bytes."""


class _BlockCopy(Instruction):
    element: Column = named("bytes of an element", 2, {0: "1", 1: "2", 2: "4"})
    dram: Column = dram_address("first element in DRAM")
    chip: Column = on_chip_address("first element on chip")
    n0: Column = extent("outermost count", 1)
    n1: Column = extent("second count", 1)
    n2: Column = extent("third count", 1)
    n3: Column = extent("innermost count", 1)
    dram_stride0: Column = dram_stride("DRAM distance along n0")
    dram_stride1: Column = dram_stride("DRAM distance along n1")
    dram_stride2: Column = dram_stride("DRAM distance along n2")
    dram_stride3: Column = dram_stride("DRAM distance along n3")
    chip_stride0: Column = on_chip_stride("on-chip distance along n0")
    chip_stride1: Column = on_chip_stride("on-chip distance along n1")
    chip_stride2: Column = on_chip_stride("on-chip distance along n2")
    chip_stride3: Column = on_chip_stride("on-chip distance along n3")

    @property
    def _extents(self) -> tuple[Column, ...]:
        return (self.n0, self.n1, self.n2, self.n3)

    @property
    def _dram_strides(self) -> tuple[Column, ...]:
        return (self.dram_stride0, self.dram_stride1, self.dram_stride2, self.dram_stride3)

    @property
    def _chip_strides(self) -> tuple[Column, ...]:
        return (self.chip_stride0, self.chip_stride1, self.chip_stride2, self.chip_stride3)

    @property
    def dram_block(self) -> Block:
        """The bytes in DRAM."""
        return Block(Space.DRAM, self.dram, self._extents, self._dram_strides, 1 << self.element).merged()

    @property
    def chip_block(self) -> Block:
        """The bytes on chip."""
        space, offset = on_chip_space(self.chip), on_chip_offset(self.chip)
        return Block(space, offset, self._extents, self._chip_strides, 1 << self.element).merged()

    def _cost(self, machine: Machine, load: bool) -> Cost:
        width = 1 << self.element
        bursts = dram_bursts(self.dram, self._extents, self._dram_strides, width, machine.dram.burst_bytes)
        accesses = on_chip_accesses(
            on_chip_offset(self.chip),
            self._extents,
            self._chip_strides,
            self._dram_strides,
            width,
            machine.transfer.access_bytes,
        )
        data = self.n0 * self.n1 * self.n2 * self.n3 * width
        return _transfer_cost(machine, load, bursts, accesses, self._chip_events(data, load))

    def _alignment(self) -> Condition:
        places = self.dram | self.chip
        for stride in (*self._dram_strides, *self._chip_strides):
            places = places | stride
        return (places % (1 << self.element) != 0, "an address or stride is not a multiple of the element")

    def _chip_events(self, data: Column, load: bool) -> dict[str, Column]:
        in_acc = (self.chip >> 31) & 1
        way = "write" if load else "read"
        return {f"sram.{way}": data * (1 - in_acc), f"acc.{way}": data * in_acc}

    def _copy(self, load: bool) -> Kernel:
        dtype = _element_dtype(self.element)
        extents, dram_strides, chip_strides = _joined(
            self._extents, self._dram_strides, self._chip_strides, dtype.itemsize
        )
        dram = Operand("dram", Space.DRAM, extents, dram_strides, dtype)
        chip = Operand.on_chip("chip", self.chip, extents, chip_strides, dtype)
        return Kernel(assign, (dram, chip) if load else (chip, dram))


def _joined(
    extents: Sequence[int], first: Sequence[int], second: Sequence[int], element: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Extents and both sides' strides of a copy with as few dimensions: those that follow on in both are joined."""
    found: list[tuple[int, int, int]] = []
    for count, stride, other in zip(extents, first, second, strict=True):
        if count == 1:
            continue
        if found and found[-1][1:] == (count * stride, count * other):
            found[-1] = (found[-1][0] * count, stride, other)
        else:
            found.append((count, stride, other))
    joined = tuple(zip(*found, strict=True)) or ((1,), (element,), (element,))
    return joined[0], joined[1], joined[2]


def _overlaps(extents: tuple[Column, ...], strides: tuple[Column, ...], width: Column) -> Condition:
    length = common_length(width, *extents, *strides)
    wrong = targets_overlap(extents, strides, width)
    return (
        wrong if length is not None else bool(wrong[0]),
        "target dimensions do not nest: elements overlap",
    )


def _transfer_cost(machine: Machine, load: bool, bursts: Column, accesses: Column, events: dict[str, Column]) -> Cost:
    moved = bursts * machine.dram.burst_bytes
    channel = ceiling(moved, machine.dram.bytes_per_cycle)
    idle = moved * 0
    return Cost(
        busy=larger(channel, accesses),
        latency=choose(bursts > 0, machine.dram.latency_cycles, 0),
        dram_read_bytes=moved if load else idle,
        dram_write_bytes=idle if load else moved,
        channel_cycles=channel,
        events=events | {"dram.read" if load else "dram.write": moved},
    )


@instruction("ld.block", engine=Engine.LD, opcode=0x10)
class LoadBlock(_BlockCopy):
    """chip[i0, i1, i2, i3] = dram[i0, i1, i2, i3] for all indices below n0, n1, n2, n3.

    An element stands at its address plus the sum of index * stride, each memory with its own strides.
    """

    def reads(self) -> tuple[Block, ...]:
        """The elements in DRAM."""
        return (self.dram_block,)

    def writes(self) -> tuple[Block, ...]:
        """The elements on chip."""
        return (self.chip_block,)

    def cost(self, machine: Machine) -> Cost:
        """The longer of the DRAM bursts on the channel and the on-chip accesses; then the DRAM's latency."""
        return self._cost(machine, load=True)

    def faults(self, machine: Machine) -> tuple[Condition, ...]:
        """Unaligned, or elements that land on one another."""
        del machine
        return (self._alignment(), _overlaps(self._extents, self._chip_strides, 1 << self.element))

    def execute(self, state: State) -> Kernel:
        """Copy."""
        return self._copy(load=True)


@instruction("st.block", engine=Engine.ST, opcode=0x18)
class StoreBlock(_BlockCopy):
    """dram[i0, i1, i2, i3] = chip[i0, i1, i2, i3] for all indices below n0, n1, n2, n3.

    An element stands at its address plus the sum of index * stride, each memory with its own strides.
    """

    def reads(self) -> tuple[Block, ...]:
        """The elements on chip."""
        return (self.chip_block,)

    def writes(self) -> tuple[Block, ...]:
        """The elements in DRAM."""
        return (self.dram_block,)

    def cost(self, machine: Machine) -> Cost:
        """The longer of the DRAM bursts on the channel and the on-chip accesses; then the DRAM's latency."""
        return self._cost(machine, load=False)

    def faults(self, machine: Machine) -> tuple[Condition, ...]:
        """Unaligned, or elements that land on one another."""
        del machine
        return (self._alignment(), _overlaps(self._extents, self._dram_strides, 1 << self.element))

    def execute(self, state: State) -> Kernel:
        """Copy."""
        return self._copy(load=False)


def checked_ids(ids: Array, limit: int) -> Array:
    """The ids themselves. Raises Fault for the first that is outside 0..limit-1."""
    wrong = (ids < 0) | (ids >= limit)
    if wrong.any():
        place = int(np.flatnonzero(wrong)[0])
        raise Fault(f"id {int(ids[place])} at place {place} is outside 0..{limit - 1}")
    return ids


def _gather(ids: Array, table: Array, chip: Array) -> None:
    chip[...] = table[checked_ids(ids, len(table))]


def _scatter(ids: Array, table: Array, chip: Array) -> None:
    # In order of place, so that the last of equal ids stands.
    for place, row in enumerate(checked_ids(ids, len(table)).tolist()):
        table[row] = chip[place]


class _RowCopy(Instruction):
    table: Column = dram_address("row 0 of the table in DRAM")
    pitch: Column = dram_stride("DRAM distance between rows")
    limit: Column = unsigned("rows in the table: an id outside 0..limit-1 faults", 32, "row")
    ids: Column = on_chip_address("the ids: `count` contiguous int32")
    count: Column = extent("rows to copy", unit="row")
    row_bytes: Column = extent("bytes of a row", unit="byte")
    chip: Column = on_chip_address("row 0 on chip")
    chip_stride: Column = on_chip_stride("on-chip distance between rows")

    @property
    def _ids_block(self) -> Block:
        return Block(on_chip_space(self.ids), on_chip_offset(self.ids), (), (), 4 * self.count)

    @property
    def _table_block(self) -> Block:
        # Which rows is known only at run time: the whole table may be touched, when anything is.
        run = choose(self.count > 0, self.row_bytes, 0)
        return Block(Space.DRAM, self.table, (self.limit,), (self.pitch,), run).merged()

    @property
    def _chip_block(self) -> Block:
        return Block(
            on_chip_space(self.chip),
            on_chip_offset(self.chip),
            (self.count,),
            (self.chip_stride,),
            self.row_bytes,
        ).merged()

    def _cost(self, machine: Machine, load: bool) -> Cost:
        burst = machine.dram.burst_bytes
        access = machine.transfer.access_bytes
        # Ids are data, so where a row starts in its burst is known only when rows are whole bursts apart;
        # otherwise the worst alignment counts.
        known = self.pitch % burst == 0
        first = choose(known, self.table % burst, burst - 1)
        row_bursts = choose(self.row_bytes > 0, (first + self.row_bytes - 1) // burst + 1, 0)
        bursts = row_bursts * self.count
        id_bytes = choose(self.row_bytes > 0, 4 * self.count, 0)
        accesses = count_lines(
            on_chip_offset(self.chip), (self.count,), (self.chip_stride,), self.row_bytes, access
        ) + count_lines(on_chip_offset(self.ids), (), (), id_bytes, access)
        data = self.count * self.row_bytes
        in_acc, ids_in_acc = (self.chip >> 31) & 1, (self.ids >> 31) & 1
        way = "write" if load else "read"
        events = {
            "sram.read": id_bytes * (1 - ids_in_acc),
            "acc.read": id_bytes * ids_in_acc,
        }
        for name, moved in ((f"sram.{way}", data * (1 - in_acc)), (f"acc.{way}", data * in_acc)):
            events[name] = events.get(name, 0) + moved
        return _transfer_cost(machine, load, bursts, accesses, events)

    def _copy(self, load: bool) -> Kernel:
        row_bytes = self.row_bytes
        return Kernel(
            _gather if load else _scatter,
            (
                Operand.on_chip("ids", self.ids, (self.count,), (4,), _ID),
                Operand("table", Space.DRAM, (self.limit, row_bytes), (self.pitch, 1), _BYTE),
                Operand.on_chip("chip", self.chip, (self.count, row_bytes), (self.chip_stride, 1), _BYTE),
            ),
        )

    def faults(self, machine: Machine) -> tuple[Condition, ...]:
        """Ids that do not stand at a multiple of their size, rows that land on one another."""
        del machine
        return (
            (self.ids % 4 != 0, "the ids do not stand at a multiple of 4 bytes"),
            rows_overlap("rows on chip", self.count, self.chip_stride, self.row_bytes),
            rows_overlap("rows of the table", self.limit, self.pitch, self.row_bytes),
        )


@instruction("ld.gather", engine=Engine.LD, opcode=0x11)
class Gather(_RowCopy):
    """chip[i] = table[ids[i]] for i below `count`, rows of `row_bytes` bytes. An id out of range faults."""

    def reads(self) -> tuple[Block, ...]:
        """The ids and the whole table."""
        return (self._ids_block, self._table_block)

    def writes(self) -> tuple[Block, ...]:
        """The rows on chip."""
        return (self._chip_block,)

    def cost(self, machine: Machine) -> Cost:
        """Each row its bursts (worst alignment where the pitch is not whole bursts), against the accesses."""
        return self._cost(machine, load=True)

    def execute(self, state: State) -> Kernel:
        """Copy the rows."""
        return self._copy(load=True)


@instruction("st.scatter", engine=Engine.ST, opcode=0x19)
class Scatter(_RowCopy):
    """table[ids[i]] = chip[i] for i from 0 to `count` - 1 in order. An id out of range faults."""

    def reads(self) -> tuple[Block, ...]:
        """The ids and the rows on chip."""
        return (self._ids_block, self._chip_block)

    def writes(self) -> tuple[Block, ...]:
        """The whole table."""
        return (self._table_block,)

    def cost(self, machine: Machine) -> Cost:
        """Each row its bursts (worst alignment where the pitch is not whole bursts), against the accesses."""
        return self._cost(machine, load=False)

    def execute(self, state: State) -> Kernel:
        """Copy the rows."""
        return self._copy(load=False)
