"""The pass that turns tile operations into instruction templates: byte addresses and strides, formats,
engines.

Loops, kernels and buffers stay as they are; every operation on buffers becomes one template in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from ...dialects.affine_form import Access, AffineForm, CountForm, Minimum
from ...dialects.context import CompilerContext
from ...dialects.isa import FieldValue, InstructionOperation, operation_class
from ...dialects.tile import (
    MASKED,
    CompactOp,
    CopyOp,
    GatherOp,
    MaskedProductOp,
    MatrixProduct,
    PackOp,
    PassOp,
    ProductOp,
    ScatterOp,
    StructuredProductOp,
    TopOp,
    buffer_type,
)
from ...isa.engines import Engine
from ...isa.formats import Format
from ...isa.instructions.transfers import ELEMENT_CODES
from ...isa.instructions.vector import BROADCAST_KINDS, DIRECTIONS
from ...isa.lanes import LaneProgram
from ...isa.matrix import MatrixMode
from .count_registers import CountRegisters

Addresses = list[tuple[str, SSAValue, AffineForm]]

REDUCED_TO = {"columns": DIRECTIONS["each_row"], "rows": DIRECTIONS["each_column"]}
"""A reduction across columns gives one value a row, one across rows one value a column."""


@dataclass(frozen=True)
class LowerTile(ModulePass):
    """Replace every operation of the `tile` dialect that acts on buffers by an instruction template."""

    name = "lower-tile"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Replace the operations in place; locations and stages are kept."""
        context = CompilerContext.of(ctx)
        registers = CountRegisters(context)
        counts = _replace(op, context, registers)
        if registers.make_tables(counts):
            _replace(op, context, registers)


def _replace(
    module: ModuleOp, context: CompilerContext, registers: CountRegisters
) -> dict[int, tuple[Operation, SSAValue]]:
    """Replace all tile operations; gives what finds a count and leaves it in which buffer, by the count's number."""
    counts: dict[int, tuple[Operation, SSAValue]] = {}
    for old in list(module.walk()):
        template = _TEMPLATES.get(type(old))
        if type(old) is MaskedProductOp:
            new = masked_templates(old, registers.fresh(), context.target.queue(Engine.MX).name)
        elif type(old) is CopyOp and old.count is not None:
            new = counted_templates(old, registers.fresh(), context.target.queue(Engine.LD).name)
        elif template is not None:
            new = (template(old),)
        else:
            continue
        block = old.parent_block()
        assert block is not None
        for made in new:
            made.location = old.location
            made.attributes |= old.attributes
            block.insert_op_before(made, old)
            if counts:
                registers.take(made)
        if type(old) is CompactOp and old.number is not None:
            counts[old.number.value.data] = new[0], old.count
        old.detach()
        old.erase()
    return counts


def copy_template(op: CopyOp, outermost: int | None = None) -> InstructionOperation:
    """`ld.block` or `st.block` of a copy; missing outer dimensions have one element. `outermost`: the outermost extent
    as it stands in the instruction, where it is not the copy's."""
    form = buffer_type(op.source).format
    load = op.is_load
    dram, chip = (
        (op.source_access.data, op.target_access.data) if load else (op.target_access.data, op.source_access.data)
    )
    buffers = (op.source, op.target) if load else (op.target, op.source)
    values: dict[str, FieldValue] = {"element": ELEMENT_CODES[max(1, form.bytes)]}
    # Of packed elements whole bytes are copied: a row, along which both sides have them side by side, by its bytes.
    in_row = form.packed and chip.rank > 0 and chip.strides[-1] == dram.strides[-1] == 1
    for axis, size in enumerate(chip.sizes, 4 - chip.rank):
        values[f"n{axis}"] = _row_bytes(size, form) if in_row and axis == 3 else size
    if outermost is not None:
        assert chip.rank > 1 or not in_row
        values[f"n{4 - chip.rank}"] = outermost
    for side, access in (("dram", dram), ("chip", chip)):
        for axis, stride in enumerate(access.strides, 4 - access.rank):
            size = access.sizes[axis - 4 + access.rank]
            values[f"{side}_stride{axis}"] = 1 if in_row and axis == 3 else _stride(stride, size, form)
    addresses = [("dram", buffers[0], _bytes(dram.offset, form)), ("chip", buffers[1], _bytes(chip.offset, form))]
    return operation_class("ld.block" if load else "st.block")(addresses, values)


def counted_templates(op: CopyOp, register: int, queue: str) -> tuple[InstructionOperation, ...]:
    """`ld.block` of as many outermost parts as an extent register says, and before it in its queue the
    `load.extent`."""
    count, counted = op.places[2]
    outermost = op.source_access.data.sizes[0].constant
    assert outermost is not None
    made = copy_template(op, -1 - register)
    return _load_extent(count, counted, register, outermost, queue), made


