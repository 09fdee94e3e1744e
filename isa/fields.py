"""Kinds of instruction fields: their bits, legal values, encoding and text, one class a kind.

A field's value in a column table is an int64. Kinds map it to the unsigned bits of the word and to text, and
back; `legal` says which values may occur.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from .blocks import Space
from .columns import Column, Int64Array
from .errors import UsageError
from .formats import FORMATS_BY_CODE, NO_FORMAT
from .frozen import frozen

ACC_BIT = 1 << 31
"""The bit of an on-chip address that selects ACC (set) or SRAM (clear)."""

EXTENT_REGISTERS = 32
"""How many extent registers a machine has."""

ABSENT = -1
"""The column value of a wait that is not there."""

WAIT_QUEUES = 8
"""Waits name a queue in 3 bits."""

WAIT_WINDOW = 1 << 16
"""Waits hold a retire count modulo this."""


class AddressNames(Protocol):
    """Names for places in memory, for text."""

    def name_of(self, space: Space, address: int) -> str | None:
        """Text such as `<scores>+64` for the address, or None if no name covers it."""
        ...

    def address_of(self, name: str) -> tuple[Space, int]:
        """The place called `name`; UsageError if there is none."""
        ...


class NoNames:
    """No place has a name."""

    def name_of(self, space: Space, address: int) -> str | None:
        """Always None."""
        del space, address

    def address_of(self, name: str) -> tuple[Space, int]:
        """Always a UsageError."""
        raise UsageError(f"no buffer or weight is called {name!r}")


NO_NAMES = NoNames()


def on_chip_space(address: Column) -> Column:
    """SRAM or ACC for an on-chip address of 32 bits (int, or column of ints)."""
    return Space.SRAM + ((address >> 31) & 1)


def on_chip_offset(address: Column) -> Column:
    """Byte offset within its memory for an on-chip address."""
    return address & (ACC_BIT - 1)


def on_chip(space: Space, offset: Column) -> Column:
    """The on-chip address of byte `offset` of SRAM or ACC."""
    return offset | ACC_BIT if space == Space.ACC else offset


def parse_integer(text: str) -> int:
    """A decimal or 0x number with optional sign; UsageError otherwise."""
    try:
        return int(text, 0)
    except ValueError:
        raise UsageError(f"{text!r} is not a whole number") from None


@frozen
class FieldKind:
    """Base: an unsigned number of `bits` bits."""

    bits: int

    @property
    def label(self) -> str:
        """What the manual calls it."""
        return f"unsigned {self.bits}"

    @property
    def low(self) -> int:
        """Least legal value."""
        return 0

    @property
    def high(self) -> int:
        """Greatest legal value."""
        return (1 << self.bits) - 1

    def legal(self, values: Int64Array) -> Any:
        """Bool array: which values may stand in the field."""
        return (values >= self.low) & (values <= self.high)

    def encode(self, values: Int64Array) -> Any:
        """Values as unsigned bits (uint64 array); the values are legal."""
        return values.astype(np.uint64)

    def decode(self, raw: Any) -> Int64Array:
        """Values of unsigned bits (uint64 array)."""
        return raw.astype(np.int64)

    def format(self, value: int, names: AddressNames = NO_NAMES) -> str:
        """The text of a value."""
        del names
        return str(value)

    def parse(self, text: str, names: AddressNames = NO_NAMES) -> int:
        """The value of a text; UsageError if it is none or out of range."""
        del names
        return self._in_range(parse_integer(text), text)

    def _in_range(self, value: int, text: str) -> int:
        if not self.low <= value <= self.high:
            raise UsageError(f"{text} is outside {self.low}..{self.high}")
        return value

    def describe(self) -> str:
        """Its legal values in words, for the manual."""
        return f"{self.low}..{self.high}"


@frozen
class Unsigned(FieldKind):
    """A count or a size."""


@frozen
class Signed(FieldKind):
    """A number in two's complement."""

    @property
    def label(self) -> str:
        """What the manual calls it."""
        return f"signed {self.bits}"

    @property
    def low(self) -> int:
        """Least legal value."""
        return -(1 << (self.bits - 1))

    @property
    def high(self) -> int:
        """Greatest legal value."""
        return (1 << (self.bits - 1)) - 1

    def encode(self, values: Int64Array) -> Any:
        """Two's complement bits."""
        return (values & ((1 << self.bits) - 1)).astype(np.uint64)

    def decode(self, raw: Any) -> Int64Array:
        """Sign-extended values."""
        values = raw.astype(np.int64)
        return values - ((values >> (self.bits - 1)) << self.bits)


