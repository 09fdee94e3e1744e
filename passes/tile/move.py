"""Copying one view to another of the same shape, in tiles: through the chip, or straight where one side is on it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from math import prod

from xdsl.ir import SSAValue

from ...dialects.affine_form import Access, AffineForm, Minimum, dense_strides
from ...dialects.tile import Place
from ...isa.formats import Format
from ...isa.frozen import frozen
from ...isa.lanes import LaneProgram
from .axes import Axis, merged
from .build import MAXIMUM_EXTENT, Span, TileBuilder
from .lane_passes import Held
from .view import View

PIECE_BYTES = 16384
"""Tiles of a copy are no larger, so that loads and stores overlap."""

IDENTITY = LaneProgram.parse("out a")


@frozen
class Side:
    """One end of a copy: a view, its buffer, and whether that is on chip."""

    view: View
    buffer: SSAValue
    on_chip: bool


@frozen
class Tiles:
    """Axes before `cut` are loops, axis `cut` is cut into pieces of `tile`, later ones lie whole in a tile."""

    axes: tuple[Axis, ...]
    cut: int
    tile: int

    @property
    def bounds(self) -> tuple[int, ...]:
        """The largest extents of a tile."""
        return (self.tile, *(axis.extent for axis in self.axes[self.cut + 1 :]))

    @property
    def elements(self) -> int:
        """The most elements of a tile."""
        return prod(self.bounds)

    def sizes(self, span: Span) -> tuple[Minimum, ...]:
        """The extents of the tile at `span`."""
        return (span.size, *(Minimum.of(axis.extent) for axis in self.axes[self.cut + 1 :]))

    def place(self, side: int, buffer: SSAValue, offset: int, indices: Sequence[AffineForm], span: Span) -> Place:
        """The tile in the storage of view `side`; `indices` of the loops, the start of the piece last."""
        form = AffineForm((), offset)
        for axis, index in zip(self.axes, indices, strict=False):
            form = form + index * axis.strides[side]
        strides = tuple(axis.strides[side] for axis in self.axes[self.cut :])
        return Place(buffer, Access(form, self.sizes(span), strides))


def cut_tiles(axes: Sequence[Axis], most: int) -> Tiles:
    """Tiles of at most `most` elements: as many inner axes whole as fit."""
    known = tuple(axes) or (Axis(1, ()),)
    most = min(most, MAXIMUM_EXTENT)
    for cut in range(len(known)):
        inner = prod(axis.extent for axis in known[cut + 1 :])
        if inner <= most:
            return Tiles(known, cut, max(1, min(known[cut].extent, most // inner)))
    return Tiles(known, len(known) - 1, 1)


def joint_axes(*views: View) -> list[Axis]:
    """The fewest axes that walk views of one shape together; at least one."""
    strides = zip(*(view.strides for view in views), strict=True)
    axes = [Axis(extent, steps) for extent, steps in zip(views[0].shape, strides, strict=True) if extent != 1]
    return merged(axes) or [Axis(1, (0,) * len(views))]


def copy_view(builder: TileBuilder, source: Side, target: Side, form: Format, most_bytes: int) -> int:
    """Copy all elements of a view to another; gives the SRAM bytes of its tiles, two instances counted."""
    if source.view.elements == 0:
        return 0
    if source.on_chip and target.on_chip:
        _copy_on_chip(builder, source, target)
        return 0
    tiles = cut_tiles(joint_axes(source.view, target.view), max(1, min(most_bytes // 2, PIECE_BYTES) // form.bytes))
    with ExitStack() as loops:
        indices = [loops.enter_context(builder.loop(axis.extent)) for axis in tiles.axes[: tiles.cut]]
        span = loops.enter_context(builder.tiles(tiles.axes[tiles.cut].extent, tiles.tile))
        indices.append(span.start)
        origin = tiles.place(0, source.buffer, source.view.offset, indices, span)
        goal = tiles.place(1, target.buffer, target.view.offset, indices, span)
        if source.on_chip or target.on_chip:
            builder.copy(origin, goal)
            return 0
        buffer = builder.alloc("sram", tiles.bounds, form)
        held = Place(buffer, Access(AffineForm(), tiles.sizes(span), dense_strides(tiles.bounds)))
        builder.copy(origin, held)
        builder.copy(held, goal)
    return 2 * (-(-tiles.elements * form.bytes // 64) * 64)


def can_copy_on_chip(source: View, target: View) -> bool:
    """Whether passes can copy between two views that both lie on chip: their rows must be contiguous."""
    last = joint_axes(source, target)[-1]
    return last.extent == 1 or last.strides == (1, 1)


def _copy_on_chip(builder: TileBuilder, source: Side, target: Side) -> None:
    axes = joint_axes(source.view, target.view)
    columns = axes[-1]
    rows = axes[-2] if len(axes) > 1 else Axis(1, (0, 0))
    with ExitStack() as loops:
        indices = [loops.enter_context(builder.loop(axis.extent)) for axis in axes[:-2]]
        row_span = loops.enter_context(builder.tiles(rows.extent, MAXIMUM_EXTENT))
        span = loops.enter_context(builder.tiles(columns.extent, MAXIMUM_EXTENT))
        places: list[Place] = []
        for side, end in enumerate((source, target)):
            form = AffineForm((), end.view.offset)
            for axis, index in zip(axes, indices, strict=False):
                form = form + index * axis.strides[side]
            form = form + row_span.start * rows.strides[side] + span.start * columns.strides[side]
            places.append(Held(end.buffer, form, rows.strides[side]).full(row_span.size, span.size))
        builder.lane_pass(IDENTITY, row_span.size, span.size, [places[0]], out=places[1])
