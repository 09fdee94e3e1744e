"""The `isa` dialect: instruction templates in loops, one operation class made from each instruction record.

A template stands for one instruction per iteration of the `tile.for` operations around it. Its fields are
integers or affine in the loop indices; an address is a buffer and an affine offset in bytes, since buffers
get their addresses only when the program is emitted. A vector pass carries its lane program; slots are
assigned on emission too.

`isa.mx.product mode i8, acc %c<0>, a %a<8192 * d0>, b %b<0>, m 64, n 32, k 128, acc_stride 128, a_stride 128`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, TypeAlias

import numpy as np
from xdsl.dialects.builtin import StringAttr
from xdsl.ir import Attribute, Data, Dialect, Operation, SSAValue
from xdsl.irdl import (
    irdl_attr_definition,
    irdl_op_definition,
    opt_prop_def,
    prop_def,
    var_operand_def,
)
from xdsl.parser import AttrParser, Parser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException

from ..isa.fields import Choice, DramAddress, FieldKind, Flag, OnChip
from ..isa.instructions import RECORDS
from ..isa.lanes import LaneProgram
from ..isa.record import Field, Instruction
from .affine_form import AffineForm, Minimum
from .tile import BufferType, ForOp, TileOperation, buffer_type, parse_buffer

FieldValue: TypeAlias = int | Minimum
"""A field: a number as columns hold it, or affine in the loop indices and then never below zero."""

FieldValues: TypeAlias = tuple[tuple[str, FieldValue], ...]
Addresses: TypeAlias = tuple[tuple[str, AffineForm], ...]

EMITTED = frozenset({"vx.program", "sync"})
"""Records whose instructions only emission writes: they have no operation."""

SLOT = "slot"
"""The field of a vector pass that emission fills in from the operation's lane program."""


@irdl_attr_definition
class FieldsAttr(Data[FieldValues]):
    """The fields of a template that are no addresses, by name: `#isa.fields<m = 64, k = min(64, 100 + -64 *
    d0)>`."""

    name = "isa.fields"

    @classmethod
    def parse_parameter(cls, parser: AttrParser) -> FieldValues:
        """Parse `<name = value, ...>`."""

        def field() -> tuple[str, FieldValue]:
            name = parser.parse_identifier(" (a field)")
            parser.parse_punctuation("=")
            return name, _parse_value(parser)

        return tuple(parser.parse_comma_separated_list(parser.Delimiter.ANGLE, field))

    def print_parameter(self, printer: Printer) -> None:
        """Print what `parse_parameter` reads."""
        with printer.in_angle_brackets():
            printer.print_string(", ".join(f"{name} = {value}" for name, value in self.data))


@irdl_attr_definition
class AddressesAttr(Data[Addresses]):
    """The address fields of a template in operand order, with byte offsets: `#isa.addresses<a = 64 * d0, acc
    = 0>`."""

    name = "isa.addresses"

    @classmethod
    def parse_parameter(cls, parser: AttrParser) -> Addresses:
        """Parse `<name = offset, ...>`."""

        def address() -> tuple[str, AffineForm]:
            name = parser.parse_identifier(" (an address field)")
            parser.parse_punctuation("=")
            return name, AffineForm.parse(parser)

        return tuple(parser.parse_comma_separated_list(parser.Delimiter.ANGLE, address))

    def print_parameter(self, printer: Printer) -> None:
        """Print what `parse_parameter` reads."""
        with printer.in_angle_brackets():
            printer.print_string(", ".join(f"{name} = {form}" for name, form in self.data))


def is_address(item: Field) -> bool:
    """Whether a record's field holds a memory address."""
    return isinstance(item.kind, OnChip | DramAddress)


