"""Extent registers for sizes that a count of the run cuts.

Right behind the `sx.compact` that finds a count, one vector pass makes a table of every size that it leaves: of each
template that is cut, at each turn of the loops that its size goes by. In front of an instruction `load.extent` takes
its size from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from math import prod

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import Block, Operation, SSAValue

from ...dialects.affine_form import Access, AffineForm, CountForm, Minimum, dense_strides
from ...dialects.context import CompilerContext
from ...dialects.isa import FieldValue, InstructionOperation, operation_class
from ...dialects.tile import AllocOp, BufferType, CopyOp, ForOp, KernelOp, PassOp, Place, TensorOp, stage_of
from ...isa.fields import EXTENT_REGISTERS
from ...isa.formats import Format
from ...isa.frozen import frozen

Ints = NDArray[np.int64]

LEFT = "r0 = mul(a, c1); r1 = add(r0, b); r2 = min(r1, c0); r3 = max(r2, 0); out r3"
"""Of a factor, a rest and the size without a count (c0) to what the count (c1) leaves of it."""


@frozen
class _Size:
    """A size in the table of a count: where it stands, which goes by loop indices, and what it is at most."""

    place: AffineForm
    most: Minimum


class CountTable:
    """The sizes that one count leaves: rows of factors, rests and sizes without the count, as `LEFT` takes them."""

    def __init__(self) -> None:
        self._parts: list[Ints] = []
        self._known: dict[bytes, int] = {}
        self._entries = 0

    def size(self, cut: CountForm, forms: Sequence[AffineForm], trips: Sequence[int]) -> _Size:
        """The place of a size in loops of so many `trips`."""
        used = [depth for depth in range(len(trips)) if any(form.coefficient(depth) for form in (cut.rest, *forms))]
        turns = [trips[depth] for depth in used]
        indices: list[Ints | int] = [0] * len(trips)
        for depth, index in zip(used, np.indices(turns).reshape(len(turns), prod(turns)), strict=True):
            indices[depth] = index
        rows = [cut.rest.evaluate(indices), np.min(np.broadcast_arrays(*(f.evaluate(indices) for f in forms)), axis=0)]
        part = np.stack([np.broadcast_to(row, (prod(turns),)) for row in (cut.factor, *rows)])
        start = self._known.get(part.tobytes())
        if start is None:
            start = self._known[part.tobytes()] = self._entries
            self._parts.append(part)
            self._entries += part.shape[1]
        steps = dict(zip(used, dense_strides(turns), strict=True))
        place = AffineForm(tuple(steps.get(depth, 0) for depth in range(len(trips))), start)
        return _Size(place, Minimum(tuple(forms)))

    @property
    def values(self) -> NDArray[np.int32]:
        """All rows, [3, sizes]."""
        return np.concatenate(self._parts, axis=1).astype(np.int32)


@frozen(eq=False)
class _Load:
    """A template that has a size in a register, and where that is loaded from."""

    template: InstructionOperation
    register: int
    queue: str
    count: int
    size: _Size


class CountRegisters:
    """The registers of one function's templates."""

    def __init__(self, context: CompilerContext) -> None:
        self._context = context
        self._free = cycle(range(EXTENT_REGISTERS))
        self._tables: dict[int, CountTable] = {}
        self._loads: list[_Load] = []
        # The block in which a register was loaded last, and with what.
        self._held: list[tuple[Block, str] | None] = [None] * EXTENT_REGISTERS

    def fresh(self) -> int:
        """The register that was taken longest ago."""
        register = next(self._free)
        self._held[register] = None
        return register

    def take(self, template: InstructionOperation) -> None:
        """Let a template have registers for the sizes that counts cut."""
        fields = {
            name: -1 - self._loaded(template, value) if isinstance(value, Minimum) and value.counts else value
            for name, value in template.values.data
        }
        template.values = type(template.values)(tuple(fields.items()))

    def _loaded(self, template: InstructionOperation, value: Minimum) -> int:
        """The register that holds a size at a template; the same block may have loaded it before."""
        (cut,) = value.counts
        size = self._tables.setdefault(cut.count, CountTable()).size(cut, value.forms, _trips(template))
        block, engine = template.parent_block(), template.RECORD.engine
        assert block is not None
        assert engine is not None
        queue = self._context.target.queue(engine).name
        told = block, f"{queue} {cut.count} {size.place} {stage_of(template)}"
        if told in self._held:
            return self._held.index(told)
        register = self.fresh()
        self._held[register] = told
        self._loads.append(_Load(template, register, queue, cut.count, size))
        return register

    def make_tables(self, counts: Mapping[int, tuple[Operation, SSAValue]]) -> bool:
        """Write what makes the tables, as tile operations, behind the operations that find `counts` and leave them in
        buffers, and the loads of registers; whether there are any."""
        made = {number: self._table(self._tables[number], *counts[number]) for number in self._tables}
        for load in self._loads:
            address = [("address", made[load.count], load.size.place * Format.I32.bytes)]
            fields: dict[str, FieldValue] = {"register": load.register, "maximum": load.size.most}
            setter = operation_class("load.extent")(address, fields, queue=load.queue)
            setter.location, setter.attributes = load.template.location, dict(load.template.attributes)
            block = load.template.parent_block()
            assert block is not None
            block.insert_op_before(setter, load.template)
        return bool(made)

    def _table(self, table: CountTable, finder: Operation, count: SSAValue) -> SSAValue:
        """The buffer that has the sizes."""
        values, kernel, block = table.values, finder.parent_op(), finder.parent_block()
        assert isinstance(kernel, KernelOp)
        assert block is not None
        outer, sizes = kernel.parent_block(), values.shape[1]
        assert outer is not None
        key = self._context.store.anonymous(values)
        stored = TensorOp(key, "weight", BufferType("dram", values.shape, Format.I32), key)
        left = AllocOp(BufferType("sram", (sizes,), Format.I32))
        outer.insert_ops_before([stored, left], kernel)
        held = AllocOp(BufferType("sram", values.shape, Format.I32))
        whole, line = Access.whole(values.shape), ((1, sizes), (sizes, 1))
        factor, rest = (Place(held.result, Access.of(row * sizes, *line)) for row in range(2))
        most, number = Place(held.result, Access.of(2 * sizes, (sizes,), (1,))), Place(count, Access.of(0, (), ()))
        fill = PassOp(
            LEFT,
            Minimum.of(1),
            Minimum.of(sizes),
            [factor, rest],
            [("row", most), ("scalar", number)],
            Place(left.result, Access.of(0, *line)),
        )
        made = [held, CopyOp(stored.result, whole, held.result, whole), fill]
        for op in made:
            op.location = finder.location
        block.insert_ops_after(made, finder)
        return left.result


def _trips(op: Operation) -> list[int]:
    """Iterations of the loops around an operation, outermost first."""
    found: list[int] = []
    parent = op.parent_op()
    while parent is not None:
        if isinstance(parent, ForOp):
            found.append(parent.trips)
        parent = parent.parent_op()
    return found[::-1]
