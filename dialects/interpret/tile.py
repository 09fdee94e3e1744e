"""Running tile IR on numpy arrays: every operation is its instruction's arithmetic on views of flat buffers.

Also checked: accesses lie inside their buffer, nothing is read that was never written (both as the machine's memory
check would), and nothing as another type than it was written as.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Operation, SSAValue

from ...isa.errors import Fault, InputError
from ...isa.formats import KIND_DTYPES, Array, Format, narrow, widen
from ...isa.instructions.sparse import compacted, greatest
from ...isa.lanes import REDUCTIONS
from ...isa.matrix import MatrixMode, Values, multiply
from ...isa.structures import Structure, named_rows, spread
from ..affine_form import Access, Minimum
from ..constants import ConstantStore
from ..tile import (
    AllocOp,
    BufferType,
    CompactOp,
    CopyOp,
    ForOp,
    GatherOp,
    KernelOp,
    MaskedProductOp,
    MatrixProduct,
    PackOp,
    PassOp,
    RetypeOp,
    ScatterOp,
    StructuredProductOp,
    TensorOp,
    TopOp,
    buffer_type,
    stage_of,
)

Observer: TypeAlias = Callable[[KernelOp, Mapping[str, Array]], None]

UNWRITTEN = 255
"""The mark of elements that nothing wrote: the code of no format."""


@dataclass
class _Buffer:
    """A buffer's elements, flat, with the `mark` of the format that each was last written as (UNWRITTEN: never).
    Packed elements are int8, as lanes read them."""

    elements: Array
    written: NDArray[np.uint8]
    mark: int

    @staticmethod
    def blank(buffer: BufferType) -> _Buffer:
        dtype = np.dtype(np.int8) if buffer.format.packed else buffer.format.dtype
        written = np.full(buffer.elements, UNWRITTEN, np.uint8)
        return _Buffer(np.zeros(buffer.elements, dtype), written, buffer.format.code)

    def retyped(self, form: Format) -> _Buffer:
        """The same bytes as elements of another format of their width."""
        return _Buffer(self.elements.view(form.dtype), self.written, form.code)


@dataclass
class _Scope:
    """Buffers made in a block run, over those of the runs around it."""

    outer: _Scope | None
    buffers: dict[SSAValue, _Buffer]

    def find(self, value: SSAValue) -> _Buffer:
        scope: _Scope | None = self
        while scope is not None:
            if value in scope.buffers:
                return scope.buffers[value]
            scope = scope.outer
        raise KeyError(f"buffer {value} was not made")


def run(
    module: ModuleOp,
    inputs: Mapping[str, Array],
    store: ConstantStore,
    observe: Observer | None = None,
) -> dict[str, Array]:
    """Run `@main` on inputs by tensor name; gives the outputs by tensor name.

    `observe` sees each kernel when it is done, with the ONNX values that it leaves. Raises Fault for what the machine
    would fault on, InputError for a missing or misshapen input.
    """
    function = next(op for op in module.ops if isinstance(op, FuncOp) and op.sym_name.data == "main")
    runner = _Runner(inputs, store, observe)
    scope = _Scope(None, {})
    runner.block(function.body.block, (), scope)
    outputs = [op for op in function.body.block.ops if isinstance(op, TensorOp) and op.role.data == "output"]
    return {op.label.data: _shaped(scope.find(op.result), buffer_type(op.result)) for op in outputs}


def _shaped(buffer: _Buffer, kind: BufferType) -> Array:
    if not (buffer.written == buffer.mark).all():
        raise Fault("an output was not written everywhere")
    return buffer.elements.reshape(kind.extents)


def _reach(
    access: Access, indices: Sequence[int], length: int, counts: Mapping[int, int]
) -> tuple[int, tuple[int, ...]]:
    """The offset and sizes of an access at loop `indices`; a Fault where it leaves a buffer of `length` elements."""
    offset = access.offset.evaluate(indices)
    sizes = tuple(size.evaluate(indices, counts) for size in access.sizes)
    if 0 not in sizes:
        moves = [(size - 1) * stride for size, stride in zip(sizes, access.strides, strict=True)]
        low, high = offset + sum(min(0, m) for m in moves), offset + sum(max(0, m) for m in moves)
        if low < 0 or high >= length:
            raise Fault(f"elements {low} to {high} of a buffer of {length}")
    return offset, sizes


class _Runner:
    def __init__(self, inputs: Mapping[str, Array], store: ConstantStore, observe: Observer | None) -> None:
        self._inputs = inputs
        self._store = store
        self._observe = observe
        self._counts: dict[int, int] = {}

    def block(self, block: Block, indices: tuple[int, ...], scope: _Scope) -> None:
        """Run the operations of a block in order."""
        for op in block.ops:
            self._operation(op, indices, scope)

    def _operation(self, op: Operation, indices: tuple[int, ...], scope: _Scope) -> None:
        match op:
            case TensorOp():
                scope.buffers[op.result] = self._tensor(op)
            case AllocOp():
                scope.buffers[op.result] = _Buffer.blank(buffer_type(op.result))
            case RetypeOp():
                scope.buffers[op.result] = scope.find(op.buffer).retyped(buffer_type(op.result).format)
            case KernelOp():
                inner = _Scope(scope, {})
                self.block(op.body.block, indices, inner)
                if self._observe is not None:
                    self._observe(op, self._values(op, inner))
            case ForOp():
                self._loop(op, indices, scope)
            case CopyOp():
                self._copy(op, indices, scope)
            case GatherOp() | ScatterOp():
                self._rows_by_index(op, indices, scope)
            case MatrixProduct():
                self._product(op, indices, scope)
            case PassOp():
                self._pass(op, indices, scope)
            case TopOp():
                kept = greatest(self._read(op.places[0], indices, scope), op.keep.value.data)
                self._write(op.places[1], indices, scope, kept)
            case CompactOp():
                self._compact(op, indices, scope)
            case PackOp():
                self._pack(op, indices, scope)
            case ReturnOp():
                pass
            case _:
                raise TypeError(f"{op.name} is no tile operation")

    def _tensor(self, op: TensorOp) -> _Buffer:
        kind = buffer_type(op.result)
        name = op.label.data
        if op.key is not None:
            array = self._store.get(op.key.data)
        elif op.role.data == "input":
            if name not in self._inputs:
                raise InputError(name, "this input is missing")
            array = np.asarray(self._inputs[name])
        else:
            return _Buffer.blank(kind)
        if array.nbytes != kind.bytes or array.dtype != kind.format.dtype:
            raise InputError(name, f"expected {kind}, got {array.dtype} {array.shape}")
        if kind.format.packed:
            array = widen(array, kind.format).astype(np.int8)
        elements = np.ascontiguousarray(array).reshape(-1).copy()
        return _Buffer(elements, np.full(kind.elements, kind.format.code, np.uint8), kind.format.code)

    def _loop(self, op: ForOp, indices: tuple[int, ...], scope: _Scope) -> None:
        members = [(inner, stage_of(inner)) for inner in op.body.block.ops]
        deepest = max((stage for _, stage in members), default=0)
        scopes: dict[int, _Scope] = {}
        for slot in range(op.trips + deepest):
            for inner, stage in members:
                iteration = slot - stage
                if 0 <= iteration < op.trips:
                    here = scopes.setdefault(iteration, _Scope(scope, {}))
                    self._operation(inner, (*indices, iteration), here)
            scopes.pop(slot - deepest, None)

    def _values(self, op: KernelOp, scope: _Scope) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for attribute in op.values:
            value = attribute.data
            buffer = scope.find(op.outputs[value.operand])
            offset, sizes = _reach(value.access, (), len(buffer.elements), self._counts)
            found[value.name] = _view(buffer.elements, offset, sizes, value.access.strides).copy()
        return found

    def _read(self, place: tuple[SSAValue, Access], indices: Sequence[int], scope: _Scope) -> Array:
        buffer = scope.find(place[0])
        offset, sizes = _reach(place[1], indices, len(buffer.elements), self._counts)
        marks = _view(buffer.written, offset, sizes, place[1].strides)
        if not (marks == buffer.mark).all():
            other = UNWRITTEN not in marks
            what = "that were written as another type" if other else "that nothing wrote"
            raise Fault(f"elements {what} are read: {place[1]} at {tuple(indices)}")
        return _view(buffer.elements, offset, sizes, place[1].strides)

    def _write(self, place: tuple[SSAValue, Access], indices: Sequence[int], scope: _Scope, values: Array) -> None:
        buffer = scope.find(place[0])
        offset, sizes = _reach(place[1], indices, len(buffer.elements), self._counts)
        _view(buffer.elements, offset, sizes, place[1].strides)[...] = values
        _view(buffer.written, offset, sizes, place[1].strides)[...] = buffer.mark

    def _copy(self, op: CopyOp, indices: tuple[int, ...], scope: _Scope) -> None:
        source, target, *count = op.places
        for place in count:
            (number,) = self._read(place, indices, scope)
            if not 0 <= number <= source[1].sizes[0].evaluate(indices):
                raise Fault(f"a copy of {number} of {source[1].sizes[0]}")
            sizes = (Minimum.of(int(number)), *source[1].sizes[1:])
            source, target = ((buffer, replace(access, sizes=sizes)) for buffer, access in (source, target))
        self._write(target, indices, scope, self._read(source, indices, scope).copy())

    def _rows_by_index(self, op: GatherOp | ScatterOp, indices: tuple[int, ...], scope: _Scope) -> None:
        ids_place, table_place, rows_place = op.places
        ids = self._read(ids_place, indices, scope)
        limit = op.limit.value.data
        wrong = ids[(ids < 0) | (ids >= limit)]
        if wrong.size:
            raise Fault(f"id {wrong[0]} is outside 0..{limit}")
        table = scope.find(table_place[0])
        offset, sizes = _reach(table_place[1], indices, len(table.elements), self._counts)
        strides = table_place[1].strides
        if isinstance(op, GatherOp):
            self._write(rows_place, indices, scope, _view(table.elements, offset, sizes, strides)[ids])
            return
        rows = self._read(rows_place, indices, scope)
        for index, row in zip(ids, rows, strict=True):
            _view(table.elements, offset, sizes, strides)[index] = row
            _view(table.written, offset, sizes, strides)[index] = table.mark

    def _product(self, op: MatrixProduct, indices: tuple[int, ...], scope: _Scope) -> None:
        sizes = (size for _, access in op.places for size in access.sizes)
        if any(size.evaluate(indices, self._counts) == 0 for size in sizes):
            return
        a, b = self._read(op.places[0], indices, scope), self._read(op.places[1], indices, scope)
        acc = op.places[2]
        shown: Array | None = None
        if isinstance(op, MaskedProductOp):
            mask = self._read(op.places[3], indices, scope) != 0
            self._check_packed(op, mask, indices, scope)
            if op.masked.data == "left":
                a = np.where(mask, a, np.zeros((), a.dtype))
            else:
                shown = mask
        if op.transpose_b is not None:
            b = b.T
        if isinstance(op, StructuredProductOp):
            b = _whole(b, self._read(op.places[3], indices, scope), op.structure, a.shape[1])
        result = _multiply(a, b, MatrixMode.parse(op.mode.data), op.values)
        if shown is not None:
            result = np.where(shown, result, np.zeros((), result.dtype))
        if op.accumulate is not None and op.accumulate.data.evaluate(indices) > 0:
            result = self._read(acc, indices, scope) + result
        self._write(acc, indices, scope, result)

    def _pass(self, op: PassOp, indices: tuple[int, ...], scope: _Scope) -> None:
        rows, columns = (size.data.evaluate(indices, self._counts) for size in (op.rows, op.columns))
        if rows * columns == 0:
            return
        streams = [self._lanes(place, indices, scope) for place in op.stream_places]
        shapes = {"scalar": (1, 1), "row": (1, columns), "column": (rows, 1)}
        broadcasts = [
            self._lanes((buffer, access), indices, scope).reshape(shapes[kind])
            for kind, buffer, access in op.broadcast_places
        ]
        program = op.lane_program
        axes = [1 if direction == "columns" else 0 for direction, _, _ in op.reduction_places]
        result = program.run(streams, broadcasts, rows, columns, axes)
        accumulate = op.accumulate is not None and op.accumulate.data.evaluate(indices) > 0
        # All reads precede all writes, also those of the old reductions.
        folded: list[Any] = []
        places = [(buffer, access) for _, buffer, access in op.reduction_places]
        for (name, _), place, values in zip(program.reductions, places, result.reductions, strict=True):
            combine = REDUCTIONS[name].combine
            if accumulate and combine is None:
                raise Fault(f"reduction {name} cannot accumulate")
            old = self._read(place, indices, scope) if accumulate else values
            folded.append(combine(old, values) if accumulate and combine is not None else values)
        if op.out_place is not None and result.output is not None:
            form = buffer_type(op.out_place[0]).format
            stored = narrow(result.output, form)
            if form.packed:
                stored = widen(stored, form)[..., :columns].astype(np.int8)
            self._write(op.out_place, indices, scope, stored.copy())
        for place, values in zip(places, folded, strict=True):
            self._write(place, indices, scope, values)

    def _check_packed(self, op: MaskedProductOp, mask: Array, indices: tuple[int, ...], scope: _Scope) -> None:
        limit = op.limit.value.data
        packed = limit if op.counted is None else int(self._read(op.counted, indices, scope)[0])
        rows = op.packing.count(mask)
        if not rows <= packed <= limit:
            raise Fault(f"the mask packs into {rows} rows, {packed} are taken, of at most {limit}")

    def _pack(self, op: PackOp, indices: tuple[int, ...], scope: _Scope) -> None:
        mask = self._read(op.places[0], indices, scope)
        if mask.size:
            count = op.packing.count(mask != 0)
            self._write(op.places[1], indices, scope, np.array([count], np.int32))

    def _compact(self, op: CompactOp, indices: tuple[int, ...], scope: _Scope) -> None:
        mask, ids, count = op.places
        columns = ids[1].sizes[0].evaluate(indices, self._counts)
        bits = np.packbits(self._read(mask, indices, scope) != 0, axis=1, bitorder="little")
        ids_found, number = compacted(bits, columns)
        self._write(ids, indices, scope, ids_found)
        self._write(count, indices, scope, np.array([number], np.int32))
        if op.number is not None:
            self._counts[op.number.value.data] = number

    def _lanes(self, place: tuple[SSAValue, Access], indices: Sequence[int], scope: _Scope) -> Array:
        form, found = buffer_type(place[0]).format, self._read(place, indices, scope).copy()
        return found.astype(KIND_DTYPES[form.kind]) if form.packed else widen(found, form)


def _whole(b: Array, places: Array, structure: Structure, depth: int) -> Array:
    whole = np.zeros((len(b) // structure.kept * structure.group, b.shape[1]), b.dtype)
    spread(b, named_rows(places, structure.kept, structure.group), structure.kept, whole)
    return whole[:depth]


def _multiply(a: Array, b: Array, mode: MatrixMode, values: tuple[Values, Values] | None) -> Array:
    if values is None:
        return multiply(a, b, mode)
    left, right = (
        2 * side.astype(np.float64) - 1 if held is Values.BIPOLAR else side.astype(np.float64)
        for side, held in zip((a, b), values, strict=True)
    )
    return np.matmul(left, right).astype(np.int32)


def _view(flat: Array, offset: int, sizes: Sequence[int], strides: Sequence[int]) -> Array:
    if 0 in sizes:
        return np.zeros(sizes, flat.dtype)
    width = flat.itemsize
    return np.lib.stride_tricks.as_strided(flat[offset:], sizes, [stride * width for stride in strides])
