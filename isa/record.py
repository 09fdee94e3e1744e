"""Instruction records: one class an instruction, from which everything else about it follows.

A record declares its fields in order (the encoding packs them after the header in that order) and says what
it reads, writes, costs and does. The encoder, assembler, simulator, cost model and manual are views of it.
Fields may hold Python ints (one instruction) or int64 columns (many at once); `reads`, `writes`, `cost` and
`faults` work on both, `execute` on ints.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np

from .blocks import Block
from .columns import Column, both, either
from .engines import Engine
from .errors import UsageError
from .fields import (
    ACC_BIT,
    EXTENT_REGISTERS,
    FORMAT_KIND,
    NO_NAMES,
    AddressNames,
    Choice,
    DramAddress,
    Extent,
    FieldKind,
    Flag,
    OnChip,
    Stride,
    Unsigned,
    Wait,
    choice,
)
from .frozen import frozen
from .kernels import Kernel, nothing

if TYPE_CHECKING:
    from .machine import Machine
    from .state import State

WORD_BYTES = 64
"""Bytes of an instruction word: one DRAM burst."""

WORD_BITS = WORD_BYTES * 8

HEADER_WAITS = 3
"""Waits that every instruction can carry."""

OPCODE_BITS = 8
QUEUE_BITS = 4
HEADER_BITS = OPCODE_BITS + QUEUE_BITS + HEADER_WAITS * Wait().bits
"""Opcode 8, queue 4, three waits of 20: the fields follow."""

Condition = tuple[Column, str]
"""A bool (or bool column) that says where an instruction is wrong, and the reason."""


def rows_overlap(what: str, rows: Column, stride: Column, run: Column) -> Condition:
    """The condition that rows of `run` bytes, `stride` bytes apart, are written over one another."""
    return (both(rows > 1, abs(stride) < run), f"{what} overlap: the distance is less than a row")


@frozen
class Cost:
    """What an instruction costs. Cycles and bytes are numbers or columns.

    busy: cycles that its engine is taken. latency: cycles from the end of `busy` until it retires, during
    which the engine may go on. fill: cycles that a matrix product adds when the array was not just running.
    channel_cycles: cycles of the shared DRAM channel. events: how often each energy action happens.
    """

    busy: Column
    latency: Column = 0
    fill: Column = 0
    dram_read_bytes: Column = 0
    dram_write_bytes: Column = 0
    channel_cycles: Column = 0
    events: Mapping[str, Column] = field(default_factory=dict[str, Column])


@frozen
class Field:
    """A declared field: `offset` is its first bit in the word, bit 0 being the lowest of byte 0.

    `default` is what text may leave out and what a builder fills in; None where it must be given.
    """

    name: str
    kind: FieldKind
    doc: str
    unit: str
    default: int | None
    offset: int


@frozen
class _Declared:
    kind: FieldKind
    doc: str
    unit: str
    default: int | None
    derived: bool = False


def declare(kind: FieldKind, doc: str, unit: str = "", default: int | None = None) -> Column:
    """Declare a field of a record (any kind)."""
    return _Declared(kind, doc, unit, default)


def on_chip_address(doc: str, default: int | None = None) -> Column:
    """Declare a byte address in SRAM or ACC."""
    return _Declared(OnChip(), doc, "byte", default)


def dram_address(doc: str) -> Column:
    """Declare a byte address in DRAM."""
    return _Declared(DramAddress(), doc, "byte", None)


def on_chip_stride(doc: str) -> Column:
    """Declare a signed distance of 24 bits in on-chip memory."""
    return _Declared(Stride(24), doc, "byte", 0)


def dram_stride(doc: str) -> Column:
    """Declare a signed distance of 32 bits in DRAM."""
    return _Declared(Stride(32), doc, "byte", 0)


def extent(doc: str, default: int | None = None, unit: str = "element") -> Column:
    """Declare a count: 16 bits and a selector bit, immediate or extent register."""
    return _Declared(Extent(), doc, unit, default)


def flag(doc: str) -> Column:
    """Declare a bit, clear unless given."""
    return _Declared(Flag(), doc, "", 0)


def named(doc: str, bits: int, names: Mapping[int, str], default: int | None = None) -> Column:
    """Declare a choice of named codes."""
    return _Declared(choice(bits, names), doc, "", default)


def number_format(doc: str, default: int | None = None) -> Column:
    """Declare a number format (4 bits; 15 is absent)."""
    return _Declared(FORMAT_KIND, doc, "", default)


def unsigned(doc: str, bits: int, unit: str = "", default: int | None = None) -> Column:
    """Declare an unsigned number."""
    return _Declared(Unsigned(bits), doc, unit, default)


def wait(doc: str) -> Column:
    """Declare a further wait."""
    return _Declared(Wait(), doc, "", -1)


def derived(doc: str) -> Column:
    """Declare a value that is in no word: the table finds it from earlier instructions, for `cost`."""
    return _Declared(Unsigned(32), doc, "", 0, derived=True)


class Instruction:
    """Base of every record. Make one with its fields by name: numbers, or columns; those left out default.

    `queue` is the queue it stands in (vector programs belong to a queue).
    """

    mnemonic: ClassVar[str] = ""
    opcode: ClassVar[int] = -1
    engine: ClassVar[Engine | None] = None
    version: ClassVar[int] = 1
    structured: ClassVar[bool] = False
    fields: ClassVar[tuple[Field, ...]] = ()
    derived_fields: ClassVar[tuple[Field, ...]] = ()
    extents: ClassVar[tuple[str, ...]] = ()
    field_names: ClassVar[tuple[str, ...]] = ()
    queue: int = 0

    def __init__(self, **columns: Column) -> None:
        names = self.field_names
        for name in columns:
            if name not in names and name != "queue":
                raise UsageError(f"{self.mnemonic} has no field {name!r}", "it has " + ", ".join(names))
        for item in (*self.fields, *self.derived_fields):
            self.__dict__[item.name] = columns.get(item.name, item.default or 0)
        if "queue" in columns:
            self.queue = columns["queue"]

    def bind(self, values: Mapping[str, int]) -> None:
        """Move this instance to another row: `values` has every field (as columns hold it) and the queue."""
        self.__dict__ = dict(values)

    @property
    def empty(self) -> Column:
        """Whether an extent is zero, so that the instruction does nothing but retire."""
        result: Column = False
        for name in self.extents:
            result = either(result, self.__dict__[name] == 0)
        return result

    def perform(self, state: State) -> None:
        """Do to `state` what the instruction says: extents in registers resolved, nothing when one is zero.

        Raises Fault without a place; the caller knows the row. Floating-point errors give what IEEE says, silently.
        """
        resolved = self.resolved(state)
        kernel = resolved.kernel(state)
        values: dict[str, int] = resolved.__dict__
        arrays = [state.view(operand, values[operand.field]) for operand in kernel.operands]
        arrays.extend(state.numbers(number)[values["slot"]] for number in kernel.numbers)
        with np.errstate(all="ignore"):
            kernel.function(*arrays)

    def kernel(self, state: State) -> Kernel:
        """What instructions (of numbers, no extent in a register) do that differ from this one in addresses only; for
        a vector pass, in slots too, with lane programs of the structure that its own slot holds now. All reads of a
        kernel precede all writes. Raises Fault, as the kernel does."""
        return Kernel(nothing) if self.empty else self.execute(state)

    @classmethod
    def of(cls, values: Mapping[str, int]) -> Self:
        """The instruction with these fields (every one, as columns hold it) and queue."""
        instruction = cls.__new__(cls)
        instruction.bind(values)
        return instruction

    def resolved(self, state: State) -> Self:
        """This instruction with what registers hold in place of extents that name them."""
        values = self.__dict__
        named = [name for name in self.extents if values[name] < 0]
        if not named:
            return self
        held: dict[str, int] = {name: state.extent_registers[-1 - values[name]] for name in named}
        return self.of({**values, **held})

    def reads(self) -> tuple[Block, ...]:
        """The blocks of memory that it reads."""
        raise NotImplementedError

    def writes(self) -> tuple[Block, ...]:
        """The blocks of memory that it writes."""
        raise NotImplementedError

    def cost(self, machine: Machine) -> Cost:
        """Cycles, bytes and energy events on `machine`; nothing of timing depends on values."""
        raise NotImplementedError

    def execute(self, state: State) -> Kernel:
        """The values: the kernel of an instruction whose extents are numbers and none zero."""
        raise NotImplementedError

    def faults(self, machine: Machine) -> tuple[Condition, ...]:
        """What is wrong with the fields on `machine`, beyond memory ranges (those are checked for all)."""
        del machine
        return ()

    @classmethod
    def structure_fault(cls, values: Mapping[str, int]) -> str | None:
        """Why legal field values still are no instruction, or None; asked of `structured` records only."""
        del values

    @classmethod
    def operands(cls, values: Mapping[str, int], names: AddressNames = NO_NAMES) -> list[str]:
        """The operands of one instruction as text, defaults left out."""
        words: list[str] = []
        for item in cls.fields:
            value = values[item.name]
            if value == item.default or isinstance(item.kind, Wait):
                continue
            if isinstance(item.kind, Flag):
                words.append(item.name)
            else:
                words.append(f"{item.name}={item.kind.format(value, names)}")
        return words

    @classmethod
    def parse_operands(cls, words: Mapping[str, str | None], names: AddressNames = NO_NAMES) -> dict[str, int]:
        """Field values of operands by name (None for a name alone); UsageError for what is wrong."""
        values: dict[str, int] = {}
        for item in cls.fields:
            if item.name not in words:
                if item.default is None:
                    raise UsageError(f"{cls.mnemonic} needs {item.name}")
                values[item.name] = item.default
            elif isinstance(item.kind, Flag):
                if words[item.name] is not None:
                    raise UsageError(f"{item.name} is a flag and takes no value")
                values[item.name] = 1
            else:
                text = words[item.name]
                if text is None:
                    raise UsageError(f"{item.name} needs a value")
                values[item.name] = item.kind.parse(text, names)
        for name in words:
            if name not in values:
                raise UsageError(f"{cls.mnemonic} has no operand {name!r}")
        return values

    def text(self, names: AddressNames = NO_NAMES) -> str:
        """This instruction (of numbers) as assembly text, without queue and waits."""
        values = {item.name: int(self.__dict__[item.name]) for item in self.fields}
        return " ".join([self.mnemonic, ", ".join(self.operands(values, names))]).rstrip()


Record = TypeVar("Record", bound=type[Instruction])

_REQUIRED = ("reads", "writes", "cost", "execute")


def instruction(mnemonic: str, *, engine: Engine | None, opcode: int, version: int = 1) -> Callable[[Record], Record]:
    """Make a class an instruction record; TypeError when it is incomplete or does not fit the word.

    engine: whose queues may hold it, None for any. version: of the semantics, part of the ISA hash.
    """

    def register(record: Record) -> Record:
        declared: dict[str, _Declared] = {}
        for base in reversed(record.__mro__):
            declared.update({n: v for n, v in vars(base).items() if isinstance(v, _Declared)})
        offset = HEADER_BITS
        fields: list[Field] = []
        extra: list[Field] = []
        for name, item in declared.items():
            if item.derived:
                extra.append(Field(name, item.kind, item.doc, item.unit, item.default, -1))
                continue
            fields.append(Field(name, item.kind, item.doc, item.unit, item.default, offset))
            offset += item.kind.bits
        if offset > WORD_BITS:
            raise TypeError(f"{mnemonic}: fields need {offset} bits, a word has {WORD_BITS}")
        for name in _REQUIRED:
            if getattr(record, name) is getattr(Instruction, name):
                raise TypeError(f"{mnemonic}: {name} is missing")
        if not record.__doc__ or any(not item.doc for item in declared.values()):
            raise TypeError(f"{mnemonic}: a docstring or a field's meaning is missing")
        for item in extra:
            # A row of a table has no derived values; the table's analysis gives them.
            setattr(record, item.name, item.default)
        record.mnemonic = mnemonic
        record.opcode = opcode
        record.engine = engine
        record.version = version
        record.fields = tuple(fields)
        record.derived_fields = tuple(extra)
        record.extents = tuple(item.name for item in fields if isinstance(item.kind, Extent))
        record.field_names = tuple(item.name for item in (*fields, *extra))
        return record

    return register


def collect(records: tuple[type[Instruction], ...]) -> Mapping[str, type[Instruction]]:
    """Records by mnemonic; TypeError where two share a mnemonic or an opcode."""
    by_mnemonic: dict[str, type[Instruction]] = {}
    by_opcode: dict[int, str] = {}
    for record in records:
        if not 0 < record.opcode < (1 << OPCODE_BITS):
            raise TypeError(f"{record.mnemonic}: opcode {record.opcode} is outside 1..{(1 << OPCODE_BITS) - 1}")
        if record.opcode in by_opcode:
            raise TypeError(f"{record.mnemonic} and {by_opcode[record.opcode]} share opcode {record.opcode:#x}")
        if record.mnemonic in by_mnemonic:
            raise TypeError(f"{record.mnemonic} is declared twice")
        by_opcode[record.opcode] = record.mnemonic
        by_mnemonic[record.mnemonic] = record
    return by_mnemonic


def describe_encoding(records: Mapping[str, type[Instruction]], functions: Mapping[str, int]) -> str:
    """The ISA hash (hex): encodings and semantics versions of `records` and codes of the lane functions."""
    content: dict[str, Any] = {
        "word_bits": WORD_BITS,
        "header_waits": HEADER_WAITS,
        "registers": EXTENT_REGISTERS,
        "acc_bit": ACC_BIT,
        "functions": dict(functions),
        "records": [
            [
                record.mnemonic,
                record.opcode,
                str(record.engine),
                record.version,
                [
                    [
                        item.name,
                        type(item.kind).__name__,
                        item.offset,
                        item.kind.bits,
                        list(item.kind.names) if isinstance(item.kind, Choice) else [],
                    ]
                    for item in record.fields
                ],
            ]
            for record in sorted(records.values(), key=lambda record: record.opcode)
        ],
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()