def _load_extent(buffer: SSAValue, access: Access, register: int, maximum: int, queue: str) -> InstructionOperation:
    address = [("address", buffer, access.offset * Format.I32.bytes)]
    return operation_class("load.extent")(address, {"register": register, "maximum": maximum}, queue=queue)


def rows_template(op: GatherOp | ScatterOp) -> InstructionOperation:
    """`ld.gather` or `st.scatter`."""
    element = buffer_type(op.rows).format.bytes
    ids, table, rows = op.ids_access.data, op.table_access.data, op.rows_access.data
    addresses = [
        ("table", op.table, table.offset * element),
        ("ids", op.ids, ids.offset * buffer_type(op.ids).format.bytes),
        ("chip", op.rows, rows.offset * element),
    ]
    values: dict[str, FieldValue] = {
        "pitch": table.strides[0] * element,
        "limit": op.limit.value.data,
        "count": rows.sizes[0],
        "row_bytes": _scaled(rows.sizes[1], element),
        "chip_stride": rows.strides[0] * element,
    }
    return operation_class("ld.gather" if isinstance(op, GatherOp) else "st.scatter")(addresses, values)


def product_template(op: ProductOp) -> InstructionOperation:
    """`mx.product`."""
    return operation_class("mx.product")(*_product_fields(op))


def structured_template(op: StructuredProductOp) -> InstructionOperation:
    """`mx.structured`."""
    addresses, values = _product_fields(op)
    structure, access = op.structure, op.indices_access.data
    form = structure.index_format
    addresses.append(("indices", op.indices, _bytes(access.offset, form)))
    values |= {
        "indices_stride": _stride(access.strides[0], access.sizes[0], form),
        "kept": structure.kept,
        "group": structure.group_code,
    }
    return operation_class("mx.structured")(addresses, values)


def masked_templates(op: MaskedProductOp, register: int, queue: str) -> tuple[InstructionOperation, ...]:
    """`mx.masked`, of as many rows as an extent register says with the `load.extent` before it in its queue, or of as
    many as are known."""
    addresses, values = _product_fields(op)
    mask, bits = op.places[3]
    addresses.append(("mask", mask, _bytes(bits.offset, Format.B1)))
    values |= {
        "mask_stride": _stride(bits.strides[0], bits.sizes[0], Format.B1),
        "masked": MASKED.index(op.masked.data),
        "packed": op.limit.value.data if op.counted is None else -1 - register,
        "window": op.window.value.data,
        "width": op.width.value.data,
        "height": op.height.value.data,
    }
    made = operation_class("mx.masked")(addresses, values)
    if op.counted is None:
        return (made,)
    return _load_extent(*op.counted, register, op.limit.value.data, queue), made


def _product_fields(op: MatrixProduct) -> tuple[Addresses, dict[str, FieldValue]]:
    mode = MatrixMode.parse(op.mode.data)
    transposed = op.transpose_b is not None
    m, k = op.a_access.data.sizes
    n = op.acc_access.data.sizes[1]
    values: dict[str, FieldValue] = {"mode": mode.code, "m": m, "n": n, "k": k}
    addresses: Addresses = []
    for name, buffer, access in (
        ("acc", op.acc, op.acc_access.data),
        ("a", op.a, op.a_access.data),
        ("b", op.b, op.b_access.data),
    ):
        form = buffer_type(buffer).format
        addresses.append((name, buffer, _bytes(access.offset, form)))
        values[f"{name}_stride"] = _stride(access.strides[0], access.sizes[0], form)
    if op.values is not None:
        values |= {"a_values": op.values[0].code, "b_values": op.values[1].code}
    if op.accumulate is not None:
        values["accumulate"] = op.accumulate.data.at_most(1)
    if transposed:
        values["transpose_b"] = 1
    return addresses, values