class InstructionOperation(TileOperation):
    """Base of the operations made from records. Fields left out have the record's default."""

    RECORD: ClassVar[type[Instruction]]

    buffers = var_operand_def(BufferType)
    addresses = prop_def(AddressesAttr)
    values = prop_def(FieldsAttr)
    program = opt_prop_def(StringAttr)
    queue = opt_prop_def(StringAttr)

    def __init__(
        self,
        addresses: Sequence[tuple[str, SSAValue, AffineForm]] = (),
        values: Mapping[str, FieldValue] | None = None,
        program: str | None = None,
        queue: str | None = None,
    ) -> None:
        kept = ((name, _simplest(value)) for name, value in (values or {}).items())
        properties: dict[str, Attribute | None] = {
            "addresses": AddressesAttr(tuple((name, form) for name, _, form in addresses)),
            "values": FieldsAttr(tuple(kept)),
            "program": None if program is None else StringAttr(program),
            "queue": None if queue is None else StringAttr(queue),
        }
        super().__init__([buffer for _, buffer, _ in addresses], properties)

    @property
    def places(self) -> tuple[tuple[SSAValue, Any], ...]:
        """None: raises TypeError."""
        raise TypeError("an instruction template has byte addresses, not accesses")

    @property
    def named_addresses(self) -> tuple[tuple[str, SSAValue, AffineForm], ...]:
        """(field, buffer, byte offset) of every address."""
        pairs = zip(self.addresses.data, self.buffers, strict=True)
        return tuple((name, buffer, form) for (name, form), buffer in pairs)

    @property
    def lane_program(self) -> LaneProgram | None:
        """The lane program of a vector pass, parsed. Raises UsageError where the text is wrong."""
        return None if self.program is None else LaneProgram.parse(self.program.data)

    def verify_(self) -> None:
        """Check fields against the record, and values and addresses over all iterations."""
        counts = _trip_counts(self)
        if len(self.addresses.data) != len(self.buffers):
            raise VerifyException(f"{len(self.addresses.data)} addresses name {len(self.buffers)} buffers")
        given = [name for name, _ in (*self.addresses.data, *self.values.data)]
        by_name = {item.name: item for item in self.RECORD.fields}
        for name in given:
            if name not in by_name or name == SLOT:
                raise VerifyException(f"{self.RECORD.mnemonic} has no field {name}")
        if len(set(given)) != len(given):
            raise VerifyException(f"a field is given twice in {', '.join(given)}")
        for item in self.RECORD.fields:
            if item.default is None and item.name not in given and item.name != SLOT:
                raise VerifyException(f"{self.RECORD.mnemonic} needs {item.name}")
        if (SLOT in by_name) != (self.program is not None):
            raise VerifyException(f"{self.RECORD.mnemonic} has {'no' if self.program is None else 'a'} lane program")
        for name, value in self.values.data:
            if is_address(by_name[name]):
                raise VerifyException(f"{name} is an address: it needs a buffer")
            _verify_value(name, value, by_name[name].kind, counts)
        # Where a size may be cut to nothing, addresses may run out of their buffers: emission looks at what
        # is left.
        exact = all(isinstance(value, int) for _, value in self.values.data)
        for name, buffer, form in self.named_addresses:
            _verify_address(name, buffer, form, by_name[name], counts, exact)

    @classmethod
    def parse(cls, parser: Parser) -> InstructionOperation:
        """Parse `program "..." queue "..." name value, ...`."""
        program = parser.parse_str_literal() if parser.parse_optional_keyword("program") else None
        queue = parser.parse_str_literal() if parser.parse_optional_keyword("queue") else None
        by_name = {item.name: item for item in cls.RECORD.fields}
        addresses: list[tuple[str, SSAValue, AffineForm]] = []
        values: dict[str, FieldValue] = {}

        def field() -> None:
            name = parser.parse_identifier(" (a field)")
            item = by_name.get(name)
            if item is None:
                parser.raise_error(f"{cls.RECORD.mnemonic} has no field {name}")
            if is_address(item):
                buffer = parse_buffer(parser)
                with parser.in_angle_brackets():
                    addresses.append((name, buffer, AffineForm.parse(parser)))
            elif isinstance(item.kind, Choice):
                # Some choices are named by a number: the width of an element.
                number = parser.parse_optional_integer(allow_boolean=False)
                word = parser.parse_identifier(f" (one of {item.kind.describe()})") if number is None else str(number)
                values[name] = item.kind.parse(word)
            else:
                values[name] = _parse_value(parser)

        parser.parse_comma_separated_list(parser.Delimiter.NONE, field)
        op = cls(addresses, values, program, queue)
        op.attributes |= parser.parse_optional_attr_dict()
        return op

    def print(self, printer: Printer) -> None:
        """Print what `parse` reads, fields in the record's order."""
        if self.program is not None:
            printer.print_string(" program ")
            printer.print_string_literal(self.program.data)
        if self.queue is not None:
            printer.print_string(" queue ")
            printer.print_string_literal(self.queue.data)
        addresses = {name: (buffer, form) for name, buffer, form in self.named_addresses}
        values = dict(self.values.data)
        separator = " "
        for item in self.RECORD.fields:
            if item.name in addresses:
                buffer, form = addresses[item.name]
                printer.print_string(f"{separator}{item.name} ")
                printer.print_ssa_value(buffer)
                printer.print_string(f"<{form}>")
            elif item.name in values:
                printer.print_string(f"{separator}{item.name} {_value_text(values[item.name], item.kind)}")
            else:
                continue
            separator = ", "
        printer.print_op_attributes(self.attributes)