@frozen
class Stride(Signed):
    """A distance in bytes."""

    @property
    def label(self) -> str:
        """What the manual calls it."""
        return f"stride {self.bits}"


@frozen
class Flag(FieldKind):
    """One bit; in text its name alone when set."""

    bits: int = 1

    @property
    def label(self) -> str:
        """What the manual calls it."""
        return "flag"


@frozen
class Choice(FieldKind):
    """One of a few named codes."""

    names: tuple[tuple[int, str], ...] = ()

    @property
    def label(self) -> str:
        """What the manual calls it."""
        return f"choice {self.bits}"

    def legal(self, values: Int64Array) -> Any:
        """Only codes that have a name."""
        return np.isin(values, [code for code, _ in self.names])

    def format(self, value: int, names: AddressNames = NO_NAMES) -> str:
        """The name of a code."""
        del names
        return dict(self.names)[value]

    def parse(self, text: str, names: AddressNames = NO_NAMES) -> int:
        """The code of a name."""
        del names
        for code, name in self.names:
            if name == text:
                return code
        raise UsageError(f"{text!r} is none of {', '.join(name for _, name in self.names)}")

    def describe(self) -> str:
        """Names and codes."""
        return ", ".join(f"{name} = {code}" for code, name in self.names)


def choice(bits: int, names: Mapping[int, str]) -> Choice:
    """A Choice from a mapping code -> name."""
    return Choice(bits, tuple(names.items()))


FORMAT_KIND = Choice(4, (*((c, f.label) for c, f in FORMATS_BY_CODE.items()), (NO_FORMAT, "none")))
"""A number format, or none."""


@frozen
class DramAddress(FieldKind):
    """A byte address in DRAM."""

    bits: int = 32

    @property
    def label(self) -> str:
        """What the manual calls it."""
        return "DRAM address"

    def format(self, value: int, names: AddressNames = NO_NAMES) -> str:
        """A name with an offset, or `dram+0x40`."""
        return names.name_of(Space.DRAM, value) or f"dram+{value:#x}"

    def parse(self, text: str, names: AddressNames = NO_NAMES) -> int:
        """The address of `name+offset`."""
        space, address = _parse_place(text, names)
        if space != Space.DRAM:
            raise UsageError(f"{text} lies in {space.text}, a DRAM address is needed")
        return self._in_range(address, text)


@frozen
class OnChip(FieldKind):
    """A byte address in SRAM or ACC; the top bit selects ACC."""

    bits: int = 32

    @property
    def label(self) -> str:
        """What the manual calls it."""
        return "on-chip address"

    def format(self, value: int, names: AddressNames = NO_NAMES) -> str:
        """A name with an offset, or `sram+0x40`, `acc+0x40`."""
        space, offset = Space(on_chip_space(value)), on_chip_offset(value)
        return names.name_of(space, offset) or f"{space.text}+{offset:#x}"

    def parse(self, text: str, names: AddressNames = NO_NAMES) -> int:
        """The address of `name+offset`."""
        space, address = _parse_place(text, names)
        if space not in (Space.SRAM, Space.ACC):
            raise UsageError(f"{text} lies in {space.text}, an on-chip address is needed")
        if not 0 <= address < ACC_BIT:
            raise UsageError(f"{text} is outside 0..{ACC_BIT - 1:#x}")
        return int(on_chip(space, address))

    def describe(self) -> str:
        """Both memories."""
        return "bit 31 selects ACC (1) or SRAM (0); bits 0..30 are the byte offset"


_SPACES = {"dram": Space.DRAM, "sram": Space.SRAM, "acc": Space.ACC}


