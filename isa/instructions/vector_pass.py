"""Passing elements through the lane program of a slot of the VX engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..blocks import Block
from ..columns import Column, both, ceiling, choose, larger, lookup
from ..engines import Engine
from ..errors import Fault, UsageError
from ..fields import on_chip_offset, on_chip_space
from ..formats import FORMAT_BITS, FORMAT_BYTES, FORMATS_BY_CODE, NO_FORMAT, Kind
from ..kernels import Kernel, Operand
from ..lane_plan import plan
from ..lane_steps import Form
from ..lanes import REDUCTIONS, LaneProgram
from ..packed import packed_bytes
from ..record import (
    Condition,
    Cost,
    Instruction,
    derived,
    extent,
    flag,
    instruction,
    named,
    number_format,
    on_chip_address,
    on_chip_stride,
    rows_overlap,
    unsigned,
)

if TYPE_CHECKING:
    from ..machine import Machine
    from ..state import State

BROADCAST_KINDS: dict[str, int] = {"none": 0, "scalar": 1, "row": 2, "column": 3}
"""Codes of a broadcast operand: one value; 1 x columns, contiguous; rows x 1, contiguous."""

DIRECTIONS: dict[str, int] = {"none": 0, "each_row": 1, "each_column": 2}
"""Codes of a reduction's direction: one value a row (across columns), one value a column (across rows)."""

_BROADCAST_SHAPES = {1: (False, False), 2: (False, True), 3: (True, False)}
_BROADCAST_NAMES = {code: name for name, code in BROADCAST_KINDS.items()}
_DIRECTION_NAMES = {code: name for name, code in DIRECTIONS.items()}


