"""A builder of tile operations: loops as `with` blocks, tiles as spans, and operands as places in buffers."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cache

from xdsl.dialects.builtin import IntegerAttr, LocationAttr, i64
from xdsl.ir import Block, Operation, SSAValue

from ...dialects.affine_form import Access, AffineForm, Minimum, dense_strides
from ...dialects.tile import (
    AllocOp,
    BufferType,
    CopyOp,
    ForOp,
    GatherOp,
    KernelOp,
    MaskedProductOp,
    Multiplication,
    PackOp,
    PassOp,
    Place,
    ProductOp,
    RetypeOp,
    StructuredProductOp,
    TensorOp,
)
from ...isa.formats import Format
from ...isa.frozen import frozen
from ...isa.lanes import LaneProgram
from ...isa.matrix import Values
from ...isa.row_packing import RowPacking
from ...isa.structures import Structure

MAXIMUM_COPY_RANK = 4
MAXIMUM_EXTENT = 65535
"""The largest extent that an instruction's 16-bit field holds."""

NO_ROWS = LaneProgram.parse("out 0")

Size = Minimum | AffineForm | int


@frozen
class Span:
    """A piece of an axis: where it starts, and how long it is (the last piece of an axis may be shorter)."""

    start: AffineForm
    size: Minimum

    @staticmethod
    def of(start: AffineForm | int, size: Size) -> Span:
        """A span from plain integers and forms."""
        return Span(AffineForm.of(start), Minimum.of(size))

    @property
    def limit(self) -> int:
        """The longest that the span can be. Raises ValueError where nothing bounds it."""
        bound = self.size.bound
        if bound is None:
            raise ValueError(f"the size {self.size} has no constant bound")
        return bound


def tile_span(extent: int, size: int, index: AffineForm) -> Span:
    """Piece `index` of an axis of `extent` cut into pieces of `size`."""
    start = index * size
    if extent % size == 0:
        return Span(start, Minimum.of(size))
    return Span(start, Minimum((AffineForm.of(size), AffineForm.of(extent) - start)))


@frozen
class Mask:
    """What a product leaves out: `masked` says whether the bits are those of the `result` or of the `left` operand.
    Their `packing` takes no more than `limit` rows of the array; `count` is where their number lies, if it was counted
    before. Bits that the compiler knows (`known`) take `limit` rows, and nobody counts them."""

    masked: str
    bits: Place
    packing: RowPacking
    limit: int
    count: Place | None = None
    known: bool = False


@cache
def _buffer(space: str, shape: tuple[int, ...], form: Format) -> BufferType:
    return BufferType(space, shape, form)


