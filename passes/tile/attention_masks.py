"""The mask tiles of a pattern: which scores of a block are seen where its stretches of keys hold others too."""

from __future__ import annotations

import numpy as np

from ...dialects import nn
from ...dialects.affine_form import Access, AffineForm, Minimum
from ...dialects.constants import RefAttr
from ...dialects.elements import element_of, tensor
from ...dialects.tile import Place
from ...isa.formats import Format
from .attention_sight import ShownLayout, tile_pitch
from .build import TileBuilder
from .kernel import Scope
from .lane_graph import Extent
from .lane_passes import Held
from .tile_leaves import WHOLE_SHARE
from .tiles import hold

LINE = 512
"""The table of all tiles is stored in lines of so many bits."""


def tiles_stay(tile_bytes: int, sram_bytes: int) -> bool:
    """Whether all mask tiles, of so many bytes, are loaded once, rather than each when it is needed."""
    return tile_bytes * WHOLE_SHARE[Extent.FULL] <= sram_bytes


class MaskTiles:
    """Mask tiles while their kernel is emitted."""

    def __init__(self, scope: Scope, layout: ShownLayout, builder: TileBuilder) -> None:
        self._scope = scope
        self._layout = layout
        self._builder = builder
        self._table: nn.ConstantOp | None = None
        self._held: Held | None = None

    def preload(self) -> None:
        """Bring all tiles on chip where they take little of it."""
        tiles = self._layout.tiles
        lines = -(-len(tiles) // LINE)
        if not lines:
            return
        table = np.zeros((lines, LINE), np.int8)
        table.reshape(-1)[: len(tiles)] = tiles
        key = self._scope.store.anonymous(table)
        self._table = nn.ConstantOp(RefAttr(key), tensor(element_of(Format.B1), lines, LINE))
        if tiles_stay(self._layout.tile_bytes, self._scope.machine.sram.bytes):
            self._held = hold(self._builder, Extent.FULL, lines, LINE, Format.B1)
            size = (Minimum.of(lines), Minimum.of(LINE))
            source = Place(self._scope.buffers[self._table.result], Access(AffineForm(), size, (LINE, 1)))
            self._builder.copy(source, self._held.full(*size))

    def find(self, number: int, column: AffineForm, columns: Minimum) -> Held:
        """A tile from a column on, a multiple of 8: so many columns of it, loaded now if it was not yet."""
        rows, width, _ = self._layout.tile_of[1][number]
        start, pitch = column + self._layout.tile_starts[number], tile_pitch(width)
        if self._held is not None:
            return Held(self._held.buffer, start, pitch)
        assert self._table is not None
        limit = columns.bound
        assert limit is not None
        held = hold(self._builder, Extent.FULL, rows, limit, Format.B1)
        size = (Minimum.of(rows), columns)
        source = Place(self._scope.buffers[self._table.result], Access(start, size, (pitch, 1)))
        self._builder.copy(source, held.full(*size))
        return held