def _parse_place(text: str, names: AddressNames) -> tuple[Space, int]:
    # A name in angle brackets may hold any character, so the offset follows the last bracket.
    if text.startswith("<"):
        name, bracket, rest = text[1:].rpartition(">")
        if not bracket:
            raise UsageError(f"{text!r} has no closing >")
        space, base = names.address_of(name)
    else:
        word, plus, offset = text.partition("+")
        rest = plus + offset
        if word not in _SPACES:
            raise UsageError(f"{text!r} is no address: sram+0x40, acc+0, dram+0x100 or <name>+8")
        space, base = _SPACES[word], 0
    if not rest:
        return space, base
    if not rest.startswith("+"):
        raise UsageError(f"{text!r} has {rest!r} where +offset should stand")
    return space, base + parse_integer(rest[1:])


@frozen
class Extent(FieldKind):
    """How many: an immediate of 16 bits, or an extent register (selector bit set).

    In columns an immediate is itself and register r is -1 - r.
    """

    bits: int = 17

    @property
    def label(self) -> str:
        """What the manual calls it."""
        return "extent"

    @property
    def low(self) -> int:
        """Register 31."""
        return -EXTENT_REGISTERS

    @property
    def high(self) -> int:
        """Greatest immediate."""
        return (1 << 16) - 1

    def encode(self, values: Int64Array) -> Any:
        """Bit 16 selects a register, whose number stands in the low bits."""
        return np.where(values >= 0, values, (1 << 16) | (-1 - values)).astype(np.uint64)

    def decode(self, raw: Any) -> Int64Array:
        """As columns hold it; a register number past 31 gives a value that is not legal."""
        values: Int64Array = raw.astype(np.int64)
        return np.where(values >> 16, -1 - (values & 0xFFFF), values)

    def format(self, value: int, names: AddressNames = NO_NAMES) -> str:
        """The number, or `e5` for register 5."""
        del names
        return str(value) if value >= 0 else f"e{-1 - value}"

    def parse(self, text: str, names: AddressNames = NO_NAMES) -> int:
        """A number, or `e5`."""
        del names
        if text.startswith("e"):
            return self._in_range(-1 - parse_integer(text[1:]), text)
        value = parse_integer(text)
        if value < 0:
            raise UsageError(f"{text} is negative")
        return self._in_range(value, text)

    def describe(self) -> str:
        """Both forms."""
        return "bit 16 clear: 0..65535; set: extent register e0..e31"


def extent_register(number: int) -> int:
    """The column value of an extent field that names register `number`."""
    return -1 - number


@frozen
class Bits(FieldKind):
    """Raw bits that the instruction's own syntax writes."""

    @property
    def label(self) -> str:
        """What the manual calls it."""
        return f"bits {self.bits}"


@frozen
class Wait(FieldKind):
    """A wait: valid 1, queue 3, count 16. Columns hold count * 8 + queue with the whole count, or -1.

    The count is absolute; the word keeps it modulo 2^16 and the table restores it from the file order.
    """

    bits: int = 20

    @property
    def label(self) -> str:
        """What the manual calls it."""
        return "wait"

    @property
    def low(self) -> int:
        """Absent."""
        return ABSENT

    @property
    def high(self) -> int:
        """As many as an int64 holds."""
        return (1 << 62) - 1

    def encode(self, values: Int64Array) -> Any:
        """Count in the low 16 bits, then queue, then valid."""
        count, queue = (values >> 3) % WAIT_WINDOW, values & 7
        return np.where(values < 0, 0, (1 << 19) | (queue << 16) | count).astype(np.uint64)

    def decode(self, raw: Any) -> Int64Array:
        """With the count modulo 2^16; -1 where absent, -2 (not legal) for bits under a clear valid bit."""
        values = raw.astype(np.int64)
        present = ((values & 0xFFFF) << 3) | ((values >> 16) & 7)
        return np.where(values >> 19, present, np.where(values == 0, ABSENT, ABSENT - 1))

    def describe(self) -> str:
        """Layout."""
        return "bits 0..15 retire count modulo 65536, bits 16..18 queue, bit 19 valid"


def float_bits(value: float) -> int:
    """The 32 bits of a float32."""
    return int(struct.unpack("<I", struct.pack("<f", value))[0])


def bits_float(bits: int) -> float:
    """The float32 of 32 bits, as Python float."""
    return float(struct.unpack("<f", struct.pack("<I", bits))[0])
