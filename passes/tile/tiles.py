"""What the tiles of a product or an attention need besides their matrices: values spread over a kernel's loops."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import SSAValue

from ...dialects.affine_form import Access, AffineForm, Minimum
from ...dialects.tile import Place
from ...isa.formats import Format
from ...isa.frozen import frozen
from .build import TileBuilder
from .lane_graph import Extent
from .lane_passes import Held
from .view import View

ALIGNMENT = 64
"""Buffers on chip start at multiples of this many bytes."""


_EXTENTS = ((Extent.SCALAR, Extent.ROW), (Extent.COLUMN, Extent.FULL))
"""By whether there is a stride along rows and along columns."""


@frozen
class Spread:
    """A stored value seen over the domain of a kernel: `outer` strides of its loops, then of rows and columns.

    A stride is 0 where the value repeats (and where there is one row or one column only).
    """

    root: SSAValue
    form: Format
    offset: int
    outer: tuple[int, ...]
    row: int
    column: int

    @staticmethod
    def of(view: View, form: Format) -> Spread:
        """A view whose last two axes are rows and columns."""
        strides = tuple(0 if n == 1 else stride for n, stride in zip(view.shape, view.strides, strict=True))
        return Spread(view.root, form, view.offset, strides[:-2], strides[-2], strides[-1])

    @property
    def strides(self) -> tuple[int, ...]:
        """Where it starts, and its strides along outer loops, rows and columns."""
        return (self.offset, *self.outer, self.row, self.column)

    @property
    def extent(self) -> Extent:
        """What it varies with inside a tile."""
        return _EXTENTS[self.row != 0][self.column != 0]

    @property
    def level(self) -> int:
        """How many of the outer loops it must be inside of: 0 where it varies with none."""
        return max((index + 1 for index, stride in enumerate(self.outer) if stride), default=0)

    @property
    def usable_in_place(self) -> bool:
        """Whether a pass could read it where it lies, were that on chip."""
        match self.extent:
            case Extent.COLUMN:
                return self.row == 1
            case Extent.SCALAR:
                return True
            case _:
                return self.column == 1

    def start(
        self, indices: Sequence[AffineForm], row: AffineForm | int = 0, column: AffineForm | int = 0
    ) -> AffineForm:
        """The element at loop `indices` and a row and column."""
        where = AffineForm((), self.offset)
        for stride, index in zip(self.outer, indices, strict=False):
            where = where + index * stride
        return where + AffineForm.of(row) * self.row + AffineForm.of(column) * self.column


def elements(extent: Extent, rows: int, columns: int) -> int:
    """How many elements a value of `extent` has over rows x columns."""
    match extent:
        case Extent.FULL:
            return rows * columns
        case Extent.COLUMN:
            return rows
        case Extent.ROW:
            return columns
        case _:
            return 1


def tile_bytes(extent: Extent, rows: int, columns: int, form: Format) -> int:
    """Bytes of a buffer that holds a value of `extent` for a tile of rows x columns."""
    return -(-form.size(_shape(extent, rows, columns)) // ALIGNMENT) * ALIGNMENT


def hold(builder: TileBuilder, extent: Extent, rows: int, columns: int, form: Format) -> Held:
    """A new SRAM buffer for a value of `extent` over a tile of at most rows x columns."""
    return Held(builder.alloc("sram", _shape(extent, rows, columns), form), AffineForm(), form.pitch(columns))


def _shape(extent: Extent, rows: int, columns: int) -> tuple[int, ...]:
    return (rows, columns) if extent is Extent.FULL else (elements(extent, rows, columns),)


def load(
    builder: TileBuilder,
    source: Place,
    target: Held,
    extent: Extent,
    rows: Minimum,
    columns: Minimum,
    stage: int = 0,
) -> None:
    """Copy a value's tile from DRAM into `target`; `source` has the strides of what `extent` says it varies with."""
    match extent:
        case Extent.FULL:
            here = target.full(rows, columns)
        case Extent.ROW:
            here = target.vector(columns)
        case Extent.COLUMN:
            here = target.vector(rows)
        case _:
            here = target.vector(Minimum.of(1))
    builder.copy(source, here, stage)


def tile_place(buffer: SSAValue, value: Spread, start: AffineForm, rows: Minimum, columns: Minimum) -> Place:
    """The tile of a value in its own storage, in the dimensions that it varies with (one element: a vector of 1)."""
    match value.extent:
        case Extent.FULL:
            return Place(buffer, Access(start, (rows, columns), (value.row, value.column)))
        case Extent.ROW:
            return Place(buffer, Access(start, (columns,), (value.column,)))
        case Extent.COLUMN:
            return Place(buffer, Access(start, (rows,), (value.row,)))
        case _:
            return Place(buffer, Access(start, (Minimum.of(1),), (1,)))


def held_in_place(buffer: SSAValue, value: Spread, start: AffineForm) -> Held:
    """A value that lies on chip already, as passes read it."""
    return Held(buffer, start, value.row)
