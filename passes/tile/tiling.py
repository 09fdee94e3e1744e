"""Tiles of a rowwise kernel: which axes are loops, which one is cut into pieces, and what lies inside a tile."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ...dialects.affine_form import Access, AffineForm, Minimum, dense_strides
from ...isa.formats import Format
from ...isa.frozen import frozen
from .axes import Axes, Axis, even_step
from .build import Span
from .lane_graph import Extent


@frozen
class Tiling:
    """Axes before `cut` are loops, axis `cut` is cut into pieces of `tile`, the axes after it lie whole in a tile.

    Where `cut` is a column axis, tiles are pieces of one row. Where the tile is `turned`, the rows of the domain lie
    along the columns of a pass: reductions go across the rows of the pass, and nothing is transposed on the way in if
    the reduced axes are outer ones.
    """

    axes: Axes
    cut: int
    tile: int
    turned: bool = False

    @property
    def loops(self) -> tuple[Axis, ...]:
        """The axes that are walked one by one."""
        return self.axes.all[: self.cut]

    @property
    def cut_axis(self) -> Axis:
        """The axis that is cut into pieces."""
        return self.axes.all[self.cut]

    @property
    def in_rows(self) -> bool:
        """Whether the axis that is cut is a row axis."""
        return self.cut < len(self.axes.rows)

    @property
    def inner_rows(self) -> tuple[Axis, ...]:
        """The row axes inside a tile, without the one that is cut."""
        return self.axes.rows[self.cut + 1 :]

    @property
    def inner_columns(self) -> tuple[Axis, ...]:
        """The column axes inside a tile, without the one that is cut."""
        return self.axes.columns if self.in_rows else self.axes.columns[self.cut - len(self.axes.rows) + 1 :]

    @property
    def row_bound(self) -> int:
        """The most rows of a tile."""
        return self.tile * prod(axis.extent for axis in self.inner_rows) if self.in_rows else 1

    @property
    def column_bound(self) -> int:
        """The most columns of a tile."""
        whole = prod(axis.extent for axis in self.inner_columns)
        return whole if self.in_rows else self.tile * whole

    def rows(self, span: Span) -> Minimum:
        """The rows of the tile at `span` of the cut axis."""
        return _times(span.size, prod(axis.extent for axis in self.inner_rows)) if self.in_rows else Minimum.of(1)

    def columns(self, span: Span) -> Minimum:
        """The columns of the tile at `span` of the cut axis."""
        whole = prod(axis.extent for axis in self.inner_columns)
        return Minimum.of(whole) if self.in_rows else _times(span.size, whole)

    def extent(self, view: int) -> Extent:
        """What a view varies with inside a tile."""
        cut = self.cut_axis.strides[view] != 0 and self.cut_axis.extent != 1
        rows = any(axis.strides[view] for axis in self.inner_rows) or (cut and self.in_rows)
        columns = any(axis.strides[view] for axis in self.inner_columns) or (cut and not self.in_rows)
        return (Extent.COLUMN if rows else Extent.SCALAR) | (Extent.ROW if columns else Extent.SCALAR)

    def level(self, view: int) -> int:
        """How many of the loops (the one over pieces last) must be open to know the tile of a view: 0 for none."""
        walked = (*self.loops, self.cut_axis)
        return max((index + 1 for index, axis in enumerate(walked) if axis.strides[view]), default=0)

    def offset(self, view: int, start: int, indices: Sequence[AffineForm]) -> AffineForm:
        """Where a view's tile starts, given the open loops' indices (for the cut axis: the start of the piece)."""
        form = AffineForm((), start)
        for axis, index in zip(self.axes.all, indices, strict=False):
            form = form + index * axis.strides[view]
        return form

    def parts(self, extent: Extent) -> list[Axis | None]:
        """The axes of a tile that varies with `extent`, in the order of its buffer; None is the one that is cut."""
        cut: list[Axis | None] = [None]
        rows = [*(cut if self.in_rows else []), *self.inner_rows] if extent & Extent.COLUMN else []
        columns = [*([] if self.in_rows else cut), *self.inner_columns] if extent & Extent.ROW else []
        return columns + rows if self.turned else rows + columns

    def block(
        self, view: int, extent: Extent, offset: AffineForm, size: Minimum, form: Format
    ) -> tuple[Access, Access]:
        """The tile of a view in its storage, and where it goes in a buffer of `bounds(extent)` elements of `form`.

        Axes that `extent` does not vary with are left out; those it does, but the view does not, repeat.
        """
        parts = self.parts(extent)
        sizes = tuple(size if axis is None else Minimum.of(axis.extent) for axis in parts)
        dense = self.strides_on_chip(extent, form)
        strides = tuple((self.cut_axis if axis is None else axis).strides[view] for axis in parts)
        return Access(offset, sizes, strides), Access(AffineForm(), sizes, dense)

    def bounds(self, extent: Extent) -> tuple[int, ...]:
        """The shape of the on-chip buffer of a tile that varies with `extent`."""
        rows, columns = self.row_bound, self.column_bound
        full = (columns, rows) if self.turned else (rows, columns)
        return {Extent.FULL: full, Extent.COLUMN: (rows,), Extent.ROW: (columns,), Extent.SCALAR: ()}[extent]

    def strides_on_chip(self, extent: Extent, form: Format) -> tuple[int, ...]:
        """The strides of the axes of a tile in its buffer: dense, but that rows of a pass start at a byte."""
        bounds = [self.tile if axis is None else axis.extent for axis in self.parts(extent)]
        across = len(self.parts(Extent.ROW if self.turned else Extent.COLUMN))
        if extent is not Extent.FULL or not form.packed:
            return dense_strides(bounds)
        rows = dense_strides([*bounds[:across], self.pitch(form)])[:across]
        return (*rows, *dense_strides(bounds[across:]))

    def pitch(self, form: Format) -> int:
        """How far apart the rows of a pass lie in a buffer of a full tile."""
        return form.pitch(self.row_bound if self.turned else self.column_bound)

    def packs(self, view: int, extent: Extent, form: Format) -> bool:
        """Whether a view of packed elements lies as the rows of a pass do: elements side by side along them, and
        everything else in whole bytes. So does any view whose elements are bytes."""
        if not form.packed or extent is Extent.SCALAR:
            return True
        parts = self.parts(extent)
        *outer, last = [(self.cut_axis if axis is None else axis) for axis in parts]
        on_chip = self.strides_on_chip(extent, form)
        whole = all(axis.strides[view] % form.grain == 0 for axis in outer)
        return (
            extent is Extent.FULL
            and last.strides[view] == 1
            and whole
            and all(stride % form.grain == 0 or axis.extent == 1 for stride, axis in zip(on_chip, outer, strict=False))
        )

    def pitch_in_place(self, view: int, extent: Extent) -> int | None:
        """The distance between rows of a pass where a view's tile can be used in its own storage, on chip.

        None where it cannot: rows must lie evenly, and the elements of a row, or of single values, side by side.
        """
        row_axes = [(self.tile, self.cut_axis)] if self.in_rows else []
        row_axes += [(axis.extent, axis) for axis in self.inner_rows]
        column_axes = [] if self.in_rows else [(self.tile, self.cut_axis)]
        column_axes += [(axis.extent, axis) for axis in self.inner_columns]
        rows = even_step([(length, axis.strides[view]) for length, axis in row_axes])
        columns = even_step([(length, axis.strides[view]) for length, axis in column_axes])
        row_run = rows == 1 or self.row_bound == 1
        column_run = columns == 1 or self.column_bound == 1
        match extent:
            case Extent.FULL if self.turned:
                return columns if row_run else None
            case Extent.FULL:
                return rows if column_run else None
            case Extent.ROW:
                return 0 if column_run else None
            case Extent.COLUMN:
                return 0 if row_run else None
            case _:
                return 0


def _times(size: Minimum, factor: int) -> Minimum:
    return Minimum(tuple(form * factor for form in size.forms))


def piece_sizes(extent: int, most: int) -> list[int]:
    """Sizes worth trying for the pieces of an axis: the axis cut evenly into 1, 2, 3, 4, 6, 8, 12, ... pieces."""
    sizes: dict[int, None] = {}
    pieces = 1
    while True:
        size = -(-extent // pieces)
        if size <= most:
            sizes[size] = None
        if size <= 1:
            return list(sizes)
        pieces = max(pieces + 1, pieces * 3 // 2)
