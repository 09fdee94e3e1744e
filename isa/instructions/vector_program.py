"""Writing a lane program into a slot of the VX engine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from ..blocks import Block
from ..columns import Column
from ..engines import Engine
from ..errors import UsageError
from ..fields import NO_NAMES, AddressNames, Bits, bits_float, float_bits, parse_integer
from ..kernels import Kernel
from ..lanes import (
    LANE_FUNCTIONS,
    LANE_FUNCTIONS_BY_CODE,
    MAXIMUM_IMMEDIATES,
    MAXIMUM_OPERATIONS,
    MAXIMUM_REDUCTIONS,
    NO_SOURCE,
    REDUCTIONS,
    REDUCTIONS_BY_CODE,
    SLOTS,
    Immediate,
    LaneOperation,
    LaneProgram,
    Source,
)
from ..record import Cost, Instruction, declare, instruction, unsigned

if TYPE_CHECKING:
    from ..machine import Machine
    from ..state import State

_NO_SOURCES = NO_SOURCE | NO_SOURCE << 5 | NO_SOURCE << 10
_NO_OPERATION = _NO_SOURCES << 7
_NO_REDUCTION = NO_SOURCE << 3


@instruction("vx.program", engine=Engine.VX, opcode=0x30)
class VectorProgram(Instruction):
    """Write a lane program into `slot` of this queue's engine.

    An operation is a function code (7 bits, 0 for none) and three sources (5 bits each, 31 for none). Numbers
    stand in the order of their first use, none twice, so that a program has one encoding only.
    """

    structured = True

    slot: Column = unsigned("program slot", 5)
    operation0: Column = declare(Bits(22), "operation r0", default=_NO_OPERATION)
    operation1: Column = declare(Bits(22), "operation r1", default=_NO_OPERATION)
    operation2: Column = declare(Bits(22), "operation r2", default=_NO_OPERATION)
    operation3: Column = declare(Bits(22), "operation r3", default=_NO_OPERATION)
    operation4: Column = declare(Bits(22), "operation r4", default=_NO_OPERATION)
    operation5: Column = declare(Bits(22), "operation r5", default=_NO_OPERATION)
    operation6: Column = declare(Bits(22), "operation r6", default=_NO_OPERATION)
    operation7: Column = declare(Bits(22), "operation r7", default=_NO_OPERATION)
    immediate0: Column = declare(Bits(32), "immediate 0: float32 or int32 bits", default=0)
    immediate1: Column = declare(Bits(32), "immediate 1: float32 or int32 bits", default=0)
    immediate2: Column = declare(Bits(32), "immediate 2: float32 or int32 bits", default=0)
    immediate3: Column = declare(Bits(32), "immediate 3: float32 or int32 bits", default=0)
    floats: Column = declare(Bits(4), "bit i set: immediate i is float", default=0)
    output: Column = declare(Bits(5), "source written as the element stream, 31 for none", default=NO_SOURCE)
    reduction0: Column = declare(Bits(8), "reduction kind (3 bits, 0 none), source", default=_NO_REDUCTION)
    reduction1: Column = declare(Bits(8), "reduction kind (3 bits, 0 none), source", default=_NO_REDUCTION)

    @staticmethod
    def encoded(slot: int, program: LaneProgram) -> dict[str, int]:
        """Field values that write `program` into `slot`."""
        program = LaneProgram.parse(str(program))
        values = {"slot": slot}
        for index in range(MAXIMUM_OPERATIONS):
            value = _NO_OPERATION
            if index < len(program.operations):
                name, sources = program.operations[index]
                codes = [*map(int, sources), NO_SOURCE, NO_SOURCE][:3]
                value = LANE_FUNCTIONS[name].code | codes[0] << 7 | codes[1] << 12 | codes[2] << 17
            values[f"operation{index}"] = value
        floats = 0
        for index in range(MAXIMUM_IMMEDIATES):
            bits = 0
            if index < len(program.immediates):
                number = program.immediates[index]
                floats |= isinstance(number, float) << index
                bits = float_bits(number) if isinstance(number, float) else number & 0xFFFFFFFF
            values[f"immediate{index}"] = bits
        values["floats"] = floats
        values["output"] = NO_SOURCE if program.output is None else int(program.output)
        for index in range(MAXIMUM_REDUCTIONS):
            value = _NO_REDUCTION
            if index < len(program.reductions):
                name, source = program.reductions[index]
                value = REDUCTIONS[name].code | int(source) << 3
            values[f"reduction{index}"] = value
        return values

    @staticmethod
    def decoded(values: Mapping[str, int]) -> LaneProgram:
        """The lane program of field values; UsageError when they are none, or not its one encoding."""
        return _decoded(tuple(values[item.name] for item in VectorProgram.fields))

    @property
    def program(self) -> LaneProgram:
        """The lane program of this instruction (of numbers)."""
        return self.decoded(self.__dict__)

    def reads(self) -> tuple[Block, ...]:
        """Nothing."""
        return ()

    def writes(self) -> tuple[Block, ...]:
        """Nothing in memory: slots belong to the queue."""
        return ()

    def cost(self, machine: Machine) -> Cost:
        """`program_cycles`."""
        return Cost(busy=machine.vector.program_cycles + self.slot * 0)

    @classmethod
    def structure_fault(cls, values: Mapping[str, int]) -> str | None:
        """The words hold no lane program."""
        try:
            cls.decoded(values)
        except UsageError as error:
            return str(error)
        return None

    def execute(self, state: State) -> Kernel:
        """Write the slot."""
        return Kernel(partial(state.write_slot, self.queue, self.slot, self.program))

    @classmethod
    def operands(cls, values: Mapping[str, int], names: AddressNames = NO_NAMES) -> list[str]:
        """The slot and the lane program's text in quotes."""
        del names
        return [f"slot={values['slot']}", f'program="{cls.decoded(values)}"']

    @classmethod
    def parse_operands(cls, words: Mapping[str, str | None], names: AddressNames = NO_NAMES) -> dict[str, int]:
        """`slot=3, program="..."`."""
        del names
        for name in words:
            if name not in ("slot", "program"):
                raise UsageError(f"{cls.mnemonic} has no operand {name!r}")
        slot, program = words.get("slot"), words.get("program")
        if slot is None or program is None:
            raise UsageError(f'{cls.mnemonic} needs slot=NUMBER and program="..."')
        number = parse_integer(slot)
        if not 0 <= number < SLOTS:
            raise UsageError(f"slot {number} is outside 0..{SLOTS - 1}")
        return cls.encoded(number, LaneProgram.parse(program.strip('"')))


