"""One operand of a matrix product: where it lies, how its tiles come on chip, and what prepares them there."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from xdsl.ir import Block, SSAValue

from ...dialects.affine_form import Access, AffineForm, Minimum, dense_strides
from ...dialects.tile import Place
from ...isa.formats import Format
from ...isa.frozen import frozen
from ...isa.structures import Structure
from .build import Span, TileBuilder
from .cluster import Cluster
from .kernel import Scope
from .lane_graph import Extent
from .lane_passes import Held, emit_passes
from .matmul_problem import Operand
from .pack import Packing as PassPacking
from .pack import Slot, pack
from .tiles import Spread, hold, load, tile_place
from .view import View
from .weights import Packing, constant_of, packed_tensor


def compose(outer: View, domain: Sequence[int], inner: View) -> View | None:
    """The view `inner` of a `domain` as seen through `outer`, a view of that domain's dense row-major storage.

    None where an axis of `outer` walks over the domain in a way that strides of `inner` cannot follow.
    """
    if outer.offset:
        return None
    steps = dense_strides(domain)
    strides: list[int] = []
    for extent, stride in zip(outer.shape, outer.strides, strict=True):
        if extent == 1 or stride == 0:
            strides.append(0)
            continue
        axis = next((i for i in reversed(range(len(domain))) if domain[i] != 1 and steps[i] == stride), None)
        if axis is None:
            return None
        step, covered = inner.strides[axis] if inner.shape[axis] != 1 else 0, domain[axis]
        while covered < extent:
            axis -= 1
            if axis < 0:
                return None
            following = inner.strides[axis] if inner.shape[axis] != 1 else 0
            if domain[axis] != 1 and following != step * covered:
                return None
            covered *= domain[axis]
        if covered != extent:
            return None
        strides.append(step)
    return View(inner.root, inner.offset, outer.shape, tuple(strides))


@frozen(eq=False)
class ProductOperand:
    """Leaves of [outer..., rows, columns] and what vector passes make of them; without `packing`, the one leaf as is.

    Tiles of a right operand are [k, n], or [n, k] where `turned`: rows and columns below are those of a tile.
    """

    scope: Scope
    leaves: tuple[Spread, ...]
    shape: tuple[int, int]
    form: Format
    turned: bool
    packing: PassPacking | None

    @staticmethod
    def of(
        scope: Scope,
        views: Sequence[View],
        forms: Sequence[Format],
        cluster: Cluster | None,
        form: Format,
        right: bool,
        packable: bool = True,
    ) -> ProductOperand:
        """From the views of its leaves as [outer..., rows, columns] of the operand; `cluster` prepares them.

        A constant is not turned where it is `packable`.
        """
        spreads = tuple(Spread.of(view, stored) for view, stored in zip(views, forms, strict=True))
        main = next((s for s in spreads if s.extent is Extent.FULL), spreads[0] if spreads else None)
        packed = packable and main is not None and constant_of(scope, views[spreads.index(main)]) is not None
        turned = right and main is not None and not packed and main.column != 1 and main.row == 1
        if turned:
            spreads = tuple(Spread(s.root, s.form, s.offset, s.outer, s.column, s.row) for s in spreads)
        rows, columns = views[0].shape[-2:] if views else (1, 1)
        packing = None
        if cluster is not None:
            packing = pack(cluster.graph, tuple(s.extent for s in spreads))
        return ProductOperand(scope, spreads, (columns, rows) if turned else (rows, columns), form, turned, packing)

    @property
    def main(self) -> Spread:
        """The leaf that varies with rows and columns, or the first."""
        return next((leaf for leaf in self.leaves if leaf.extent is Extent.FULL), self.leaves[0])

    def readable(self, leaf: Spread) -> bool:
        """Whether the array (or a pass) could read a leaf in its own storage, were that on chip."""
        if self.packing is not None:
            return leaf.usable_in_place
        return self.shape[1] == 1 or leaf.column == 1

    def in_place(self, leaf: Spread) -> bool:
        """Whether a leaf is read where it lies."""
        return leaf.root in self.scope.residents and self.readable(leaf)

    @property
    def ready(self) -> bool:
        """Whether the array reads the operand where it lies."""
        return self.packing is None and self.in_place(self.main)

    def describe(self, packed: bool) -> Operand:
        """What the search needs to know; `packed` says that each tile of a constant is one run."""
        main = self.main
        inner, outer = main.column, main.row
        elementwise = inner != 1 and self.shape[1] != 1 and main.extent is Extent.FULL and not packed
        return Operand(
            bytes=main.form.width,
            resident=self.in_place(main),
            pitch=0 if packed else max(1, abs(inner if elementwise else outer)),
            across=self.turned,
            turned=elementwise,
            prepared=0 if self.packing is None else self.form.width + self._temporary_bytes,
            passes=0 if self.packing is None else max(1, self.packing.full_passes),
            shared=self.shared,
        )

    @property
    def shared(self) -> bool:
        """Whether every product of a batch has the same operand."""
        return bool(self.main.outer) and not any(stride for leaf in self.leaves for stride in leaf.outer)

    @property
    def _temporary_bytes(self) -> float:
        packing = self.packing
        if packing is None:
            return 0
        kept = (t for index, t in enumerate(packing.temporaries) if index != packing.outputs[0])
        return sum(temporary.form.width for temporary in kept if temporary.extent is Extent.FULL)

    def place(self, indices: Sequence[AffineForm], rows: Span, columns: Span) -> Held:
        """The tile of a ready operand, where it lies."""
        leaf = self.main
        start = leaf.start(indices, rows.start, columns.start)
        return Held(self.scope.buffers[leaf.root], start, leaf.row)

    def fetch(
        self,
        builder: TileBuilder,
        indices: Sequence[AffineForm],
        rows: Span,
        columns: Span,
        packed: PackedOperand | None = None,
    ) -> Held:
        """A tile brought on chip and prepared; dense, unless `packed` has several blocks."""
        tiles = [self._leaf(builder, leaf, indices, rows, columns, packed) for leaf in self.leaves]
        packing = self.packing
        if packing is None:
            return tiles[0]
        temporaries = [hold(builder, t.extent, rows.limit, columns.limit, t.form) for t in packing.temporaries]

        def find(slot: Slot) -> Held:
            return tiles[slot.index] if slot.leaf else temporaries[slot.index]

        emit_passes(builder, packing, rows.size, columns.size, find)
        return temporaries[packing.outputs[0]]

    def fetch_by_rows(
        self, builder: TileBuilder, indices: Sequence[AffineForm], rows: Span, pieces: Sequence[Span], step: int
    ) -> list[Held]:
        """`rows` over several `pieces` of its columns brought on chip, `step` rows of all pieces before the next: the
        first rows are there first. Not for an operand that passes prepare."""
        assert self.packing is None
        leaf = self.leaves[0]
        held = [
            self._handed_over(rows, piece) or hold(builder, Extent.FULL, rows.limit, piece.limit, leaf.form)
            for piece in pieces
        ]
        for low in range(0, rows.limit, step):
            size = Minimum.of(min(step, rows.limit - low))
            for target, piece in zip(held, pieces, strict=True):
                if self.is_handed_over(piece):
                    continue
                start = leaf.start(indices, rows.start + low, piece.start)
                source = Place(
                    self.scope.buffers[leaf.root], Access(start, (size, piece.size), (leaf.row, leaf.column))
                )
                part = Held(target.buffer, target.offset + low * target.pitch, target.pitch)
                load(builder, source, part, Extent.FULL, size, piece.size)
        return held

    def is_handed_over(self, columns: Span) -> bool:
        """Whether the product before left these columns on chip, of a result that it stored otherwise."""
        handover = self.scope.handovers.get(self.main.root)
        return handover is not None and columns.start.is_constant and columns.start.constant >= handover.first

    def _handed_over(self, rows: Span, columns: Span) -> Held | None:
        """Where they are, if so."""
        if not self.is_handed_over(columns):
            return None
        handover = self.scope.handovers[self.main.root]
        piece, column = divmod(columns.start.constant - handover.first, handover.columns)
        return Held(handover.pieces[piece], rows.start * handover.columns + column, handover.columns)

    def _leaf(
        self,
        builder: TileBuilder,
        leaf: Spread,
        indices: Sequence[AffineForm],
        rows: Span,
        columns: Span,
        packed: PackedOperand | None,
    ) -> Held:
        if packed is not None and leaf is self.main:
            return packed.fetch(builder, indices, rows, columns, blocked=self.packing is None)
        if leaf is self.main and (handed := self._handed_over(rows, columns)) is not None:
            return handed
        buffer = self.scope.buffers[leaf.root]
        start = leaf.start(indices, rows.start, columns.start)
        if self.in_place(leaf):
            return Held(buffer, start, leaf.row)
        extent = Extent.FULL if self.packing is None else leaf.extent
        target = hold(builder, extent, rows.limit, columns.limit, leaf.form)
        if extent is leaf.extent:
            source = tile_place(buffer, leaf, start, rows.size, columns.size)
        else:
            # The array reads whole tiles: a row or column that repeats is repeated by the copy.
            source = Place(buffer, Access(start, (rows.size, columns.size), (leaf.row, leaf.column)))
        load(builder, source, target, extent, rows.size, columns.size)
        return target


@frozen(eq=False)
class PackedOperand:
    """Columns of a constant right operand, from `first` on, packed into blocks: [batch, blocks, K, columns] in DRAM; of
    one with a structure what is kept, or the indices of that. Rows of K are told as of the whole operand."""

    packing: Packing
    tensor: SSAValue
    form: Format
    batch_strides: tuple[int, ...]
    first: int

    @staticmethod
    def possible(operand: ProductOperand, view: View) -> bool:
        """Whether the main leaf of an operand is a constant that can be packed."""
        return not operand.turned and constant_of(operand.scope, view) is not None

    @staticmethod
    def make(
        operand: ProductOperand,
        outer_shape: Sequence[int],
        view: View,
        columns: int,
        inside: Block,
        first: int = 0,
        width: int | None = None,
        structure: Structure | None = None,
        indices: bool = False,
    ) -> PackedOperand:
        """Pack `width` columns (None: all) from `first` on of the main leaf, seen as `view`, into blocks of `columns`,
        with a DRAM tensor before the kernel that is being built. With a `structure`, what is kept or its `indices`."""
        leaf = operand.main
        constant = constant_of(operand.scope, view)
        assert constant is not None
        walked = [(extent, stride) for extent, stride in zip(outer_shape, leaf.outer, strict=True)]
        kept = [(extent if stride else 1, stride) for extent, stride in walked]
        batch = prod(extent for extent, _ in kept)
        strides = dense_strides([extent for extent, _ in kept])
        packing = Packing(
            leaf.offset + first * leaf.column,
            (*(extent for extent, _ in kept), operand.shape[0], operand.shape[1] if width is None else width),
            (*(stride for _, stride in kept), leaf.row, leaf.column),
            columns,
            structure,
            indices,
        )
        form = structure.index_format if structure and indices else leaf.form
        tensor = packed_tensor(operand.scope, constant, packing, form, inside)
        matrix = prod(packing.packed_shape[1:])
        steps = tuple(step * matrix if stride else 0 for step, (_, stride) in zip(strides, kept, strict=True))
        assert packing.packed_shape[0] == batch
        return PackedOperand(packing, tensor, form, steps, first)

    def rows(self, span: Span) -> Span:
        """Rows of K as they are stored."""
        structure = self.packing.structure
        if structure is None:
            return span
        kept, group = structure.kept, structure.group
        return Span(span.start.grouped(kept, group), span.size.grouped(kept, group))

    def block_elements(self, rows: Span) -> int:
        """Elements of a block over some rows of K, on chip."""
        return self.rows(rows).limit * self.packing.pitch

    def fetch(
        self, builder: TileBuilder, indices: Sequence[AffineForm], rows: Span, columns: Span, blocked: bool
    ) -> Held:
        """Rows of K of one block or several: [blocks, rows, columns] on chip if `blocked`, else [rows, columns]."""
        width, pitch = self.packing.columns, self.packing.pitch
        _, _, depth, _ = self.packing.packed_shape
        rows = self.rows(rows)
        start = self._start(indices) + self._block_start(columns, pitch * depth) + rows.start * pitch
        blocks = -(-columns.limit // width)
        apart, step = (pitch, rows.limit * pitch) if blocked else (blocks * pitch, pitch)
        target = Held(builder.alloc("sram", (blocks, rows.limit, pitch), self.form), AffineForm(), apart)
        if blocks == 1:
            source = Place(self.tensor, Access(start, (rows.size, columns.size), (pitch, 1)))
            builder.copy(source, target.full(rows.size, columns.size))
            return target
        sizes = (columns.size.grouped(1, width), rows.size, Minimum.of(pitch))
        source = Place(self.tensor, Access(start, sizes, (pitch * depth, pitch, 1)))
        builder.copy(source, Place(target.buffer, Access(AffineForm(), sizes, (step, apart, 1))))
        return target

    def fetch_by_blocks(
        self, builder: TileBuilder, indices: Sequence[AffineForm], pieces: Sequence[Span], columns: Span
    ) -> list[Held]:
        """Several `pieces` of K of all blocks of `columns`, each as [blocks, rows, columns] on chip: the pieces of one
        block before the next, so that the first columns are there first."""
        width, pitch = self.packing.columns, self.packing.pitch
        matrix = pitch * self.packing.packed_shape[2]
        count = -(-columns.limit // width)
        pieces = [self.rows(piece) for piece in pieces]
        held = [Held(builder.alloc("sram", (count, piece.limit, pitch), self.form), pitch=pitch) for piece in pieces]
        start = self._start(indices) + self._block_start(columns, matrix)
        for block in range(count):
            size = Minimum.of(min(width, columns.limit - block * width))
            for target, piece in zip(held, pieces, strict=True):
                access = Access(start + block * matrix + piece.start * pitch, (piece.size, size), (pitch, 1))
                part = Held(target.buffer, AffineForm.of(block * piece.limit * pitch), pitch)
                builder.copy(Place(self.tensor, access), part.full(piece.size, size))
        return held

    def _start(self, indices: Sequence[AffineForm]) -> AffineForm:
        start = AffineForm()
        for index, step in zip(indices, self.batch_strides, strict=False):
            start = start + index * step
        return start

    def _block_start(self, columns: Span, matrix: int) -> AffineForm:
        return (columns.start - self.first).grouped(1, self.packing.columns) * matrix
