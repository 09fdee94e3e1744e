"""The `tile` dialect: loop nests over on-chip tiles, with explicit buffers and transfers.

A program is one `func.func @main` that holds `tile.tensor` and `tile.alloc` operations and `tile.kernel` regions.
Operations act on buffers by side effect, in order; time is not said here, only what depends on what. Operands are
strided accesses (`dialects/affine_form.py`) whose offsets and sizes are affine in the indices of the enclosing
`tile.for` operations: d0 is the outermost one. Sizes may be cut to what a count of the run leaves, n0 say, which a
`tile.compact` before them finds.

The order of execution is the lexicographic order of (loop slot, position in the block) at each level, where the loop
slot of an operation is the iteration plus its optional `stage` (software pipelining, see `tile.for`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from math import prod
from typing import ClassVar, cast

from xdsl.dialects.builtin import (
    ArrayAttr,
    DenseArrayBase,
    DictionaryAttr,
    IntAttr,
    IntegerAttr,
    IntegerType,
    StringAttr,
    UnitAttr,
    i64,
)
from xdsl.ir import (
    Attribute,
    Block,
    Data,
    Dialect,
    Operation,
    ParametrizedAttribute,
    Region,
    SSAValue,
    TypeAttribute,
)
from xdsl.irdl import (
    AttrSizedOperandSegments,
    irdl_attr_definition,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    opt_prop_def,
    prop_def,
    region_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.parser import AttrParser, Parser
from xdsl.printer import Printer
from xdsl.traits import NoTerminator
from xdsl.utils.exceptions import VerifyException

from ..isa.errors import UsageError
from ..isa.formats import Format
from ..isa.frozen import frozen
from ..isa.lanes import LaneProgram
from ..isa.matrix import RIGHT_VALUES, MatrixMode, Values
from ..isa.row_packing import RowPacking
from ..isa.structures import Structure
from .affine_form import Access, Minimum
from .direct_operation import SEGMENTS, DirectOperation, segments
from .elements import element_of, format_of

SPACES = ("dram", "sram", "acc")
ROLES = ("input", "output", "weight", "temporary")
BROADCAST_KINDS = ("scalar", "row", "column")
DIRECTIONS = ("columns", "rows")


@irdl_attr_definition
class BufferType(ParametrizedAttribute, TypeAttribute):
    """A dense row-major block of `shape` elements in DRAM, SRAM or ACC: `!tile.buffer<sram, 64x128xf32>`.

    The shape only sizes the buffer (and says what a tensor looks like); accesses address its elements linearly. Rows
    of a packed type start at a byte: the elements that this leaves between them are addressed as others are, and never
    read as values.
    """

    name = "tile.buffer"
    space: StringAttr
    shape: ArrayAttr[IntAttr]
    element: Attribute

    def __init__(self, space: str, shape: Sequence[int], element: Attribute | Format) -> None:
        if isinstance(element, Format):
            element = element_of(element)
        super().__init__(StringAttr(space), ArrayAttr([IntAttr(extent) for extent in shape]), element)

    @property
    def extents(self) -> tuple[int, ...]:
        """The shape as integers."""
        return tuple(extent.data for extent in self.shape)

    @property
    def format(self) -> Format:
        """The stored format of an element."""
        return format_of(self.element)

    @property
    def elements(self) -> int:
        """Number of elements, with those that fill rows of a packed type up to whole bytes."""
        return prod(self.format.padded(self.extents))

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return self.format.size(self.extents)

    def verify(self) -> None:
        if self.space.data not in SPACES:
            raise VerifyException(f"a buffer lies in one of {', '.join(SPACES)}, not {self.space.data}")
        if any(extent < 0 for extent in self.extents):
            raise VerifyException(f"a buffer cannot have a negative extent: {self.extents}")
        try:
            format_of(self.element)
        except KeyError:
            raise VerifyException(f"no stored format for elements of type {self.element}") from None

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        with parser.in_angle_brackets():
            space = parser.parse_identifier(" (dram, sram or acc)")
            parser.parse_punctuation(",")
            shape, element = parser.parse_ranked_shape()
        return (StringAttr(space), ArrayAttr([IntAttr(extent) for extent in shape]), element)

    def print_parameters(self, printer: Printer) -> None:
        with printer.in_angle_brackets():
            printer.print_string(f"{self.space.data}, {''.join(f'{extent}x' for extent in self.extents)}")
            printer.print_attribute(self.element)


@irdl_attr_definition
class AccessAttr(Data[Access]):
    """Where an operand lies in its buffer: `#tile.access<64 * d0 [min(64, -64 * d0 + 100), 32] [128, 1]>`."""

    name = "tile.access"

    @classmethod
    def parse_parameter(cls, parser: AttrParser) -> Access:
        with parser.in_angle_brackets():
            return Access.parse(parser)

    def print_parameter(self, printer: Printer) -> None:
        printer.print_string(f"<{self.data}>")


@irdl_attr_definition
class ExtentAttr(Data[Minimum]):
    """A size or a switch, affine in the loop indices: `#tile.extent<min(64, -64 * d0 + 100)>`."""

    name = "tile.extent"

    @classmethod
    def parse_parameter(cls, parser: AttrParser) -> Minimum:
        with parser.in_angle_brackets():
            return Minimum.parse(parser)

    def print_parameter(self, printer: Printer) -> None:
        printer.print_string(f"<{self.data}>")


@frozen
class StoredValue:
    """An ONNX value that operand `operand` of a kernel holds once the kernel is done.

    `access` has constant offset and sizes: the value's shape, and the strides of its view of the buffer.
    """

    name: str
    operand: int
    access: Access


@irdl_attr_definition
class ValueAttr(Data[StoredValue]):
    """Which ONNX value a kernel leaves in which buffer, and how: `#tile.value<"probs", 0, 0 [8, 16] [16, 1]>`."""

    name = "tile.value"

    @classmethod
    def parse_parameter(cls, parser: AttrParser) -> StoredValue:
        with parser.in_angle_brackets():
            name = parser.parse_str_literal()
            parser.parse_punctuation(",")
            operand = parser.parse_integer(allow_boolean=False, allow_negative=False)
            parser.parse_punctuation(",")
            return StoredValue(name, operand, Access.parse(parser))

    def print_parameter(self, printer: Printer) -> None:
        with printer.in_angle_brackets():
            printer.print_string_literal(self.data.name)
            printer.print_string(f", {self.data.operand}, {self.data.access}")


def buffer_type(value: SSAValue) -> BufferType:
    """The type of a buffer operand. Raises VerifyException if it is none."""
    if not isinstance(value.type, BufferType):
        raise VerifyException(f"expected a !tile.buffer, found {value.type}")
    return value.type


def loop_depth(op: Operation) -> int:
    """How many `tile.for` operations enclose `op`."""
    depth = 0
    parent = op.parent_op()
    while parent is not None:
        depth += isinstance(parent, ForOp)
        parent = parent.parent_op()
    return depth


def _print_place(printer: Printer, buffer: SSAValue, access: Access) -> None:
    printer.print_ssa_value(buffer)
    printer.print_string(f"<{access}>")


def parse_buffer(parser: Parser) -> SSAValue:
    """Read a buffer operand, which must stand above: its type is known from there and not written again."""
    operand = parser.parse_unresolved_operand()
    values = parser.ssa_values.get(operand.operand_name)
    if values is None or operand.index >= len(values):
        parser.raise_error(f"buffer %{operand.operand_name} is not defined above", operand.span)
    return values[operand.index]


def _parse_place(parser: Parser) -> tuple[SSAValue, AccessAttr]:
    buffer = parse_buffer(parser)
    with parser.in_angle_brackets():
        return buffer, AccessAttr(Access.parse(parser))


def _parse_operand(parser: Parser) -> Place:
    buffer, access = _parse_place(parser)
    return Place(buffer, access.data)


def _print_switch(printer: Printer, keyword: str, value: ExtentAttr | None) -> None:
    if value is not None:
        printer.print_string(f" {keyword}<{value.data}>")


def _parse_switch(parser: Parser, keyword: str) -> ExtentAttr | None:
    if parser.parse_optional_keyword(keyword) is None:
        return None
    with parser.in_angle_brackets():
        return ExtentAttr(Minimum.parse(parser))


def stage_of(op: Operation) -> int:
    """How many iterations of the loop around it an operation or loop runs late: attribute `stage`, 0 unless said."""
    stage = op.attributes.get("stage")
    return stage.value.data if isinstance(stage, IntegerAttr) else 0


class TileOperation(DirectOperation):
    """What all operations on buffers share: accesses in operand order (and an optional `stage`)."""

    ACCESSES: ClassVar[tuple[str, ...]] = ()
    """The properties that hold the accesses of `places`, in order; those that an operation lacks come last."""

    @property
    def places(self) -> tuple[tuple[SSAValue, Access], ...]:
        """(buffer, access) of every operand, in order."""
        raise NotImplementedError

    @property
    def axes(self) -> tuple[tuple[str, ...], ...]:
        """For each of `places` the names of its axes: those of one name are walked together."""
        raise NotImplementedError

    @property
    def written(self) -> tuple[int, ...]:
        """Which of `places` are written."""
        raise NotImplementedError

    def resize(self, sizes: Mapping[str, Minimum]) -> None:
        """Give axes other sizes, by name."""
        for name, (_, access), axes in zip(self.ACCESSES, self.places, self.axes, strict=False):
            self.properties[name] = AccessAttr(_resized(access, axes, sizes))

    def verify_(self) -> None:
        depth = loop_depth(self)
        for buffer, access in self.places:
            buffer_type(buffer)
            if access.depth > depth:
                raise VerifyException(f"access {access} needs {access.depth} loops, {depth} enclose it")

    def _expect_space(self, buffer: SSAValue, what: str, *spaces: str) -> None:
        space = buffer_type(buffer).space.data
        if space not in spaces:
            raise VerifyException(f"{what} must lie in {' or '.join(spaces)}, not in {space}")


def _resized(access: Access, axes: Sequence[str], sizes: Mapping[str, Minimum]) -> Access:
    found = tuple(sizes.get(axis, size) for axis, size in zip(axes, access.sizes, strict=True))
    return Access(access.offset, found, access.strides)


def _tail(op: Operation, printer: Printer) -> None:
    printer.print_op_attributes(op.attributes)


@irdl_op_definition
class TensorOp(DirectOperation):
    """A tensor in DRAM: a model's input, output or weight, or a temporary.

    A weight's bytes are those of constant `key` in the constant store, flattened in row-major order; of a packed type
    the constant holds the bytes.

    `%0 = tile.tensor input "x" : !tile.buffer<dram, 8x16xf32>`
    `%1 = tile.tensor weight "w" key "encoder.w" : !tile.buffer<dram, 16x16xf32>`
    """

    name = "tile.tensor"
    label = prop_def(StringAttr, prop_name="name")
    role = prop_def(StringAttr)
    key = opt_prop_def(StringAttr)
    result = result_def(BufferType)

    def __init__(self, label: str, role: str, buffer: BufferType, key: str | None = None) -> None:
        properties: dict[str, Attribute | None] = {
            "name": StringAttr(label),
            "role": StringAttr(role),
            "key": None if key is None else StringAttr(key),
        }
        super().__init__(properties=properties, result_types=[buffer])

    def verify_(self) -> None:
        if self.role.data not in ROLES:
            raise VerifyException(f"the role of a tensor is one of {', '.join(ROLES)}, not {self.role.data}")
        if (self.key is not None) != (self.role.data == "weight"):
            raise VerifyException("a weight names its constant by key, and nothing else does")
        if buffer_type(self.result).space.data != "dram":
            raise VerifyException("a tensor lies in dram")

    @classmethod
    def parse(cls, parser: Parser) -> TensorOp:
        role = parser.parse_keyword_in(ROLES)
        label = parser.parse_str_literal()
        key = parser.parse_str_literal() if parser.parse_optional_keyword("key") else None
        attributes = parser.parse_optional_attr_dict()
        parser.parse_punctuation(":")
        buffer = parser.parse_type()
        if not isinstance(buffer, BufferType):
            parser.raise_error("expected a !tile.buffer")
        op = cls(label, role, buffer, key)
        op.attributes |= attributes
        return op

    def print(self, printer: Printer) -> None:
        printer.print_string(f" {self.role.data} ")
        printer.print_string_literal(self.label.data)
        if self.key is not None:
            printer.print_string(" key ")
            printer.print_string_literal(self.key.data)
        _tail(self, printer)
        printer.print_string(" : ")
        printer.print_attribute(self.result.type)


@irdl_op_definition
class AllocOp(DirectOperation):
    """An on-chip buffer. Inside a loop every iteration has its own instance; at function level it is resident.

    `%0 = tile.alloc : !tile.buffer<sram, 64x64xf32>`
    """

    name = "tile.alloc"
    result = result_def(BufferType)

    assembly_format = "attr-dict `:` type($result)"

    def __init__(self, buffer: BufferType) -> None:
        super().__init__(result_types=[buffer])

    def verify_(self) -> None:
        if buffer_type(self.result).space.data == "dram":
            raise VerifyException("tile.alloc makes on-chip buffers; DRAM is tile.tensor's")


@irdl_op_definition
class RetypeOp(DirectOperation):
    """The bytes of an on-chip buffer as elements of another type of the same width: what is written over them.

    `%1 = tile.retype %0 : !tile.buffer<acc, 32x128xi32> to !tile.buffer<acc, 32x128xf32>`
    """

    name = "tile.retype"
    buffer = operand_def(BufferType)
    result = result_def(BufferType)

    assembly_format = "$buffer attr-dict `:` type($buffer) `to` type($result)"

    def __init__(self, buffer: SSAValue, form: Format) -> None:
        old = buffer_type(buffer)
        super().__init__(operands=[buffer], result_types=[BufferType(old.space.data, old.extents, form)])

    def verify_(self) -> None:
        old, new = buffer_type(self.buffer), buffer_type(self.result)
        if old.space != new.space or old.space.data == "dram" or old.extents != new.extents:
            raise VerifyException(f"a buffer on chip keeps its space and shape: {new} is no retyped {old}")
        if old.format.width != new.format.width or old.format.packed:
            raise VerifyException(f"{old.element} and {new.element} are not of one width")


@irdl_op_definition
class KernelOp(DirectOperation):
    """One fused piece of the model; its location names the ONNX nodes that it does.

    Operands are the buffers that `values` speaks of: which ONNX values the kernel leaves where. `plan` says how the
    tiling was chosen (tile sizes, order, predicted cost, runner-up, on-chip bytes); nothing downstream depends on it.

    `tile.kernel "matmul_3" path "encoder.0.ffn.up" plan {rows = 64 : i64} values [...] (%0) { ... }`
    """

    name = "tile.kernel"
    outputs = var_operand_def(BufferType)
    label = prop_def(StringAttr, prop_name="name")
    path = prop_def(StringAttr)
    plan = prop_def(DictionaryAttr)
    values = prop_def(ArrayAttr[ValueAttr])
    body = region_def("single_block")
    traits = traits_def(NoTerminator())

    def __init__(
        self,
        label: str,
        path: str = "",
        plan: Mapping[str, Attribute] | None = None,
        outputs: Sequence[SSAValue] = (),
        values: Sequence[StoredValue] = (),
        body: Region | None = None,
    ) -> None:
        properties: dict[str, Attribute | None] = {
            "name": StringAttr(label),
            "path": StringAttr(path),
            "plan": DictionaryAttr(dict(plan or {})),
            "values": ArrayAttr([ValueAttr(value) for value in values]),
        }
        super().__init__(operands=outputs, properties=properties, regions=[body or Region(Block())])

    def verify_(self) -> None:
        for value in self.values:
            if not 0 <= value.data.operand < len(self.outputs):
                raise VerifyException(
                    f"value {value.data.name} names operand {value.data.operand}, of {len(self.outputs)}"
                )
            if value.data.access.depth:
                raise VerifyException(f"value {value.data.name} cannot depend on loop indices")

    @classmethod
    def parse(cls, parser: Parser) -> KernelOp:
        label = parser.parse_str_literal()
        path = parser.parse_str_literal() if parser.parse_optional_keyword("path") else ""
        plan = parser.parse_optional_dictionary_attr_dict() if parser.parse_optional_keyword("plan") else {}
        values: list[StoredValue] = []
        if parser.parse_optional_keyword("values"):
            square = parser.Delimiter.SQUARE
            values = parser.parse_comma_separated_list(square, lambda: ValueAttr.parse_parameter(parser))
        outputs = parser.parse_comma_separated_list(parser.Delimiter.PAREN, lambda: parse_buffer(parser))
        op = cls(label, path, plan, outputs, values, parser.parse_region())
        op.attributes |= parser.parse_optional_attr_dict()
        return op

    def print(self, printer: Printer) -> None:
        printer.print_string(" ")
        printer.print_string_literal(self.label.data)
        if self.path.data:
            printer.print_string(" path ")
            printer.print_string_literal(self.path.data)
        if self.plan.data:
            printer.print_string(" plan ")
            printer.print_attr_dict(self.plan.data)
        if self.values.data:
            printer.print_string(" values [")
            printer.print_list(self.values.data, lambda value: value.print_parameter(printer))
            printer.print_string("]")
        printer.print_string(" (")
        printer.print_list(self.outputs, printer.print_ssa_value)
        printer.print_string(") ")
        printer.print_region(self.body, print_empty_block=False)
        _tail(self, printer)


@irdl_op_definition
class ForOp(DirectOperation):
    """`count` iterations of a block; its index is implicit in the affine forms inside.

    An operation (or a nested loop) with attribute `stage = s` runs in time slot i + s for iteration i: with stages 0
    and 1 the loads of iteration i + 1 come before the work of iteration i. Values are those of each iteration's own
    order; only the order between iterations changes.

    `tile.for 12 { ... }`
    """

    name = "tile.for"
    count = prop_def(IntegerAttr)
    body = region_def("single_block")
    traits = traits_def(NoTerminator())

    def __init__(self, count: int, body: Region | None = None) -> None:
        super().__init__(properties={"count": IntegerAttr(count, i64)}, regions=[body or Region(Block())])

    @property
    def trips(self) -> int:
        """The number of iterations."""
        return self.count.value.data

    def verify_(self) -> None:
        if self.trips < 0:
            raise VerifyException(f"a loop cannot run {self.trips} times")

    @classmethod
    def parse(cls, parser: Parser) -> ForOp:
        count = parser.parse_integer(allow_boolean=False, allow_negative=False)
        op = cls(count, parser.parse_region())
        op.attributes |= parser.parse_optional_attr_dict()
        return op

    def print(self, printer: Printer) -> None:
        printer.print_string(f" {self.trips} ")
        printer.print_region(self.body, print_empty_block=False)
        _tail(self, printer)


@irdl_op_definition
class CopyOp(TileOperation):
    """A strided block copied between DRAM and a chip memory, element by element, up to four dimensions.

    A stride of zero on the source repeats it; on-chip to on-chip is a pass, DRAM to DRAM does not exist. Of a load with
    a `count`, an i32 on chip, the outermost extent is what that holds when it runs, at most the extent that is written.

    `tile.copy %0<64 * d0 [64, 32] [128, 1]> to %1<0 [64, 32] [32, 1]>`
    `tile.copy %0<0 [64, 32] [128, 1]> to %1<0 [64, 32] [32, 1]> count %2<0 [1] [1]>`
    """

    name = "tile.copy"
    ACCESSES: ClassVar[tuple[str, ...]] = ("source_access", "target_access", "count_access")
    source = operand_def(BufferType)
    target = operand_def(BufferType)
    source_access = prop_def(AccessAttr)
    count = opt_operand_def(BufferType)
    target_access = prop_def(AccessAttr)
    count_access = opt_prop_def(AccessAttr)

    def __init__(
        self,
        source: SSAValue,
        source_access: Access,
        target: SSAValue,
        target_access: Access,
        count: Place | None = None,
    ) -> None:
        properties: dict[str, Attribute | None] = {
            "source_access": AccessAttr(source_access),
            "target_access": AccessAttr(target_access),
            "count_access": None if count is None else AccessAttr(count.access),
        }
        super().__init__([source, target, *(() if count is None else (count.buffer,))], properties)

    @property
    def places(self) -> tuple[tuple[SSAValue, Access], ...]:
        own = ((self.source, self.source_access.data), (self.target, self.target_access.data))
        if self.count is None or self.count_access is None:
            return own
        return (*own, (self.count, self.count_access.data))

    @property
    def axes(self) -> tuple[tuple[str, ...], ...]:
        names = tuple(f"i{axis}" for axis in range(self.source_access.data.rank))
        return (names, names, *(("count",) for _ in self.places[2:]))

    @property
    def written(self) -> tuple[int, ...]:
        return (1,)

    @property
    def is_load(self) -> bool:
        """True from DRAM to the chip, False from the chip to DRAM."""
        return buffer_type(self.source).space.data == "dram"

    def verify_(self) -> None:
        super().verify_()
        source, target = buffer_type(self.source), buffer_type(self.target)
        if (source.space.data == "dram") == (target.space.data == "dram"):
            raise VerifyException("a copy goes between dram and a chip memory")
        if source.element != target.element:
            raise VerifyException(f"a copy does not convert: {source.element} to {target.element}")
        if self.source_access.data.sizes != self.target_access.data.sizes:
            raise VerifyException("source and target of a copy have the same sizes")
        if self.source_access.data.rank > 4:
            raise VerifyException("a copy has at most four dimensions")
        if self.count is not None and self.count_access is not None:
            _verify_words(self.count, self.count_access.data)
            sizes = self.source_access.data.sizes
            if not self.is_load or not sizes or sizes[0].constant is None:
                raise VerifyException("a count is that of a load whose outermost extent is fixed")

    @classmethod
    def parse(cls, parser: Parser) -> CopyOp:
        source, source_access = _parse_place(parser)
        parser.parse_keyword("to")
        target, target_access = _parse_place(parser)
        count = _parse_operand(parser) if parser.parse_optional_keyword("count") is not None else None
        op = cls(source, source_access.data, target, target_access.data, count)
        op.attributes |= parser.parse_optional_attr_dict()
        return op

    def print(self, printer: Printer) -> None:
        printer.print_string(" ")
        _print_place(printer, self.source, self.source_access.data)
        printer.print_string(" to ")
        _print_place(printer, self.target, self.target_access.data)
        for buffer, access in self.places[2:]:
            printer.print_string(" count ")
            _print_place(printer, buffer, access)
        _tail(self, printer)


class _RowsByIndex(TileOperation):
    """Rows of a DRAM table by a list of indices: base of gather and scatter."""

    ACCESSES: ClassVar[tuple[str, ...]] = ("ids_access", "table_access", "rows_access")
    ids = operand_def(BufferType)
    table = operand_def(BufferType)
    rows = operand_def(BufferType)
    ids_access = prop_def(AccessAttr)
    table_access = prop_def(AccessAttr)
    rows_access = prop_def(AccessAttr)
    limit = prop_def(IntegerAttr)

    def __init__(
        self,
        ids: SSAValue,
        ids_access: Access,
        table: SSAValue,
        table_access: Access,
        rows: SSAValue,
        rows_access: Access,
        limit: int,
    ) -> None:
        properties: dict[str, Attribute | None] = {
            "ids_access": AccessAttr(ids_access),
            "table_access": AccessAttr(table_access),
            "rows_access": AccessAttr(rows_access),
            "limit": IntegerAttr(limit, i64),
        }
        super().__init__(operands=[ids, table, rows], properties=properties)

    @property
    def places(self) -> tuple[tuple[SSAValue, Access], ...]:
        return (
            (self.ids, self.ids_access.data),
            (self.table, self.table_access.data),
            (self.rows, self.rows_access.data),
        )

    @property
    def axes(self) -> tuple[tuple[str, ...], ...]:
        return (("rows",), ("table", "columns"), ("rows", "columns"))

    @property
    def written(self) -> tuple[int, ...]:
        return (2,) if isinstance(self, GatherOp) else (1,)

    def verify_(self) -> None:
        super().verify_()
        self._expect_space(self.ids, "the ids", "sram")
        self._expect_space(self.table, "the table", "dram")
        self._expect_space(self.rows, "the rows", "sram")
        if buffer_type(self.ids).format is not Format.I32:
            raise VerifyException("ids are i32")
        if buffer_type(self.table).element != buffer_type(self.rows).element:
            raise VerifyException("table and rows have the same element type")
        ranks = (self.ids_access.data.rank, self.table_access.data.rank, self.rows_access.data.rank)
        if ranks != (1, 2, 2):
            raise VerifyException(f"ids, table and rows have ranks 1, 2 and 2, not {ranks}")
        if self.ids_access.data.strides != (1,):
            raise VerifyException("ids are contiguous")
        for access in (self.table_access.data, self.rows_access.data):
            if access.strides[1] != 1:
                raise VerifyException("rows are contiguous")

    def print(self, printer: Printer) -> None:
        printer.print_string(" ")
        for keyword, (buffer, access) in zip(("ids ", " table ", " rows "), self.places, strict=True):
            printer.print_string(keyword)
            _print_place(printer, buffer, access)
        printer.print_string(f" limit {self.limit.value.data}")
        _tail(self, printer)

    @classmethod
    def parse(cls, parser: Parser) -> _RowsByIndex:
        places: list[tuple[SSAValue, AccessAttr]] = []
        for keyword in ("ids", "table", "rows"):
            parser.parse_keyword(keyword)
            places.append(_parse_place(parser))
        parser.parse_keyword("limit")
        limit = parser.parse_integer(allow_boolean=False)
        (ids, ids_access), (table, table_access), (rows, rows_access) = places
        op = cls(ids, ids_access.data, table, table_access.data, rows, rows_access.data, limit)
        op.attributes |= parser.parse_optional_attr_dict()
        return op


@irdl_op_definition
class GatherOp(_RowsByIndex):
    """`rows[i] = table[ids[i]]`: ids in SRAM, the table in DRAM; an id outside [0, limit) faults.

    `tile.gather ids %0<0 [16] [1]> table %1<0 [1000, 128] [128, 1]> rows %2<0 [16, 128] [128, 1]> limit 1000`
    """

    name = "tile.gather"


@irdl_op_definition
class ScatterOp(_RowsByIndex):
    """`table[ids[i]] = rows[i]` in order of i; an id outside [0, limit) faults.

    `tile.scatter ids %0<0 [16] [1]> table %1<0 [1000, 128] [128, 1]> rows %2<0 [16, 128] [128, 1]> limit 1000`
    """

    name = "tile.scatter"


@frozen
class Place:
    """An operand of an operation being built: a buffer and where in it."""

    buffer: SSAValue
    access: Access


class MatrixProduct(TileOperation):
    """acc[m, n] (+)= a[m, k] @ b: base of the products with and without a mask or a structure."""

    ACCESSES: ClassVar[tuple[str, ...]] = ("a_access", "b_access", "acc_access")
    a = operand_def(BufferType)
    b = operand_def(BufferType)
    acc = operand_def(BufferType)
    a_access = prop_def(AccessAttr)
    b_access = prop_def(AccessAttr)
    acc_access = prop_def(AccessAttr)
    mode = prop_def(StringAttr)
    transpose_b = opt_prop_def(UnitAttr)
    accumulate = opt_prop_def(ExtentAttr)
    a_values = opt_prop_def(StringAttr)
    b_values = opt_prop_def(StringAttr)

    @property
    def places(self) -> tuple[tuple[SSAValue, Access], ...]:
        return ((self.a, self.a_access.data), (self.b, self.b_access.data), (self.acc, self.acc_access.data))

    @property
    def axes(self) -> tuple[tuple[str, ...], ...]:
        return (("m", "k"), ("n", "k") if self.transpose_b is not None else ("k", "n"), ("m", "n"))

    @property
    def written(self) -> tuple[int, ...]:
        return (2,)

    @property
    def values(self) -> tuple[Values, Values] | None:
        """What a and b hold in a packed mode; None in others."""
        if self.a_values is None or self.b_values is None:
            return None
        return Values.parse(self.a_values.data), Values.parse(self.b_values.data)

    def _verify_values(self) -> None:
        mode, values = MatrixMode.parse(self.mode.data), self.values
        if (values is not None) != mode.packed:
            raise VerifyException("operands of packed modes say what they hold, and no others do")
        if values is None:
            return
        if self.transpose_b is None:
            raise VerifyException("b of a packed mode is given as [n, k]")
        if values[1] not in RIGHT_VALUES[mode]:
            raise VerifyException(f"mode {mode} takes no {values[1].label} as b")
        for buffer, held in zip((self.a, self.b), values, strict=True):
            if buffer_type(buffer).format is not held.stored:
                raise VerifyException(f"{buffer_type(buffer).format} elements hold no {held.label}")

    def verify_(self) -> None:
        super().verify_()
        self._verify_values()
        self._expect_space(self.a, "a", "sram")
        self._expect_space(self.b, "b", "sram")
        self._expect_space(self.acc, "acc", "acc")
        for _, access in self.places[:3]:
            if access.rank != 2 or access.strides[1] != 1:
                raise VerifyException("operands of a product have two dimensions and contiguous rows")
        m, k = self.a_access.data.sizes
        inner, n = self.b_access.data.sizes
        if self.transpose_b is not None:
            inner, n = n, inner
        if inner != self._rows_over(k) or self.acc_access.data.sizes != (m, n):
            raise VerifyException("sizes of a product disagree: a is [m, k], b [k, n] or transposed [n, k], acc [m, n]")

    def _rows_over(self, k: Minimum) -> Minimum:
        """Rows of b over k columns of a."""
        return k

    def _print_product(self, printer: Printer) -> None:
        printer.print_string(f" {self.mode.data} ")
        _print_place(printer, self.a, self.a_access.data)
        printer.print_string("" if self.a_values is None else f" as {self.a_values.data}")
        printer.print_string(" by transposed " if self.transpose_b is not None else " by ")
        _print_place(printer, self.b, self.b_access.data)
        printer.print_string("" if self.b_values is None else f" as {self.b_values.data}")
        printer.print_string(" into ")
        _print_place(printer, self.acc, self.acc_access.data)
        _print_switch(printer, "accumulate", self.accumulate)


@frozen
class Multiplication:
    """What every product of matrices is told, apart from masks: see `ProductOp`."""

    a: Place
    b: Place
    acc: Place
    mode: str
    transpose_b: bool = False
    accumulate: Minimum | None = None
    values: tuple[Values, Values] | None = None

    @property
    def operands(self) -> list[SSAValue]:
        """The buffers of a, b and acc."""
        return [self.a.buffer, self.b.buffer, self.acc.buffer]

    @property
    def properties(self) -> dict[str, Attribute | None]:
        """The properties of `MatrixProduct`."""
        return {
            "a_access": AccessAttr(self.a.access),
            "b_access": AccessAttr(self.b.access),
            "acc_access": AccessAttr(self.acc.access),
            "mode": StringAttr(self.mode),
            "transpose_b": UnitAttr() if self.transpose_b else None,
            "accumulate": None if self.accumulate is None else ExtentAttr(self.accumulate),
            "a_values": None if self.values is None else StringAttr(self.values[0].label),
            "b_values": None if self.values is None else StringAttr(self.values[1].label),
        }

    @staticmethod
    def parse(parser: Parser) -> Multiplication:
        """Read what `MatrixProduct` prints."""
        mode = parser.parse_identifier(" (a product mode)")
        a = _parse_operand(parser)
        a_values = parser.parse_identifier() if parser.parse_optional_keyword("as") else None
        parser.parse_keyword("by")
        transpose_b = parser.parse_optional_keyword("transposed") is not None
        b = _parse_operand(parser)
        b_values = parser.parse_identifier() if parser.parse_optional_keyword("as") else None
        parser.parse_keyword("into")
        acc = _parse_operand(parser)
        accumulate = _parse_switch(parser, "accumulate")
        return Multiplication(
            a,
            b,
            acc,
            mode,
            transpose_b,
            None if accumulate is None else accumulate.data,
            (Values.parse(a_values), Values.parse(b_values)) if a_values and b_values else None,
        )


@irdl_op_definition
class ProductOp(MatrixProduct):
    """`acc[m, n] (+)= sum over k of a[m, k] * b[k, n]`, b given as [n, k] with `transpose_b`.

    a and b lie in SRAM, acc (f32, or i32 for integer operands) in ACC; rows are contiguous. It accumulates where the
    value of `accumulate` is above zero and overwrites elsewhere. In a packed mode both operands are packed along k,
    and `a_values` and `b_values` say what they hold (`isa.matrix.Values`).

    `tile.product i8 %a<0 [64, 128] [128, 1]> by %b<0 [128, 32] [32, 1]> into %c<0 [64, 32] [32, 1]> accumulate<d1>`
    `tile.product binary %a<0 [64, 128] [128, 1]> as u2 by transposed %b<0 [32, 128] [128, 1]> as bipolar into %c<...>`
    """

    name = "tile.product"

    def __init__(self, product: Multiplication) -> None:
        super().__init__(operands=product.operands, properties=product.properties)

    @classmethod
    def parse(cls, parser: Parser) -> ProductOp:
        op = cls(Multiplication.parse(parser))
        op.attributes |= parser.parse_optional_attr_dict()
        return op

    def print(self, printer: Printer) -> None:
        self._print_product(printer)
        _tail(self, printer)


MASKED = ("result", "left")


@irdl_op_definition
class MaskedProductOp(MatrixProduct):
    """A product of what a mask keeps (`mx.masked`): with `result`, acc is the product where mask[m, n] is set and 0
    elsewhere; with `left`, a[m, k] counts as 0 where mask[m, k] is clear. The array takes as many rows as `packed`
    holds when it runs: `tile.pack` of the same mask and packing counts them, at most `limit`. Of a mask that is known
    to the compiler there is no `packed`, and `limit` is what that would count.

    `tile.masked left f32 %a<...> by %b<...> into %c<...> mask %m<0 [8, 64] [64, 1]> rows %n<0 [1] [1]> limit 512
     window 128 width 4`
    """

    name = "tile.masked"
    ACCESSES: ClassVar[tuple[str, ...]] = (*MatrixProduct.ACCESSES, "mask_access", "packed_access")
    mask = operand_def(BufferType)
    packed = opt_operand_def(BufferType)
    masked = prop_def(StringAttr)
    mask_access = prop_def(AccessAttr)
    packed_access = opt_prop_def(AccessAttr)
    limit = prop_def(IntegerAttr)
    window = prop_def(IntegerAttr)
    width = prop_def(IntegerAttr)
    height = prop_def(IntegerAttr)

    def __init__(
        self,
        masked: str,
        product: Multiplication,
        mask: Place,
        packed: Place | None,
        limit: int,
        packing: RowPacking,
    ) -> None:
        properties = {
            **product.properties,
            "masked": StringAttr(masked),
            "mask_access": AccessAttr(mask.access),
            "packed_access": None if packed is None else AccessAttr(packed.access),
            "limit": IntegerAttr(limit, i64),
            **_packing_properties(packing),
        }
        counted = () if packed is None else (packed.buffer,)
        super().__init__(operands=[mask.buffer, *counted, *product.operands], properties=properties)

    @property
    def counted(self) -> tuple[SSAValue, Access] | None:
        """Where the number of rows is found when it runs."""
        if self.packed is None or self.packed_access is None:
            return None
        return self.packed, self.packed_access.data

    @property
    def packing(self) -> RowPacking:
        """How the mask is packed."""
        return RowPacking(self.window.value.data, self.width.value.data, self.height.value.data)

    @property
    def places(self) -> tuple[tuple[SSAValue, Access], ...]:
        counted = () if self.counted is None else (self.counted,)
        return (*super().places, (self.mask, self.mask_access.data), *counted)

    @property
    def axes(self) -> tuple[tuple[str, ...], ...]:
        mask = ("m", "n") if self.masked.data == "result" else ("m", "k")
        return (*super().axes, mask, *(("packed",) for _ in self.places[4:]))

    def verify_(self) -> None:
        super().verify_()
        _verify_mask(self.mask, self.mask_access.data)
        if (self.packed is None) != (self.packed_access is None):
            raise VerifyException("packed and packed_access come together")
        if self.counted is not None:
            _verify_words(*self.counted)
        if self.masked.data not in MASKED:
            raise VerifyException(f"a mask is that of the {' or the '.join(MASKED)}, not of the {self.masked.data}")
        of = self.acc_access if self.masked.data == "result" else self.a_access
        if self.mask_access.data.sizes != of.data.sizes:
            raise VerifyException(f"the mask does not have the sizes of the {self.masked.data}")

    @classmethod
    def parse(cls, parser: Parser) -> MaskedProductOp:
        masked = parser.parse_identifier(" (result or left)")
        product = Multiplication.parse(parser)
        parser.parse_keyword("mask")
        mask = _parse_operand(parser)
        packed = _parse_operand(parser) if parser.parse_optional_keyword("rows") else None
        parser.parse_keyword("limit")
        limit = parser.parse_integer(allow_boolean=False, allow_negative=False)
        op = cls(masked, product, mask, packed, limit, _parse_packing(parser))
        op.attributes |= parser.parse_optional_attr_dict()
        return op

    def print(self, printer: Printer) -> None:
        printer.print_string(f" {self.masked.data}")
        self._print_product(printer)
        printer.print_string(" mask ")
        _print_place(printer, self.mask, self.mask_access.data)
        if self.counted is not None:
            printer.print_string(" rows ")
            _print_place(printer, *self.counted)
        printer.print_string(f" limit {self.limit.value.data}")
        _print_packing(printer, self.packing)
        _tail(self, printer)


@irdl_op_definition
class StructuredProductOp(MatrixProduct):
    """A product by a compressed b (`mx.structured`): of the structure N:M, b has the values that each M rows keep, N a
    column, and `indices`, as large as b and packed in SRAM, their places among them.

    `tile.structured "2:4" i8 %a<0 [8, 64] [64, 1]> by %b<0 [32, 9] [9, 1]> into %c<...> at %i<0 [32, 9] [12, 1]>`
    """

    name = "tile.structured"
    ACCESSES: ClassVar[tuple[str, ...]] = (*MatrixProduct.ACCESSES, "indices_access")
    indices = operand_def(BufferType)
    structure_text = prop_def(StringAttr, prop_name="structure")
    indices_access = prop_def(AccessAttr)

    def __init__(self, structure: Structure, product: Multiplication, indices: Place) -> None:
        properties = {
            **product.properties,
            "structure": StringAttr(str(structure)),
            "indices_access": AccessAttr(indices.access),
        }
        super().__init__(operands=[indices.buffer, *product.operands], properties=properties)

    @property
    def structure(self) -> Structure:
        """The structure. Raises VerifyException where it is none."""
        try:
            return Structure.parse(self.structure_text.data)
        except UsageError as error:
            raise VerifyException(str(error)) from None

    @property
    def places(self) -> tuple[tuple[SSAValue, Access], ...]:
        return (*super().places, (self.indices, self.indices_access.data))

    @property
    def axes(self) -> tuple[tuple[str, ...], ...]:
        return (("m", "k"), ("kept", "n"), ("m", "n"), ("kept", "n"))

    def _rows_over(self, k: Minimum) -> Minimum:
        return k.grouped(self.structure.kept, self.structure.group)

    def verify_(self) -> None:
        super().verify_()
        if self.transpose_b is not None:
            raise VerifyException("b of a structure is given as [k, n]")
        self._expect_space(self.indices, "indices", "sram")
        if buffer_type(self.indices).format is not self.structure.index_format:
            raise VerifyException(f"indices of {self.structure} are {self.structure.index_format}")
        if self.indices_access.data.sizes != self.b_access.data.sizes:
            raise VerifyException("indices have the sizes of b")

    @classmethod
    def parse(cls, parser: Parser) -> StructuredProductOp:
        text = parser.parse_str_literal(" (a structure)")
        try:
            structure = Structure.parse(text)
        except UsageError as error:
            parser.raise_error(str(error))
        product = Multiplication.parse(parser)
        parser.parse_keyword("at")
        op = cls(structure, product, _parse_operand(parser))
        op.attributes |= parser.parse_optional_attr_dict()
        return op

    def print(self, printer: Printer) -> None:
        printer.print_string(f' "{self.structure_text.data}"')
        self._print_product(printer)
        printer.print_string(" at ")
        _print_place(printer, self.indices, self.indices_access.data)
        _tail(self, printer)


@irdl_op_definition
class PassOp(TileOperation):
    """One pass of the vector engine over `rows` x `columns` elements, running a lane program.

    Streams and the output are [rows, columns] with contiguous rows; a broadcast is a scalar [], a row [columns] or a
    column [rows]; a reduction goes across `columns` (one value a row) or across `rows` (one value a column), 4 bytes
    each, and is combined with the old value where `accumulate` is above zero.

    `tile.pass "r0 = add(a, c0); out r0" over 64 by 32 stream %x<0 [64, 32] [32, 1]> row %b<0 [32] [1]> out %y<...>`
    """

    name = "tile.pass"
    streams = var_operand_def(BufferType)
    broadcasts = var_operand_def(BufferType)
    out = var_operand_def(BufferType)
    reductions = var_operand_def(BufferType)
    accesses = prop_def(ArrayAttr[AccessAttr])
    program = prop_def(StringAttr)
    rows = prop_def(ExtentAttr)
    columns = prop_def(ExtentAttr)
    kinds = prop_def(ArrayAttr[StringAttr])
    directions = prop_def(ArrayAttr[StringAttr])
    accumulate = opt_prop_def(ExtentAttr)
    irdl_options = (AttrSizedOperandSegments(as_property=True),)

    def __init__(
        self,
        program: str,
        rows: Minimum,
        columns: Minimum,
        streams: Sequence[Place] = (),
        broadcasts: Sequence[tuple[str, Place]] = (),
        out: Place | None = None,
        reductions: Sequence[tuple[str, Place]] = (),
        accumulate: Minimum | None = None,
    ) -> None:
        outs = () if out is None else (out,)
        groups = (tuple(streams), tuple(p for _, p in broadcasts), outs, tuple(p for _, p in reductions))
        properties: dict[str, Attribute | None] = {
            "program": StringAttr(program),
            "rows": ExtentAttr(rows),
            "columns": ExtentAttr(columns),
            "accesses": ArrayAttr([AccessAttr(place.access) for group in groups for place in group]),
            "kinds": ArrayAttr([StringAttr(kind) for kind, _ in broadcasts]),
            "directions": ArrayAttr([StringAttr(direction) for direction, _ in reductions]),
            "accumulate": None if accumulate is None else ExtentAttr(accumulate),
            SEGMENTS: segments(*groups),
        }
        super().__init__([place.buffer for group in groups for place in group], properties)

    @property
    def places(self) -> tuple[tuple[SSAValue, Access], ...]:
        return tuple(zip(self.operands, (access.data for access in self.accesses), strict=True))

    @property
    def axes(self) -> tuple[tuple[str, ...], ...]:
        full, shapes = ("rows", "columns"), {"scalar": (), "row": ("columns",), "column": ("rows",)}
        broadcasts = (shapes[kind.data] for kind in self.kinds)
        left = (("rows",) if way.data == "columns" else ("columns",) for way in self.directions)
        return (*(full for _ in self.streams), *broadcasts, *(full for _ in self.out), *left)

    @property
    def written(self) -> tuple[int, ...]:
        return tuple(range(len(self.streams) + len(self.broadcasts), len(self.accesses)))

    def resize(self, sizes: Mapping[str, Minimum]) -> None:
        pairs = zip(self.places, self.axes, strict=True)
        accesses = [AccessAttr(_resized(access, axes, sizes)) for (_, access), axes in pairs]
        self.properties["accesses"] = ArrayAttr(accesses)
        for axis in ("rows", "columns"):
            if axis in sizes:
                self.properties[axis] = ExtentAttr(sizes[axis])

    @property
    def lane_program(self) -> LaneProgram:
        """The lane program, parsed. Raises AssemblyError where the text is wrong."""
        return LaneProgram.parse(self.program.data)

    @property
    def grouped_places(self) -> tuple[tuple[tuple[SSAValue, Access], ...], ...]:
        """(buffer, access) of the streams, the broadcasts, the output and the reductions."""
        places = iter(self.places)
        sizes = cast("DenseArrayBase[IntegerType]", self.properties[SEGMENTS]).get_values()
        return tuple(tuple(islice(places, size)) for size in sizes)

    @property
    def stream_places(self) -> tuple[tuple[SSAValue, Access], ...]:
        """(buffer, access) of the streams a, b."""
        return self.grouped_places[0]

    @property
    def broadcast_places(self) -> tuple[tuple[str, SSAValue, Access], ...]:
        """(kind, buffer, access) of the broadcasts c0 to c3."""
        return tuple((kind.data, *place) for kind, place in zip(self.kinds, self.grouped_places[1], strict=True))

    @property
    def out_place(self) -> tuple[SSAValue, Access] | None:
        """(buffer, access) of the element stream written, if any."""
        return next(iter(self.grouped_places[2]), None)

    @property
    def reduction_places(self) -> tuple[tuple[str, SSAValue, Access], ...]:
        """(direction, buffer, access) of the reductions."""
        return tuple((way.data, *place) for way, place in zip(self.directions, self.grouped_places[3], strict=True))

    def verify_(self) -> None:
        super().verify_()
        limits = ((self.streams, 2, "streams"), (self.broadcasts, 4, "broadcasts"), (self.out, 1, "outputs"))
        for group, limit, what in (*limits, (self.reductions, 2, "reductions")):
            if len(group) > limit:
                raise VerifyException(f"a pass has at most {limit} {what}, not {len(group)}")
        for buffer in self.operands:
            self._expect_space(buffer, "operands of a pass", "sram", "acc")
        rows, columns = self.rows.data, self.columns.data
        full = [*self.stream_places, *([self.out_place] if self.out_place else [])]
        for _, access in full:
            if access.sizes != (rows, columns) or access.strides[1] != 1:
                raise VerifyException("streams and output of a pass are [rows, columns] with contiguous rows")
        shapes: dict[str, tuple[Minimum, ...]] = {"scalar": (), "row": (columns,), "column": (rows,)}
        for kind, _, access in self.broadcast_places:
            if kind not in BROADCAST_KINDS or access.sizes != shapes[kind] or any(s != 1 for s in access.strides):
                raise VerifyException("a broadcast is a scalar [], a row [columns] or a column [rows], contiguous")
        for direction, _, access in self.reduction_places:
            length = rows if direction == "columns" else columns
            if direction not in DIRECTIONS or access.sizes != (length,) or access.strides != (1,):
                raise VerifyException("a reduction across columns has [rows] values, one across rows [columns]")
        program = self.lane_program
        if (program.output is not None) != bool(self.out) or len(program.reductions) != len(self.reductions):
            raise VerifyException("the lane program and the operands disagree on the output or the reductions")

    @classmethod
    def parse(cls, parser: Parser) -> PassOp:
        program = parser.parse_str_literal()
        parser.parse_keyword("over")
        rows = Minimum.parse(parser)
        parser.parse_keyword("by")
        columns = Minimum.parse(parser)
        streams: list[Place] = []
        broadcasts: list[tuple[str, Place]] = []
        outs: list[Place] = []
        reductions: list[tuple[str, Place]] = []
        while keyword := parser.parse_optional_keyword_in(("stream", "out", "across", *BROADCAST_KINDS)):
            direction = parser.parse_keyword_in(DIRECTIONS) if keyword == "across" else ""
            buffer, access = _parse_place(parser)
            place = Place(buffer, access.data)
            if keyword == "stream":
                streams.append(place)
            elif keyword == "out":
                outs.append(place)
            elif keyword == "across":
                reductions.append((direction, place))
            else:
                broadcasts.append((keyword, place))
        accumulate = _parse_switch(parser, "accumulate")
        op = cls(
            program,
            rows,
            columns,
            streams,
            broadcasts,
            outs[0] if outs else None,
            reductions,
            None if accumulate is None else accumulate.data,
        )
        op.attributes |= parser.parse_optional_attr_dict()
        return op

    def print(self, printer: Printer) -> None:
        printer.print_string(" ")
        printer.print_string_literal(self.program.data)
        printer.print_string(f" over {self.rows.data} by {self.columns.data}")
        places = [("stream", *place) for place in self.stream_places]
        places += list(self.broadcast_places)
        places += [("out", *self.out_place)] if self.out_place else []
        places += [(f"across {direction}", buffer, access) for direction, buffer, access in self.reduction_places]
        for keyword, buffer, access in places:
            printer.print_string(f" {keyword} ")
            _print_place(printer, buffer, access)
        _print_switch(printer, "accumulate", self.accumulate)
        _tail(self, printer)


@irdl_op_definition
class TopOp(TileOperation):
    """A bit for each value that is among the `keep` greatest of its row: rows of packed bits (`sx.top`).

    `tile.top 8 of %0<0 [1, 197] [197, 1]> into %1<0 [1, 197] [200, 1]>`
    """

    name = "tile.top"
    ACCESSES: ClassVar[tuple[str, ...]] = ("values_access", "mask_access")
    values = operand_def(BufferType)
    mask = operand_def(BufferType)
    values_access = prop_def(AccessAttr)
    mask_access = prop_def(AccessAttr)
    keep = prop_def(IntegerAttr)

    def __init__(self, values: Place, mask: Place, keep: int) -> None:
        properties: dict[str, Attribute | None] = {
            "values_access": AccessAttr(values.access),
            "mask_access": AccessAttr(mask.access),
            "keep": IntegerAttr(keep, i64),
        }
        super().__init__(operands=[values.buffer, mask.buffer], properties=properties)

    @property
    def places(self) -> tuple[tuple[SSAValue, Access], ...]:
        return ((self.values, self.values_access.data), (self.mask, self.mask_access.data))

    @property
    def axes(self) -> tuple[tuple[str, ...], ...]:
        return (("rows", "columns"), ("rows", "columns"))

    @property
    def written(self) -> tuple[int, ...]:
        return (1,)

    def verify_(self) -> None:
        super().verify_()
        _verify_mask(self.mask, self.mask_access.data)
        if buffer_type(self.values).format not in (Format.F32, Format.I32):
            raise VerifyException("values that are ranked are f32 or i32")
        if self.values_access.data.rank != 2 or self.values_access.data.strides[1] != 1:
            raise VerifyException("values that are ranked have rows, which are contiguous")
        if self.values_access.data.sizes != self.mask_access.data.sizes:
            raise VerifyException("the mask does not have the sizes of the values")

    @classmethod
    def parse(cls, parser: Parser) -> TopOp:
        keep = parser.parse_integer(allow_boolean=False, allow_negative=False)
        parser.parse_keyword("of")
        values, values_access = _parse_place(parser)
        parser.parse_keyword("into")
        mask, mask_access = _parse_place(parser)
        op = cls(Place(values, values_access.data), Place(mask, mask_access.data), keep)
        op.attributes |= parser.parse_optional_attr_dict()
        return op

    def print(self, printer: Printer) -> None:
        printer.print_string(f" {self.keep.value.data} of ")
        _print_place(printer, self.values, self.values_access.data)
        printer.print_string(" into ")
        _print_place(printer, self.mask, self.mask_access.data)
        _tail(self, printer)


@irdl_op_definition
class CompactOp(TileOperation):
    """The places of the bits that are set in any row of a mask, ascending, and how many there are (`sx.compact`).

    With a `number` the count is bound to a name that sizes behind it may be cut by: n0 has the number 0.

    `tile.compact %0<0 [1, 197] [200, 1]> into %1<0 [197] [1]> count %2<0 [1] [1]>`
    `tile.compact %0<0 [1, 197] [200, 1]> into %1<0 [197] [1]> count %2<0 [1] [1]> as 0`
    """

    name = "tile.compact"
    ACCESSES: ClassVar[tuple[str, ...]] = ("mask_access", "ids_access", "count_access")
    mask = operand_def(BufferType)
    ids = operand_def(BufferType)
    count = operand_def(BufferType)
    mask_access = prop_def(AccessAttr)
    ids_access = prop_def(AccessAttr)
    count_access = prop_def(AccessAttr)
    number = opt_prop_def(IntegerAttr)

    def __init__(self, mask: Place, ids: Place, count: Place, number: int | None = None) -> None:
        properties: dict[str, Attribute | None] = {
            "mask_access": AccessAttr(mask.access),
            "ids_access": AccessAttr(ids.access),
            "count_access": AccessAttr(count.access),
            "number": None if number is None else IntegerAttr(number, i64),
        }
        super().__init__(operands=[mask.buffer, ids.buffer, count.buffer], properties=properties)

    @property
    def places(self) -> tuple[tuple[SSAValue, Access], ...]:
        return (
            (self.mask, self.mask_access.data),
            (self.ids, self.ids_access.data),
            (self.count, self.count_access.data),
        )

    @property
    def axes(self) -> tuple[tuple[str, ...], ...]:
        return (("rows", "columns"), ("columns",), ("count",))

    @property
    def written(self) -> tuple[int, ...]:
        return (1, 2)

    def verify_(self) -> None:
        super().verify_()
        _verify_mask(self.mask, self.mask_access.data)
        for buffer, access in self.places[1:]:
            _verify_words(buffer, access)
        if self.number is not None and loop_depth(self):
            raise VerifyException("a count that sizes are cut by is found once")

    @classmethod
    def parse(cls, parser: Parser) -> CompactOp:
        places: list[Place] = []
        for keyword in ("", "into", "count"):
            if keyword:
                parser.parse_keyword(keyword)
            buffer, access = _parse_place(parser)
            places.append(Place(buffer, access.data))
        number = parser.parse_integer(allow_boolean=False) if parser.parse_optional_keyword("as") else None
        mask, ids, count = places
        op = cls(mask, ids, count, number)
        op.attributes |= parser.parse_optional_attr_dict()
        return op

    def print(self, printer: Printer) -> None:
        for keyword, (buffer, access) in zip((" ", " into ", " count "), self.places, strict=True):
            printer.print_string(keyword)
            _print_place(printer, buffer, access)
        if self.number is not None:
            printer.print_string(f" as {self.number.value.data}")
        _tail(self, printer)


@irdl_op_definition
class PackOp(TileOperation):
    """Into how many rows of at most `width` kept elements a mask is cut, each within one window of `window` columns of
    `height` rows, one unless said (`sx.pack`): what `tile.masked` takes that many rows for.

    `tile.pack %0<0 [8, 64] [64, 1]> into %1<0 [1] [1]> window 128 width 32`
    """

    name = "tile.pack"
    ACCESSES: ClassVar[tuple[str, ...]] = ("mask_access", "count_access")
    mask = operand_def(BufferType)
    count = operand_def(BufferType)
    mask_access = prop_def(AccessAttr)
    count_access = prop_def(AccessAttr)
    window = prop_def(IntegerAttr)
    width = prop_def(IntegerAttr)
    height = prop_def(IntegerAttr)

    def __init__(self, mask: Place, count: Place, packing: RowPacking) -> None:
        properties: dict[str, Attribute | None] = {
            "mask_access": AccessAttr(mask.access),
            "count_access": AccessAttr(count.access),
            **_packing_properties(packing),
        }
        super().__init__(operands=[mask.buffer, count.buffer], properties=properties)

    @property
    def packing(self) -> RowPacking:
        """How the mask is packed."""
        return RowPacking(self.window.value.data, self.width.value.data, self.height.value.data)

    @property
    def places(self) -> tuple[tuple[SSAValue, Access], ...]:
        return ((self.mask, self.mask_access.data), (self.count, self.count_access.data))

    @property
    def axes(self) -> tuple[tuple[str, ...], ...]:
        return (("rows", "columns"), ("count",))

    @property
    def written(self) -> tuple[int, ...]:
        return (1,)

    def verify_(self) -> None:
        super().verify_()
        _verify_mask(self.mask, self.mask_access.data)
        _verify_words(self.count, self.count_access.data)

    @classmethod
    def parse(cls, parser: Parser) -> PackOp:
        mask = _parse_operand(parser)
        parser.parse_keyword("into")
        count = _parse_operand(parser)
        op = cls(mask, count, _parse_packing(parser))
        op.attributes |= parser.parse_optional_attr_dict()
        return op

    def print(self, printer: Printer) -> None:
        printer.print_string(" ")
        _print_place(printer, self.mask, self.mask_access.data)
        printer.print_string(" into ")
        _print_place(printer, self.count, self.count_access.data)
        _print_packing(printer, self.packing)
        _tail(self, printer)


def _packing_properties(packing: RowPacking) -> dict[str, Attribute]:
    return {name: IntegerAttr(getattr(packing, name), i64) for name in ("window", "width", "height")}


def _parse_packing(parser: Parser) -> RowPacking:
    numbers: list[int] = []
    for keyword in ("window", "width"):
        parser.parse_keyword(keyword)
        numbers.append(parser.parse_integer(allow_boolean=False, allow_negative=False))
    if parser.parse_optional_keyword("height"):
        numbers.append(parser.parse_integer(allow_boolean=False, allow_negative=False))
    return RowPacking(*numbers)


def _print_packing(printer: Printer, packing: RowPacking) -> None:
    height = "" if packing.height == 1 else f" height {packing.height}"
    printer.print_string(f" window {packing.window} width {packing.width}{height}")


def _verify_words(buffer: SSAValue, access: Access) -> None:
    if buffer_type(buffer).format is not Format.I32 or access.rank != 1 or access.strides != (1,):
        raise VerifyException("ids and their count are contiguous i32")


def _verify_mask(buffer: SSAValue, access: Access) -> None:
    if buffer_type(buffer).format is not Format.B1:
        raise VerifyException("a mask is packed bits, !bnn.unipolar")
    if access.rank != 2 or access.strides[1] != 1:
        raise VerifyException("a mask has rows, which are contiguous")


Tile = Dialect(
    "tile",
    [
        TensorOp,
        AllocOp,
        RetypeOp,
        KernelOp,
        ForOp,
        CopyOp,
        GatherOp,
        ScatterOp,
        ProductOp,
        MaskedProductOp,
        StructuredProductOp,
        PassOp,
        TopOp,
        CompactOp,
        PackOp,
    ],
    [BufferType, AccessAttr, ExtentAttr, ValueAttr],
)
