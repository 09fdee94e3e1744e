"""What a tiling of a rowwise kernel needs and costs, for a column of tile sizes at once."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import prod

import numpy as np
from numpy.typing import NDArray

from ...isa.columns import ceiling
from ...isa.formats import Format
from ...isa.frozen import frozen
from ...isa.instructions import LoadBlock
from ...isa.instructions.transfers import ELEMENT_CODES
from ...isa.lanes import LaneProgram
from .build import MAXIMUM_EXTENT
from .lane_graph import Extent
from .pack import Packing, Slot
from .rates import Column, Rates
from .tiling import Tiling, piece_sizes

ALIGNMENT = 64
NO_PROGRAM = LaneProgram.parse("out a")
OPERATION_CYCLES = 8
"""What each transfer and pass is charged besides its work, so that equal plans with fewer of them win."""


@frozen
class TileWork:
    """What a rowwise kernel does for each tile: `tiling` has the cut axis whole, `forms` and `extents` are of the
    views (leaves, then outputs), `resident` says which of them are used in place on chip."""

    tiling: Tiling
    packing: Packing
    forms: tuple[Format, ...]
    extents: tuple[Extent, ...]
    resident: tuple[bool, ...]
    leaves: int

    @property
    def grain(self) -> int:
        """The fewest elements of all views that fill whole bytes."""
        return max((form.grain for form in self.forms), default=1)

    @property
    def without_programs(self) -> TileWork:
        """The same work for the costs: of passes they ask what is read and written, not what is computed."""
        passes = tuple(replace(plan, program=NO_PROGRAM) for plan in self.packing.passes)
        return replace(self, packing=replace(self.packing, passes=passes))


@lru_cache(maxsize=4096)
def tile_costs(work: TileWork, rates: Rates) -> tuple[Column, Column, NDArray[np.float64], NDArray[np.float64]]:
    """(tile sizes, SRAM bytes, predicted cycles, further cycles until rows can be used) of every size of tile worth
    trying, as columns."""
    tiling = work.tiling
    inner = tiling.row_bound // tiling.tile if tiling.in_rows else tiling.column_bound // tiling.tile
    sizes = np.array(piece_sizes(tiling.tile, MAXIMUM_EXTENT // max(1, inner)), dtype=np.int64)
    if work.grain > 1 and tiling.parts(Extent.FULL)[-1] is None:
        # Elements that share a byte stay together.
        sizes = np.unique(np.minimum(ceiling(sizes, work.grain) * work.grain, tiling.tile))[::-1]
    cost = _TileCost(work, sizes)
    return sizes, cost.bytes(), *cost.cycles(rates)


class _TileCost:
    """Bytes and cycles of a rowwise kernel by tile size."""

    def __init__(self, work: TileWork, sizes: Column) -> None:
        self._work = work
        self._tiling = tiling = work.tiling
        self._packing = work.packing
        self._sizes = sizes
        whole = max(tiling.tile, 1)
        self._rows: Column = sizes * (tiling.row_bound // whole) if tiling.in_rows else np.ones_like(sizes)
        columns = np.full_like(sizes, tiling.column_bound)
        self._columns: Column = columns if tiling.in_rows else sizes * (tiling.column_bound // whole)

    def _elements(self, extent: Extent) -> Column:
        one = np.ones_like(self._sizes)
        return (self._rows if extent & Extent.COLUMN else one) * (self._columns if extent & Extent.ROW else one)

    def _bytes(self, extent: Extent, form: Format) -> Column:
        if form.packed and extent is Extent.FULL:
            rows, columns = (self._columns, self._rows) if self._tiling.turned else (self._rows, self._columns)
            return -(-rows * ceiling(columns, form.grain) // ALIGNMENT) * ALIGNMENT
        return -(-self._elements(extent) * max(1, form.bytes) // ALIGNMENT) * ALIGNMENT

    def bytes(self) -> Column:
        """Peak SRAM bytes: two instances of what streams through a tile, one of what stays or passes by."""
        work, packing = self._work, self._packing
        total: Column = np.zeros_like(self._sizes)
        for view in range(work.leaves):
            if not work.resident[view]:
                instances = 1 if self._tiling.level(view) == 0 else 2
                total = total + instances * self._bytes(work.extents[view], work.forms[view])
        outputs = zip(packing.outputs, work.resident[work.leaves :], strict=True)
        in_place = {index for index, resident in outputs if resident}
        stored = set(packing.outputs) - in_place
        for index in stored:
            temporary = packing.temporaries[index]
            total = total + 2 * self._bytes(temporary.extent, temporary.form)
        return total + self._passing(stored | in_place)

    def _passing(self, stored: set[int]) -> Column:
        """The most bytes of temporaries that are alive at once, without the outputs (`stored`)."""
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for place, plan in enumerate(self._packing.passes):
            for slot in (plan.out, *plan.reductions):
                if slot is not None:
                    first.setdefault(slot.index, place)
            for slot in (*plan.streams, *(slot for _, slot in plan.broadcasts)):
                if not slot.leaf:
                    last[slot.index] = place
        most: Column = np.zeros_like(self._sizes)
        for place in range(len(self._packing.passes)):
            alive: Column = np.zeros_like(self._sizes)
            for index, temporary in enumerate(self._packing.temporaries):
                if index not in stored and first.get(index, place + 1) <= place <= last.get(index, place):
                    alive = alive + self._bytes(temporary.extent, temporary.form)
            most = np.maximum(most, alive)
        return most

    def cycles(self, rates: Rates) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Predicted cycles: the busiest of DRAM channel, load, store and vector engine, and the first tile's way; and
        the passes behind the first tile's until there are as many rows as what reads them takes at once, the array."""
        tiling, work = self._tiling, self._work
        pieces = -(-tiling.cut_axis.extent // np.maximum(self._sizes, 1))
        visits = [prod(axis.extent for axis in tiling.loops[:level]) for level in range(len(tiling.loops) + 1)]
        tiles = visits[-1] * pieces
        channel = load = store = first = count = np.zeros(len(self._sizes))
        for view, resident in enumerate(work.resident):
            if resident:
                continue
            level = tiling.level(view) if view < work.leaves else len(tiling.loops) + 1
            times = tiles if level > len(tiling.loops) else visits[level]
            data, busy = self._copy(rates, view)
            channel, first, count = channel + times * data, first + busy, count + times
            if view < work.leaves:
                load = load + times * busy
            else:
                store = store + times * busy
        vector = np.zeros(len(self._sizes))
        lengths = {Extent.COLUMN: self._rows, Extent.ROW: self._columns}
        for plan in self._packing.passes:
            if plan.domain is Extent.FULL:
                vector = vector + rates.vector(self._rows, self._columns)
            else:
                one = np.ones_like(self._sizes)
                vector = vector + rates.vector(one, lengths.get(plan.domain, one))
        busiest = np.maximum(np.maximum(channel, load), np.maximum(store, tiles * vector))
        count = count + tiles * len(self._packing.passes)
        latency = 2 * rates.machine.dram.latency_cycles + OPERATION_CYCLES * count
        awaited = ceiling(rates.least_rows, np.maximum(self._rows, 1)) if tiling.in_rows else 1
        return busiest + first + vector + latency, vector * (np.minimum(tiles, awaited) - 1)

    def _copy(self, rates: Rates, view: int) -> tuple[Column, Column]:
        """(channel cycles, engine cycles) of one transfer of a view's tile."""
        kept = [
            (self._sizes, self._tiling.cut_axis) if axis is None else (np.full_like(self._sizes, axis.extent), axis)
            for axis in self._tiling.parts(self._work.extents[view])
        ]
        form = self._work.forms[view]
        width, grain = max(1, form.bytes), form.grain
        step: Column = np.full_like(self._sizes, width)
        fields: dict[str, Column] = {}
        repeats: Column = np.ones_like(self._sizes)
        for place, (length, axis) in enumerate(reversed(kept)):
            stride = ceiling(axis.strides[view], grain)
            if place == 0:
                length = ceiling(length, grain)
            if place < 4:
                fields |= {
                    f"n{3 - place}": length,
                    f"dram_stride{3 - place}": np.full_like(self._sizes, stride * width),
                    f"chip_stride{3 - place}": step,
                }
            else:
                repeats = repeats * length
            step = step * length
        cost = LoadBlock(element=ELEMENT_CODES[width], **fields).cost(rates.machine)
        return np.asarray(cost.channel_cycles) * repeats, np.asarray(cost.busy) * repeats


def used_slots(packing: Packing) -> frozenset[Slot]:
    """Every leaf and temporary that some pass reads."""
    return frozenset(
        slot for plan in packing.passes for slot in (*plan.streams, *(slot for _, slot in plan.broadcasts))
    )