@cache
def operation_class(mnemonic: str) -> type[InstructionOperation]:
    """The operation class of an instruction. Raises KeyError for a mnemonic that no record has."""
    record = RECORDS[mnemonic]
    name = "".join(part.capitalize() for part in mnemonic.split("."))
    fields: dict[str, Any] = {
        "name": f"isa.{mnemonic}",
        "RECORD": record,
        "__doc__": record.__doc__,
        "__module__": __name__,
        "__annotations__": {"RECORD": ClassVar[type[Instruction]]},
    }
    return irdl_op_definition(type(f"{name}Op", (InstructionOperation,), fields))


def load_isa() -> Dialect:
    """The dialect, with a class for every record that a program can ask for."""
    operations: list[type[Operation]] = [operation_class(name) for name in RECORDS if name not in EMITTED]
    return Dialect("isa", operations, [FieldsAttr, AddressesAttr])


def _simplest(value: FieldValue) -> FieldValue:
    constant = value.constant if isinstance(value, Minimum) else value
    return value if constant is None else constant


def _parse_value(parser: AttrParser) -> FieldValue:
    # A number alone may be negative (a stride, a register); a form never is.
    value = Minimum.parse(parser)
    form = value.forms[0]
    return form.constant if len(value.forms) == 1 and form.is_constant else value


def _value_text(value: FieldValue, kind: FieldKind) -> str:
    return kind.format(value) if isinstance(kind, Choice) and isinstance(value, int) else str(value)


def _trip_counts(op: Operation) -> list[int]:
    """Iterations of the enclosing loops, outermost first."""
    counts: list[int] = []
    parent = op.parent_op()
    while parent is not None:
        if isinstance(parent, ForOp):
            counts.append(parent.trips)
        parent = parent.parent_op()
    return counts[::-1]


def _bounds(form: AffineForm, counts: Sequence[int]) -> tuple[int, int]:
    """The least and the greatest value of a form over all iterations."""
    reach = [factor * (count - 1) for factor, count in zip(form.coefficients, counts, strict=False)]
    return form.constant + sum(min(r, 0) for r in reach), form.constant + sum(max(r, 0) for r in reach)


def _verify_value(name: str, value: FieldValue, kind: FieldKind, counts: Sequence[int]) -> None:
    if isinstance(value, int):
        if not bool(kind.legal(np.array([value], dtype=np.int64))[0]):
            raise VerifyException(f"{name} = {value} is not legal: {kind.describe()}")
        return
    if value.depth > len(counts):
        raise VerifyException(f"{name} = {value} needs {value.depth} loops, {len(counts)} enclose it")
    if isinstance(kind, Choice):
        raise VerifyException(f"{name} is one of a few names and cannot depend on loop indices")
    if isinstance(kind, Flag):
        return
    highest = max(0, min(_bounds(form, counts)[1] for form in value.forms))
    if highest > kind.high:
        raise VerifyException(f"{name} = {value} reaches {highest}, above {kind.high}")


def _verify_address(
    name: str, buffer: SSAValue, form: AffineForm, item: Field, counts: Sequence[int], exact: bool
) -> None:
    if not is_address(item):
        raise VerifyException(f"{name} is no address")
    kind = buffer_type(buffer)
    if (kind.space.data == "dram") != isinstance(item.kind, DramAddress):
        raise VerifyException(f"{name} cannot lie in {kind.space.data}")
    if form.depth > len(counts):
        raise VerifyException(f"address {name} <{form}> needs {form.depth} loops, {len(counts)} enclose it")
    low, high = _bounds(form, counts)
    if exact and kind.bytes and (low < 0 or high >= kind.bytes):
        raise VerifyException(f"address {name} reaches bytes {low}..{high} of a buffer of {kind.bytes}")
