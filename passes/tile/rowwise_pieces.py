"""Rows too long for the chip: every pass runs over pieces of a row, sums accumulate, and what later passes read again
goes through DRAM."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import ceil, prod

from xdsl.ir import SSAValue

from ...dialects.affine_form import Access, AffineForm, Minimum, dense_strides
from ...dialects.tile import Place
from ...isa.errors import CapacityError
from ...isa.formats import Format
from ...isa.frozen import frozen
from ...isa.machine import Machine
from .axes import Axes
from .build import MAXIMUM_EXTENT, TileBuilder
from .cluster import Cluster
from .kernel import Budget, Scope
from .lane_graph import Extent, without_means
from .lane_passes import ONE, Held, emit_pass
from .pack import Packing, PassPlan, Slot, pack
from .rowwise_cost import ALIGNMENT, used_slots
from .tiling import Tiling
from .view import View


def plan_pieces(cluster: Cluster, axes: Axes, budget: Budget) -> tuple[Tiling, Packing, int]:
    """(tiling of one row into pieces, passes, SRAM bytes). Raises CapacityError where not even one element fits."""
    rows = len(axes.rows)
    extents = tuple(
        Extent.FULL if any(axis.strides[index] for axis in axes.columns) else Extent.COLUMN
        for index in range(len(cluster.leaves))
    )
    packing = pack(without_means(cluster.graph, axes.column_count), extents)
    streams = max((_stream_bytes(plan, cluster, packing) for plan in packing.passes), default=0)
    scalars = ALIGNMENT * (len(cluster.leaves) + len(packing.temporaries))
    # Two instances of each stream; each buffer may be rounded up to the alignment.
    room = min(int((budget.sram - scalars - 8 * ALIGNMENT) // max(2 * streams, 1)), MAXIMUM_EXTENT)
    grain = max((form.grain for form in _forms(cluster, packing)), default=1)
    for cut in range(rows, len(axes.all)):
        inner = prod(axis.extent for axis in axes.all[cut + 1 :])
        if inner <= room:
            tile = min(axes.all[cut].extent, room // inner // grain * grain or 1)
            need = scalars + 8 * ALIGNMENT + ceil(2 * streams * tile * inner)
            return Tiling(axes, cut, tile), packing, need
    raise CapacityError("one element of a row, in pieces", ceil(scalars + 8 * ALIGNMENT + 2 * streams), budget.sram)


def _forms(cluster: Cluster, packing: Packing) -> list[Format]:
    return [*(leaf.form for leaf in cluster.leaves), *(temporary.form for temporary in packing.temporaries)]


def pieces_cycles(cluster: Cluster, tiling: Tiling, packing: Packing, machine: Machine) -> float:
    """Predicted cycles: every pass of every row waits for its loads and stores, piece by piece."""
    rows = prod(axis.extent for axis in tiling.axes.rows)
    columns = tiling.axes.column_count
    pieces = columns // max(1, tiling.column_bound) + 1
    total = 0.0
    for plan in packing.passes:
        if plan.domain is not Extent.FULL:
            total += machine.vector.start_cycles
            continue
        moved = columns * _stream_bytes(plan, cluster, packing) / machine.dram.bytes_per_cycle
        waits = machine.vector.start_cycles + 2 * machine.dram.latency_cycles
        total += moved + columns / machine.vector.lanes + pieces * waits
    return rows * total


def _stream_bytes(plan: PassPlan, cluster: Cluster, packing: Packing) -> float:
    """Bytes for each element of a row that a pass reads and writes."""
    total = 0.0
    for slot in (*plan.streams, plan.out):
        if slot is not None:
            total += cluster.leaves[slot.index].form.width if slot.leaf else packing.temporaries[slot.index].form.width
    return total


def emit_pieces(
    cluster: Cluster, views: Sequence[View], scope: Scope, tiling: Tiling, packing: Packing, builder: TileBuilder
) -> None:
    """Loops over rows; for each row every pass in turn, over its pieces."""
    pieces = _Pieces(cluster, views, scope, tiling, packing, builder)
    pieces.make_room()
    with ExitStack() as loops:
        indices = [loops.enter_context(builder.loop(axis.extent)) for axis in tiling.axes.rows]
        pieces.row(indices)


@frozen
class _Home:
    """Where a value of a whole row lies: a buffer, the start of the first row, and strides along all axes."""

    buffer: SSAValue
    offset: int
    strides: tuple[int, ...]
    on_chip: bool


@dataclass
class _Pieces:
    cluster: Cluster
    views: Sequence[View]
    scope: Scope
    tiling: Tiling
    packing: Packing
    builder: TileBuilder
    homes: dict[Slot, list[_Home]] = field(default_factory=dict[Slot, list[_Home]])
    held: dict[Slot, Held] = field(default_factory=dict[Slot, Held])

    def make_room(self) -> None:
        """Say where every full value lies between passes: its own storage, an output's, or a temporary in DRAM."""
        axes = self.tiling.axes
        for index in range(len(self.cluster.leaves)):
            self.homes[Slot(True, index)] = [self._home(index)]
        for place, temporary in enumerate(self.packing.outputs):
            home = self._home(len(self.cluster.leaves) + place)
            self.homes.setdefault(Slot(False, temporary), []).append(home)
        steps = (0,) * len(axes.rows) + dense_strides([axis.extent for axis in axes.columns])
        for index, temporary in enumerate(self.packing.temporaries):
            slot = Slot(False, index)
            if temporary.extent is Extent.FULL and slot not in self.homes:
                buffer = self.builder.temporary(f"row_{index}", (axes.column_count,), temporary.form)
                self.homes[slot] = [_Home(buffer, 0, steps, False)]

    def _home(self, view: int) -> _Home:
        known = self.views[view]
        strides = tuple(axis.strides[view] for axis in self.tiling.axes.all)
        return _Home(self.scope.buffers[known.root], known.offset, strides, known.root in self.scope.residents)

    def _form(self, slot: Slot) -> Format:
        return self.cluster.leaves[slot.index].form if slot.leaf else self.packing.temporaries[slot.index].form

    def _extent(self, slot: Slot) -> Extent:
        if not slot.leaf:
            return self.packing.temporaries[slot.index].extent
        columns = self.tiling.axes.columns
        return Extent.FULL if any(axis.strides[slot.index] for axis in columns) else Extent.COLUMN

    def row(self, indices: Sequence[AffineForm]) -> None:
        """One row: its single values, then the passes, then the outputs of one value."""
        used = used_slots(self.packing)
        single = [slot for slot in self.homes if slot.leaf and slot in used and self._extent(slot) is not Extent.FULL]
        for slot in single:
            home = self.homes[slot][0]
            self.held[slot] = self._single(home, self._form(slot), indices, load=True)
        for index, temporary in enumerate(self.packing.temporaries):
            slot = Slot(False, index)
            if temporary.extent is not Extent.FULL:
                homes = [home for home in self.homes.get(slot, ()) if home.on_chip]
                if homes:
                    self.held[slot] = self._single(homes[0], temporary.form, indices, load=False)
                else:
                    self.held[slot] = Held(self.builder.alloc("sram", (), temporary.form))
        for plan in self.packing.passes:
            if plan.domain is Extent.FULL:
                self._over_pieces(plan, indices)
            else:
                emit_pass(self.builder, plan, ONE, ONE, self.held.__getitem__)
        for slot, homes in self.homes.items():
            if slot.leaf or self._extent(slot) is Extent.FULL:
                continue
            for home in homes:
                if not home.on_chip:
                    target = Place(home.buffer, Access(_start(home, indices), (), ()))
                    self.builder.copy(self.held[slot].scalar, target)

    def _single(self, home: _Home, form: Format, indices: Sequence[AffineForm], load: bool) -> Held:
        start = _start(home, indices)
        if home.on_chip:
            return Held(home.buffer, start)
        held = Held(self.builder.alloc("sram", (), form))
        if load:
            self.builder.copy(Place(home.buffer, Access(start, (), ())), held.scalar)
        return held

    def _over_pieces(self, plan: PassPlan, row: Sequence[AffineForm]) -> None:
        tiling, builder = self.tiling, self.builder
        with ExitStack() as loops:
            outer = tiling.axes.all[len(row) : tiling.cut]
            indices = [*row, *(loops.enter_context(builder.loop(axis.extent)) for axis in outer)]
            span = loops.enter_context(builder.tiles(tiling.cut_axis.extent, tiling.tile))
            indices.append(span.start)
            here = dict(self.held)
            for slot in plan.streams:
                here[slot] = self._piece(self.homes[slot][0], self._form(slot), indices, span.size, load=True)
            out = plan.out
            if out is not None:
                here[out] = self._piece(self.homes[out][0], self._form(out), indices, span.size, load=False)
            # Above zero in every piece but the first: the starts of pieces and the indices of outer column axes.
            later = sum(indices[len(row) :], AffineForm()) if plan.reductions else 0
            emit_pass(builder, plan, ONE, tiling.columns(span), here.__getitem__, later)
            if out is None:
                return
            for home in self.homes[out]:
                if not home.on_chip:
                    source, target = self._sides(home, here[out].buffer, indices, span.size)
                    builder.copy(source, target)

    def _piece(self, home: _Home, form: Format, indices: Sequence[AffineForm], size: Minimum, load: bool) -> Held:
        if home.on_chip:
            return Held(home.buffer, _start(home, indices))
        held = Held(self.builder.alloc("sram", (self.tiling.column_bound,), form))
        if load:
            target, source = self._sides(home, held.buffer, indices, size)
            self.builder.copy(source, target)
        return held

    def _sides(
        self, home: _Home, buffer: SSAValue, indices: Sequence[AffineForm], size: Minimum
    ) -> tuple[Place, Place]:
        """(the piece in its buffer, the piece in its home)."""
        inner = self.tiling.inner_columns
        sizes = (size, *(Minimum.of(axis.extent) for axis in inner))
        dense = dense_strides([self.tiling.tile, *(axis.extent for axis in inner)])
        chip = Place(buffer, Access(AffineForm(), sizes, dense))
        return chip, Place(home.buffer, Access(_start(home, indices), sizes, home.strides[self.tiling.cut :]))


def _start(home: _Home, indices: Sequence[AffineForm]) -> AffineForm:
    form = AffineForm((), home.offset)
    for index, stride in zip(indices, home.strides, strict=False):
        form = form + index * stride
    return form