class TileBuilder:
    """Appends tile operations to `block`. `depth` is the number of open loops: the next loop's index is d`depth`."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self._kernel: KernelOp | None = None
        self.depth = 0

    def insert(self, op: Operation, stage: int = 0) -> None:
        """Append `op`, in pipeline stage `stage` of the innermost loop."""
        if stage:
            op.attributes["stage"] = IntegerAttr(stage, i64)
        self.block.add_op(op)

    def tensor(self, label: str, role: str, shape: Sequence[int], form: Format, key: str | None = None) -> SSAValue:
        """A tensor in DRAM; see `TensorOp`."""
        op = TensorOp(label, role, BufferType("dram", shape, form), key)
        self.insert(op)
        return op.result

    def alloc(self, space: str, shape: Sequence[int], form: Format) -> SSAValue:
        """An on-chip buffer (`sram` or `acc`), dense and row-major."""
        op = AllocOp(_buffer(space, tuple(shape), form))
        self.insert(op)
        return op.result

    def retype(self, buffer: SSAValue, form: Format) -> SSAValue:
        """The bytes of an on-chip buffer as elements of another type of the same width."""
        op = RetypeOp(buffer, form)
        self.insert(op)
        return op.result

    @contextmanager
    def kernel(self, op: KernelOp, location: LocationAttr) -> Generator[None]:
        """Append a kernel and build inside it."""
        op.location = location
        self.insert(op)
        self._kernel = op
        with self._inside(op.body.block):
            yield
        self._kernel = None

    def temporary(self, label: str, shape: Sequence[int], form: Format) -> SSAValue:
        """A tensor in DRAM that only the open kernel uses, made before it."""
        assert self._kernel is not None, "temporaries belong to kernels"
        name = f"{self._kernel.label.data}.{label}"
        return self._before_kernel(TensorOp(name, "temporary", BufferType("dram", shape, form)))

    def kept(self, shape: Sequence[int], form: Format) -> SSAValue:
        """A buffer in SRAM that the open kernel leaves to the next, made before it."""
        return self._before_kernel(AllocOp(_buffer("sram", tuple(shape), form)))

    def _before_kernel(self, op: AllocOp | TensorOp) -> SSAValue:
        assert self._kernel is not None, "it is of the open kernel"
        block = self._kernel.parent_block()
        assert block is not None
        block.insert_op_before(op, self._kernel)
        return op.result

    @contextmanager
    def loop(self, count: int, stage: int = 0) -> Generator[AffineForm]:
        """`count` iterations; gives the index. No loop is made for one iteration: its index is the constant 0."""
        if count == 1 and not stage:
            yield AffineForm()
            return
        op = ForOp(count)
        self.insert(op, stage)
        index = AffineForm.index(self.depth)
        self.depth += 1
        with self._inside(op.body.block):
            yield index
        self.depth -= 1

    @contextmanager
    def tiles(self, extent: int, size: int, stage: int = 0) -> Generator[Span]:
        """A loop over the pieces of `size` of an axis of `extent`; gives the piece."""
        size = max(1, min(size, extent))
        with self.loop(-(-extent // size), stage) as index:
            yield tile_span(extent, size, index)

    @contextmanager
    def _inside(self, block: Block) -> Generator[None]:
        outer, self.block = self.block, block
        try:
            yield
        finally:
            self.block = outer

    def copy(self, source: Place, target: Place, stage: int = 0) -> None:
        """Copy a block between DRAM and the chip: any rank, cut into transfers of at most four dimensions."""
        sizes, source_strides, target_strides = _merged(source.access, target.access)
        self._copy(source, target, sizes, source_strides, target_strides, stage)

    def counted_copy(self, source: Place, target: Place, count: Place) -> None:
        """Load as many outermost parts of a block as `count` holds; see `CopyOp`."""
        self.insert(CopyOp(source.buffer, source.access, target.buffer, target.access, count))

    def _copy(
        self,
        source: Place,
        target: Place,
        sizes: list[Minimum],
        source_strides: list[int],
        target_strides: list[int],
        stage: int,
    ) -> None:
        if len(sizes) > MAXIMUM_COPY_RANK:
            axis = next(axis for axis, size in enumerate(sizes) if size.constant is not None)
            count = sizes[axis].constant
            assert count is not None
            rest = [part[:axis] + part[axis + 1 :] for part in (source_strides, target_strides)]
            with self.loop(count, stage) as index:
                here = [
                    Place(place.buffer, Access(place.access.offset + index * strides[axis], (), ()))
                    for place, strides in ((source, source_strides), (target, target_strides))
                ]
                self._copy(here[0], here[1], sizes[:axis] + sizes[axis + 1 :], rest[0], rest[1], 0)
            return
        accesses = [
            Access(place.access.offset, tuple(sizes), tuple(strides))
            for place, strides in ((source, source_strides), (target, target_strides))
        ]
        self.insert(CopyOp(source.buffer, accesses[0], target.buffer, accesses[1]), stage)

    def gather(self, ids: Place, table: Place, rows: Place, limit: int, stage: int = 0) -> None:
        """Rows of a DRAM table by ids in SRAM; see `GatherOp`."""
        op = GatherOp(ids.buffer, ids.access, table.buffer, table.access, rows.buffer, rows.access, limit)
        self.insert(op, stage)

    def product(
        self,
        a: Place,
        b: Place,
        acc: Place,
        mode: str,
        transpose_b: bool = False,
        accumulate: AffineForm | int = 0,
        stage: int = 0,
        values: tuple[Values, Values] | None = None,
        mask: Mask | None = None,
        structure: tuple[Structure, Place] | None = None,
    ) -> None:
        """acc (+)= a @ b, accumulating where `accumulate` is above zero; see `ProductOp`. With a `mask`, the rows that
        it packs into are counted before, unless they were; see `MaskedProductOp`. With a `structure` and its indices,
        see `StructuredProductOp`."""
        product = Multiplication(a, b, acc, mode, transpose_b, _switch(accumulate), values)
        if structure is not None:
            self.insert(StructuredProductOp(structure[0], product, structure[1]), stage)
            return
        if mask is None:
            self.insert(ProductOp(product), stage)
            return
        count = mask.count
        if count is None and not mask.known:
            count = Place(self.alloc("sram", (1,), Format.I32), Access.of(0, (1,), (1,)))
            if any(size.constant is None for size in mask.bits.access.sizes):
                # Where a size is cut to nothing nobody counts, and the count is read all the same.
                one = Place(count.buffer, Access.of(0, (1, 1), (1, 1)))
                self.lane_pass(NO_ROWS, 1, 1, out=one, stage=stage)
            self.insert(PackOp(mask.bits, count, mask.packing), stage)
        masked = MaskedProductOp(mask.masked, product, mask.bits, count, mask.limit, mask.packing)
        self.insert(masked, stage)

    def lane_pass(
        self,
        program: LaneProgram,
        rows: Size,
        columns: Size,
        streams: Sequence[Place] = (),
        broadcasts: Sequence[tuple[str, Place]] = (),
        out: Place | None = None,
        reductions: Sequence[tuple[str, Place]] = (),
        accumulate: AffineForm | int = 0,
        stage: int = 0,
    ) -> None:
        """One pass of the vector engine; see `PassOp`."""
        op = PassOp(
            str(program),
            Minimum.of(rows),
            Minimum.of(columns),
            streams,
            broadcasts,
            out,
            reductions,
            _switch(accumulate),
        )
        self.insert(op, stage)


def block_place(
    buffer: SSAValue, sizes: Sequence[Size], pitch: int | None = None, start: AffineForm | int = 0
) -> Place:
    """The first `sizes` elements of a buffer whose rows (its last dimension) lie `pitch` elements apart.

    Without `pitch` the block is dense in the sizes' bounds: what a buffer of these bounds holds.
    """
    if pitch is not None and len(sizes) == 2:
        return Place(buffer, Access.of(start, sizes, (pitch, 1)))
    bounds = [Span.of(0, size).limit for size in sizes]
    return Place(buffer, Access.of(start, sizes, dense_strides(bounds)))


def _switch(accumulate: AffineForm | int) -> Minimum | None:
    form = AffineForm.of(accumulate)
    return None if form == AffineForm() else Minimum.of(form)


def _merged(source: Access, target: Access) -> tuple[list[Minimum], list[int], list[int]]:
    """Sizes and strides of a copy in the fewest dimensions: extents of 1 go, adjacent dimensions merge.

    Order is kept. A dimension merges into the next where both sides step over it evenly and the inner size is fixed.
    """
    sizes: list[Minimum] = []
    strides: list[tuple[int, int]] = []
    for size, pair in zip(source.sizes, zip(source.strides, target.strides, strict=True), strict=True):
        if size.constant == 1:
            continue
        extent = size.constant
        evenly = extent is not None and bool(sizes) and strides[-1] == (pair[0] * extent, pair[1] * extent)
        if extent is not None and evenly and (sizes[-1].bound or MAXIMUM_EXTENT) * extent <= MAXIMUM_EXTENT:
            sizes[-1] = Minimum(tuple(form * extent for form in sizes[-1].forms))
            strides[-1] = pair
        else:
            sizes.append(size)
            strides.append(pair)
    return sizes, [a for a, _ in strides], [b for _, b in strides]


def buffer_bytes(shape: Sequence[int], form: Format) -> int:
    """Bytes that an on-chip buffer takes: rounded up to the 64 that allocation aligns to."""
    return -(-form.size(shape) // 64) * 64
