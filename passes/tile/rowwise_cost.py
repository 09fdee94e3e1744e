"""What a tiling of a rowwise kernel needs and costs, for a column of tile sizes at once."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...isa.formats import Format
from ...isa.instructions import LoadBlock
from ...isa.instructions.transfers import ELEMENT_CODES
from ...isa.machine import Machine
from .axes import Axis
from .lane_graph import Extent
from .pack import Packing, Slot
from .rates import Column, Rates
from .tiling import Tiling

if TYPE_CHECKING:
    from .rowwise import RowwiseLowering

ALIGNMENT = 64
OPERATION_CYCLES = 8
"""What each transfer and pass is charged besides its work, so that equal plans with fewer of them win."""


class TileCost:
    """Bytes and cycles of a rowwise kernel by tile size; `tiling` is the one with the cut axis whole."""

    def __init__(self, lowering: RowwiseLowering, tiling: Tiling, packing: Packing, sizes: Column) -> None:
        self._lowering = lowering
        self._tiling = tiling
        self._packing = packing
        self._sizes = sizes
        whole = max(tiling.tile, 1)
        self._rows: Column = sizes * (tiling.row_bound // whole) if tiling.in_rows else np.ones_like(sizes)
        columns = np.full_like(sizes, tiling.column_bound)
        self._columns: Column = columns if tiling.in_rows else sizes * (tiling.column_bound // whole)

    def _elements(self, extent: Extent) -> Column:
        one = np.ones_like(self._sizes)
        return (self._rows if extent & Extent.COLUMN else one) * (self._columns if extent & Extent.ROW else one)

    def _bytes(self, extent: Extent, form: Format) -> Column:
        return -(-self._elements(extent) * form.bytes // ALIGNMENT) * ALIGNMENT

    def bytes(self) -> Column:
        """Peak SRAM bytes: two instances of what streams through a tile, one of what stays or passes by."""
        cluster, packing = self._lowering.cluster, self._packing
        total: Column = np.zeros_like(self._sizes)
        for index, leaf in enumerate(cluster.leaves):
            if not self._lowering.resident(index):
                instances = 1 if self._tiling.level(index) == 0 else 2
                total = total + instances * self._bytes(self._tiling.extent(index), leaf.form)
        stored = set(packing.outputs)
        for index in stored:
            temporary = packing.temporaries[index]
            total = total + 2 * self._bytes(temporary.extent, temporary.form)
        return total + self._passing(stored)

    def _passing(self, stored: set[int]) -> Column:
        """The most bytes of temporaries that are alive at once, without those that are stored."""
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

    def cycles(self, rates: Rates) -> NDArray[np.float64]:
        """Predicted cycles: the busiest of DRAM channel, load, store and vector engine, and the first tile's way."""
        tiling, cluster, machine = self._tiling, self._lowering.cluster, self._lowering.scope.machine
        pieces = -(-tiling.cut_axis.extent // np.maximum(self._sizes, 1))
        visits = [prod(axis.extent for axis in tiling.loops[:level]) for level in range(len(tiling.loops) + 1)]
        tiles = visits[-1] * pieces
        channel = load = store = first = count = np.zeros(len(self._sizes))
        for index, leaf in enumerate(cluster.leaves):
            if self._lowering.resident(index):
                continue
            level = tiling.level(index)
            times = tiles if level > len(tiling.loops) else visits[level]
            data, busy = self._copy(machine, index, tiling.extent(index), leaf.form)
            channel, load, first = channel + times * data, load + times * busy, first + busy
            count = count + times
        for place, output in enumerate(cluster.outputs):
            view = len(cluster.leaves) + place
            if not self._lowering.resident(view):
                extent = self._lowering.extent(tiling, view)
                data, busy = self._copy(machine, view, extent, output.form)
                channel, store, first = channel + tiles * data, store + tiles * busy, first + busy
                count = count + tiles
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
        return busiest + first + vector + 2 * machine.dram.latency_cycles + OPERATION_CYCLES * count

    def _copy(self, machine: Machine, view: int, extent: Extent, form: Format) -> tuple[Column, Column]:
        """(channel cycles, engine cycles) of one transfer of a view's tile."""
        tiling = self._tiling
        cut = [(self._sizes, tiling.cut_axis)]
        rows = (cut if tiling.in_rows else []) + [self._whole(axis) for axis in tiling.inner_rows]
        columns = ([] if tiling.in_rows else cut) + [self._whole(axis) for axis in tiling.inner_columns]
        kept = (rows if extent & Extent.COLUMN else []) + (columns if extent & Extent.ROW else [])
        width = form.bytes
        step: Column = np.full_like(self._sizes, width)
        fields: dict[str, Column] = {}
        repeats: Column = np.ones_like(self._sizes)
        for place, (length, axis) in enumerate(reversed(kept)):
            if place < 4:
                fields |= {
                    f"n{3 - place}": length,
                    f"dram_stride{3 - place}": np.full_like(self._sizes, axis.strides[view] * width),
                    f"chip_stride{3 - place}": step,
                }
            else:
                repeats = repeats * length
            step = step * length
        cost = LoadBlock(element=ELEMENT_CODES[width], **fields).cost(machine)
        return np.asarray(cost.channel_cycles) * repeats, np.asarray(cost.busy) * repeats

    def _whole(self, axis: Axis) -> tuple[Column, Axis]:
        return np.full_like(self._sizes, axis.extent), axis


def used_slots(packing: Packing) -> frozenset[Slot]:
    """Every leaf and temporary that some pass reads."""
    return frozenset(
        slot for plan in packing.passes for slot in (*plan.streams, *(slot for _, slot in plan.broadcasts))
    )