def pass_template(op: PassOp) -> InstructionOperation:
    """`vx.pass`; its lane program stays text until slots are assigned."""
    rows, columns = op.rows.data, op.columns.data
    values: dict[str, FieldValue] = {"rows": rows, "columns": columns}
    addresses: Addresses = []

    def stream(name: str, buffer: SSAValue, access: Access) -> None:
        kind = buffer_type(buffer)
        addresses.append((name, buffer, _bytes(access.offset, kind.format)))
        values[f"{name}_stride"] = _stride(access.strides[0], rows, kind.format)
        values[f"{name}_format"] = kind.format.code

    streams, broadcasts, outs, reductions = op.grouped_places
    for name, place in zip("ab", streams, strict=False):
        stream(name, *place)
    for place in outs:
        stream("out", *place)
    for number, (kind, (buffer, access)) in enumerate(zip(op.kinds, broadcasts, strict=True)):
        form = buffer_type(buffer).format
        addresses.append((f"c{number}", buffer, access.offset * form.bytes))
        values[f"c{number}_kind"] = BROADCAST_KINDS[kind.data]
        values[f"c{number}_format"] = form.code
    for number, (direction, (buffer, access)) in enumerate(zip(op.directions, reductions, strict=True)):
        addresses.append((f"reduction{number}", buffer, access.offset * buffer_type(buffer).format.bytes))
        values[f"reduction{number}_direction"] = REDUCED_TO[direction.data]
    if op.accumulate is not None:
        values["accumulate"] = op.accumulate.data.at_most(1)
    # Parsed and printed once more, so that equal programs have equal texts.
    return operation_class("vx.pass")(addresses, values, program=str(LaneProgram.parse(op.program.data)))


def top_template(op: TopOp) -> InstructionOperation:
    """`sx.top`."""
    (values, place), (mask, bits) = op.places
    rows, columns = place.sizes
    form = buffer_type(values).format
    fields: dict[str, FieldValue] = {
        "format": form.code,
        "rows": rows,
        "columns": columns,
        "keep": op.keep.value.data,
        "values_stride": _stride(place.strides[0], rows, form),
        "mask_stride": _stride(bits.strides[0], rows, Format.B1),
    }
    addresses = [("values", values, place.offset * form.bytes), ("mask", mask, _bytes(bits.offset, Format.B1))]
    return operation_class("sx.top")(addresses, fields)


def compact_template(op: CompactOp) -> InstructionOperation:
    """`sx.compact`."""
    (mask, bits), (ids, listed), (count, counted) = op.places
    rows = bits.sizes[0]
    fields: dict[str, FieldValue] = {
        "rows": rows,
        "columns": listed.sizes[0],
        "mask_stride": _stride(bits.strides[0], rows, Format.B1),
    }
    word = Format.I32.bytes
    addresses = [
        ("mask", mask, _bytes(bits.offset, Format.B1)),
        ("ids", ids, listed.offset * word),
        ("count", count, counted.offset * word),
    ]
    return operation_class("sx.compact")(addresses, fields)


def pack_template(op: PackOp) -> InstructionOperation:
    """`sx.pack`."""
    (mask, bits), (count, counted) = op.places
    rows, columns = bits.sizes
    fields: dict[str, FieldValue] = {
        "rows": rows,
        "columns": columns,
        "mask_stride": _stride(bits.strides[0], rows, Format.B1),
        "window": op.window.value.data,
        "width": op.width.value.data,
        "height": op.height.value.data,
    }
    addresses = [
        ("mask", mask, _bytes(bits.offset, Format.B1)),
        ("count", count, counted.offset * Format.I32.bytes),
    ]
    return operation_class("sx.pack")(addresses, fields)


_TEMPLATES: dict[type[Operation], Callable[[Any], InstructionOperation]] = {
    CopyOp: copy_template,
    GatherOp: rows_template,
    ScatterOp: rows_template,
    StructuredProductOp: structured_template,
    ProductOp: product_template,
    PassOp: pass_template,
    TopOp: top_template,
    CompactOp: compact_template,
    PackOp: pack_template,
}
"""What makes the template of an operation, by its kind."""


def _scaled(size: Minimum, factor: int) -> Minimum:
    counts = tuple(CountForm(cut.count, cut.factor * factor, cut.rest * factor) for cut in size.counts)
    return Minimum(tuple(form * factor for form in size.forms), counts)


def _bytes(offset: AffineForm, form: Format) -> AffineForm:
    """An offset in elements as one in bytes, which it must be."""
    if not form.packed:
        return offset * form.bytes
    parts = (*offset.coefficients, offset.constant)
    assert not any(part % form.grain for part in parts), f"{offset} of {form} is no whole byte"
    return AffineForm(tuple(part // form.grain for part in parts[:-1]), parts[-1] // form.grain)


def _row_bytes(size: Minimum, form: Format) -> Minimum:
    """Elements of a row as bytes: the last one may be used in part."""
    assert not any(factor % form.grain for part in size.forms for factor in part.coefficients)
    return Minimum(
        tuple(
            AffineForm(tuple(factor // form.grain for factor in part.coefficients), form.run_bytes(part.constant))
            for part in size.forms
        ),
        tuple(CountForm(cut.count, cut.factor // form.grain, _bytes(cut.rest, form)) for cut in size.counts),
    )


def _stride(stride: int, extent: Minimum, form: Format) -> int:
    """A stride in bytes. One along one element means nothing: zero makes equal instructions equal."""
    return 0 if extent.constant == 1 else _bytes(AffineForm((), stride), form).constant