@instruction("vx.pass", engine=Engine.VX, opcode=0x31)
class VectorPass(Instruction):
    """Run the lane program of `slot` on every element of `rows` x `columns`, in this queue's engine.

    Streams a and b are [rows, columns] with a row stride, elements of a row contiguous (packed formats: from the
    lowest bit of the row's first byte); broadcasts c0 to c3 repeat along what they lack. Values widen to float32,
    int32 or bool, run through the program, and `out` converts to its format; the bits that a packed row leaves of
    its last byte become zero. A reduction writes contiguous 4-byte values (float32, or int32 for int and bool);
    with `accumulate` its old values join in (sum, max and min only). All reads precede all writes.
    """

    slot: Column = unsigned("program slot", 5)
    rows: Column = extent("rows")
    columns: Column = extent("columns")
    a: Column = on_chip_address("stream a", 0)
    a_stride: Column = on_chip_stride("distance between rows of a")
    a_format: Column = number_format("format of a", NO_FORMAT)
    b: Column = on_chip_address("stream b", 0)
    b_stride: Column = on_chip_stride("distance between rows of b")
    b_format: Column = number_format("format of b", NO_FORMAT)
    out: Column = on_chip_address("the element stream written", 0)
    out_stride: Column = on_chip_stride("distance between rows of out")
    out_format: Column = number_format("format of out", NO_FORMAT)
    c0: Column = on_chip_address("broadcast c0", 0)
    c0_kind: Column = named("shape of c0", 2, _BROADCAST_NAMES, 0)
    c0_format: Column = number_format("format of c0", NO_FORMAT)
    c1: Column = on_chip_address("broadcast c1", 0)
    c1_kind: Column = named("shape of c1", 2, _BROADCAST_NAMES, 0)
    c1_format: Column = number_format("format of c1", NO_FORMAT)
    c2: Column = on_chip_address("broadcast c2", 0)
    c2_kind: Column = named("shape of c2", 2, _BROADCAST_NAMES, 0)
    c2_format: Column = number_format("format of c2", NO_FORMAT)
    c3: Column = on_chip_address("broadcast c3", 0)
    c3_kind: Column = named("shape of c3", 2, _BROADCAST_NAMES, 0)
    c3_format: Column = number_format("format of c3", NO_FORMAT)
    reduction0: Column = on_chip_address("result of the first reduction", 0)
    reduction0_direction: Column = named("what the first reduction gives", 2, _DIRECTION_NAMES, 0)
    reduction1: Column = on_chip_address("result of the second reduction", 0)
    reduction1_direction: Column = named("what the second reduction gives", 2, _DIRECTION_NAMES, 0)
    accumulate: Column = flag("reductions join their old values")
    operations: Column = derived("operations of the slot's program that are not transcendental")
    transcendentals: Column = derived("transcendental operations of the slot's program")

    STREAMS: ClassVar[tuple[str, ...]] = ("a", "b")
    BROADCASTS: ClassVar[tuple[str, ...]] = ("c0", "c1", "c2", "c3")
    REDUCED: ClassVar[tuple[str, ...]] = ("reduction0", "reduction1")

    def _width(self, name: str) -> Column:
        return lookup(FORMAT_BYTES, self.__dict__[f"{name}_format"])

    def _bits(self, name: str) -> Column:
        return lookup(FORMAT_BITS, self.__dict__[f"{name}_format"])

    def _row_bytes(self, name: str) -> Column:
        return packed_bytes(self.columns, self._bits(name))

    def _stream_block(self, name: str) -> Block:
        values = self.__dict__
        address = values[name]
        return Block(
            on_chip_space(address),
            on_chip_offset(address),
            (self.rows,),
            (values[f"{name}_stride"],),
            self._row_bytes(name),
        ).merged()

    def _broadcast_count(self, name: str) -> Column:
        kind = self.__dict__[f"{name}_kind"]
        count = choose(kind == 1, 1, choose(kind == 2, self.columns, choose(kind == 3, self.rows, 0)))
        return choose(self.rows * self.columns > 0, count, 0)

    def _broadcast_block(self, name: str) -> Block:
        address = self.__dict__[name]
        run = self._broadcast_count(name) * self._width(name)
        return Block(on_chip_space(address), on_chip_offset(address), (), (), run)

    def _reduced_count(self, name: str) -> Column:
        direction = self.__dict__[f"{name}_direction"]
        count = choose(direction == 1, self.rows, choose(direction == 2, self.columns, 0))
        return choose(self.rows * self.columns > 0, count, 0)

    def _reduced_block(self, name: str, present: Column = 1) -> Block:
        address = self.__dict__[name]
        run = self._reduced_count(name) * 4 * present
        return Block(on_chip_space(address), on_chip_offset(address), (), (), run)

    def reads(self) -> tuple[Block, ...]:
        """Streams, broadcasts, and the old reductions when it accumulates; absent ones are empty."""
        return (
            *(self._stream_block(name) for name in self.STREAMS),
            *(self._broadcast_block(name) for name in self.BROADCASTS),
            *(self._reduced_block(name, self.accumulate) for name in self.REDUCED),
        )

    def writes(self) -> tuple[Block, ...]:
        """The element stream and the reductions; absent ones are empty."""
        return (self._stream_block("out"), *(self._reduced_block(name) for name in self.REDUCED))

    def cost(self, machine: Machine) -> Cost:
        """Start-up, then the elements by lanes; more cycles where streams pass the ports' width."""
        engine = machine.vector
        elements = self.rows * self.columns
        from_sram: Column = 0
        from_acc: Column = 0
        for name in self.STREAMS:
            in_acc = (self.__dict__[name] >> 31) & 1
            from_sram = from_sram + self._bits(name) * (1 - in_acc)
            from_acc = from_acc + self._bits(name) * in_acc
        slowdown = larger(
            1,
            larger(
                ceiling(from_sram, 8 * engine.sram_bytes_per_lane), ceiling(from_acc, 8 * engine.acc_bytes_per_lane)
            ),
        )
        cycles = engine.start_cycles + ceiling(elements, engine.lanes) * slowdown
        reductions = (self.reduction0_direction > 0) * 1 + (self.reduction1_direction > 0) * 1
        events: dict[str, Column] = {
            "vector.operation": elements * (self.operations + reductions),
            "vector.transcendental": elements * self.transcendentals,
        }
        for way, blocks in (("read", self.reads()), ("write", self.writes())):
            for block in blocks:
                in_acc = block.space == 2
                events[f"acc.{way}"] = events.get(f"acc.{way}", 0) + choose(in_acc, block.bytes, 0)
                events[f"sram.{way}"] = events.get(f"sram.{way}", 0) + choose(in_acc, 0, block.bytes)
        return Cost(busy=choose(elements > 0, cycles, 0), events=events)

    def faults(self, machine: Machine) -> tuple[Condition, ...]:
        """Unaligned operands, rows of out that overlap, a broadcast with a shape and no format."""
        del machine
        conditions: list[Condition] = [rows_overlap("rows of out", self.rows, self.out_stride, self._row_bytes("out"))]
        for name in (*self.STREAMS, "out"):
            place = self.__dict__[name] | self.__dict__[f"{name}_stride"]
            wrong = place % larger(self._width(name), 1) != 0
            conditions.append((wrong, f"{name} or its stride is not a multiple of its element"))
        for name in self.BROADCASTS:
            present = self.__dict__[f"{name}_kind"] > 0
            has_format = self.__dict__[f"{name}_format"] != NO_FORMAT
            conditions.append((present != has_format, f"{name} has a shape without format or the reverse"))
            wrong = self.__dict__[name] % larger(self._width(name), 1) != 0
            conditions.append((wrong, f"{name} is not at a multiple of its element"))
            packed = both(self._bits(name) > 0, self._bits(name) < 8)
            conditions.append((packed, f"{name} has a packed format, which only streams and out may have"))
        conditions.extend(
            (self.__dict__[name] % 4 != 0, f"{name} is not at a multiple of 4 bytes") for name in self.REDUCED
        )
        return tuple(conditions)

    def program_fault(self, program: LaneProgram) -> str | None:
        """Why `program` cannot run in this pass (of numbers), or None."""
        kinds: list[Kind | None] = [
            None if code == NO_FORMAT else FORMATS_BY_CODE[code].kind for code in self._formats()
        ]
        try:
            program.kinds(kinds[:2], kinds[2:])
        except UsageError as error:
            return str(error)
        return self._mismatch(program)

    def _mismatch(self, program: LaneProgram) -> str | None:
        if (program.output is not None) != (self.out_format != NO_FORMAT):
            return "the program writes an element stream and the pass has none, or the reverse"
        given = [self.reduction0_direction > 0, self.reduction1_direction > 0]
        wanted = [len(program.reductions) > 0, len(program.reductions) > 1]
        if given != wanted:
            return f"the program has {len(program.reductions)} reductions, the pass {sum(given)}"
        if self.accumulate:
            for name, _ in program.reductions:
                if not REDUCTIONS[name].accumulates:
                    return f"reduction {name} cannot accumulate"
        return None

    def _formats(self) -> tuple[int, ...]:
        return (
            self.a_format,
            self.b_format,
            self.c0_format,
            self.c1_format,
            self.c2_format,
            self.c3_format,
        )

    def execute(self, state: State) -> Kernel:
        """Run the pass."""
        program = state.slots.get((self.queue, self.slot))
        if program is None:
            raise Fault(f"vector slot {self.slot} holds no program")
        reason = self._mismatch(program)
        if reason is not None:
            raise Fault(reason)
        try:
            lanes = plan(program.structure, self._form())
        except UsageError as error:
            raise Fault(str(error)) from None
        function = lanes.function(self.rows, self.columns, state.working)
        operands = (
            *(self._stream(name) for name in self.STREAMS),
            *(self._broadcast(name) for name in self.BROADCASTS),
            self._stream("out"),
            *self._reduced(lanes.reduced_dtypes),
        )
        present = tuple(operand for operand in operands if operand is not None)
        return Kernel(function, present, program.structure.numbers(self.queue))

    def _form(self) -> Form:
        a, b, *broadcasts = (FORMATS_BY_CODE.get(code) for code in self._formats())
        kinds = (self.c0_kind, self.c1_kind, self.c2_kind, self.c3_kind)
        return Form(
            (a, b),
            tuple(
                None if stored is None else (stored, _BROADCAST_SHAPES[kind])
                for stored, kind in zip(broadcasts, kinds, strict=True)
            ),
            FORMATS_BY_CODE.get(self.out_format),
            tuple(2 - direction for direction in self._directions()),
            bool(self.accumulate),
        )

    def _directions(self) -> list[int]:
        return [way for way in (self.reduction0_direction, self.reduction1_direction) if way]

    def _stream(self, name: str) -> Operand | None:
        values = self.__dict__
        stored = FORMATS_BY_CODE.get(values[name + "_format"])
        if stored is None:
            return None
        columns = stored.run_bytes(self.columns) if stored.packed else self.columns
        shape, strides = (self.rows, columns), (values[name + "_stride"], stored.dtype.itemsize)
        return Operand.on_chip(name, values[name], shape, strides, stored.dtype)

    def _broadcast(self, name: str) -> Operand | None:
        values = self.__dict__
        kind: int = values[name + "_kind"]
        if kind == 0:
            return None
        stored = FORMATS_BY_CODE[values[name + "_format"]]
        by_row, by_column = _BROADCAST_SHAPES[kind]
        shape = (self.rows if by_row else 1, self.columns if by_column else 1)
        return Operand.on_chip(name, values[name], shape, (stored.bytes, stored.bytes), stored.dtype)

    def _reduced(self, dtypes: Sequence[np.dtype[Any]]) -> Iterator[Operand]:
        for name, direction, dtype in zip(self.REDUCED, self._directions(), dtypes, strict=False):
            count = self.rows if direction == 1 else self.columns
            yield Operand.on_chip(name, self.__dict__[name], (count,), (4,), dtype)