@lru_cache(maxsize=4096)
def _decoded(fields: tuple[int, ...]) -> LaneProgram:
    values = dict(zip((item.name for item in VectorProgram.fields), fields, strict=True))
    operations: list[LaneOperation] = []
    for index in range(MAXIMUM_OPERATIONS):
        value = values[f"operation{index}"]
        if value != _NO_OPERATION:
            operations.append(_operation(value))
    used = [source for operation in operations for source in operation.sources]
    output = None if values["output"] == NO_SOURCE else _source(values["output"])
    reductions: list[tuple[str, Source]] = []
    for index in range(MAXIMUM_REDUCTIONS):
        value = values[f"reduction{index}"]
        if value != _NO_REDUCTION:
            reductions.append((_reduction(value & 7), _source(value >> 3)))
    used.extend(source for _, source in reductions)
    if output is not None:
        used.append(output)
    count = max((source - Source.I0 + 1 for source in used if source.is_immediate), default=0)
    numbers: list[Immediate] = []
    for index in range(count):
        bits = values[f"immediate{index}"]
        as_int = bits - (1 << 32) if bits >> 31 else bits
        numbers.append(bits_float(bits) if values["floats"] >> index & 1 else as_int)
    program = LaneProgram(tuple(operations), tuple(numbers), output, tuple(reductions))
    again = VectorProgram.encoded(values["slot"], program)
    for name, value in again.items():
        if values[name] != value:
            raise UsageError(f"{name} is not in the one form that encodes `{program}`")
    return program


def _operation(value: int) -> LaneOperation:
    function = LANE_FUNCTIONS_BY_CODE.get(value & 0x7F)
    if function is None:
        raise UsageError(f"{value & 0x7F} is no code of a lane function")
    codes = [value >> 7 & 31, value >> 12 & 31, value >> 17 & 31]
    return LaneOperation(function.name, tuple(_source(code) for code in codes[: function.arity]))


def _source(code: int) -> Source:
    try:
        return Source(code)
    except ValueError:
        raise UsageError(f"{code} is no code of a source") from None


def _reduction(code: int) -> str:
    if code not in REDUCTIONS_BY_CODE:
        raise UsageError(f"{code} is no code of a reduction")
    return REDUCTIONS_BY_CODE[code].name
