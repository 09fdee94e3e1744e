"""Rowwise kernels: elementwise operations, reductions, norms and softmaxes over any shape, tiled by rows.

Reduced axes are the columns. A tile holds whole rows (or, where nothing is reduced, pieces of a row), loads and stores
are strided copies that transpose on the way, and operands that stay on chip are used in place. A row that does not fit
is worked in pieces (`rowwise_pieces.py`).
"""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod

import numpy as np
from xdsl.ir import SSAValue

from ...dialects.affine_form import AffineForm, Minimum
from ...dialects.tile import Place
from ...isa.errors import CapacityError
from ...isa.frozen import frozen
from .axes import Axes, split_axes
from .build import MAXIMUM_EXTENT, Span, TileBuilder
from .cluster import Cluster, make_cluster
from .kernel import Budget, Kernel, Lowering, Plan, Scope
from .lane_graph import Extent
from .lane_passes import Held, emit_passes
from .pack import Packing, Slot, pack, reads_before_writing
from .rowwise_cost import TileWork, tile_costs, used_slots
from .rowwise_pieces import emit_pieces, pieces_cycles, plan_pieces
from .tiling import Tiling
from .view import View


@frozen
class RowwisePlan(Plan):
    """A tiling with the passes over a tile; `pieces` where rows are worked in pieces."""

    tiling: Tiling
    packing: Packing
    pieces: bool = False


class RowwiseLowering(Lowering):
    """A cluster of lane operations, tiled by rows."""

    def __init__(self, kernel: Kernel, scope: Scope) -> None:
        super().__init__(kernel, scope)
        self.cluster: Cluster = make_cluster(kernel.operations, kernel.results, scope)
        views = [*(leaf.view for leaf in self.cluster.leaves), *(output.view for output in self.cluster.outputs)]
        self.views: tuple[View, ...] = tuple(view for view in views if view is not None)
        self.axes: Axes = split_axes(self.cluster.domain, self.cluster.reduced, self.views)
        self._rates = scope.rates

    @cached_property
    def _empty(self) -> bool:
        return 0 in self.cluster.domain

    def plan(self, budget: Budget) -> RowwisePlan:
        """The tiling with the fewest predicted cycles within the budget."""
        if self._empty:
            return RowwisePlan(0, 0, 0.0, {}, Tiling(self.axes, 0, 1), Packing((), (), ()))
        best: RowwisePlan | None = None
        for tiling in self._candidates():
            plan = self._plan_tiling(tiling, budget)
            if plan is not None and (best is None or plan.cycles < best.cycles):
                best = plan
        if best is None and self.cluster.reduced and self._in_pieces():
            tiling, packing, need = plan_pieces(self.cluster, self.axes, budget)
            details = {"pieces": tiling.tile, "passes": packing.full_passes}
            cycles = pieces_cycles(self.cluster, tiling, packing, self.scope.machine)
            best = RowwisePlan(need, 0, cycles, details, tiling, packing, pieces=True)
        if best is None:
            raise CapacityError(f"one tile of {self.kernel.path or self.kernel.kind}", self._least(), budget.sram)
        return best

    def _candidates(self) -> list[Tiling]:
        """Every axis that can be cut, whole; where there are reductions, also with rows and columns turned."""
        if not self.cluster.reduced:
            return [Tiling(self.axes, cut, axis.extent) for cut, axis in enumerate(self.axes.all)]
        return [
            Tiling(self.axes, cut, axis.extent, turned)
            for turned in (False, True)
            for cut, axis in enumerate(self.axes.rows)
        ]

    @property
    def shape(self) -> Hashable:
        places = tuple(self.place_of(view.root) for view in self.views)
        offsets = tuple(view.offset for view in self.views)
        works = () if self._empty else tuple(self._work(whole).without_programs for whole in self._candidates())
        return RowwiseLowering, self.axes, offsets, places, works

    def _least(self) -> int:
        """SRAM bytes of the smallest tile."""
        _, need, *_ = tile_costs(self._work(self._candidates()[-1]).without_programs, self._rates)
        return int(need.min())

    def _work(self, whole: Tiling) -> TileWork:
        extents = tuple(self.extent(whole, view) for view in range(len(self.views)))
        forms = (*(leaf.form for leaf in self.cluster.leaves), *(output.form for output in self.cluster.outputs))
        resident = tuple(self.resident(view) for view in range(len(self.views)))
        leaves = len(self.cluster.leaves)
        return TileWork(whole, pack(self.cluster.graph, extents[:leaves]), forms, extents, resident, leaves)

    def _plan_tiling(self, whole: Tiling, budget: Budget) -> RowwisePlan | None:
        """The best tile size of a tiling that has the cut axis whole; None where it cannot be or does not fit."""
        inner = whole.row_bound // whole.tile if whole.in_rows else whole.column_bound // whole.tile
        if inner > MAXIMUM_EXTENT or (whole.in_rows and whole.column_bound > MAXIMUM_EXTENT):
            return None
        if not self._in_place(whole):
            return None
        work = self._work(whole)
        if not all(map(whole.packs, range(len(self.views)), work.extents, work.forms)):
            return None
        sizes, need, cycles, awaited = tile_costs(work.without_programs, self._rates)
        fits = need <= budget.sram
        if not fits.any():
            return None
        index = int(np.argmin(np.where(fits, cycles + awaited, np.inf)))
        tiling = replace(whole, tile=int(sizes[index]))
        passes = work.packing.full_passes
        details = {"rows": tiling.row_bound, "columns": tiling.column_bound, "passes": passes}
        if tiling.turned:
            details["turned"] = 1
        return RowwisePlan(int(need[index]), 0, float(cycles[index]), details, tiling, work.packing)

    @property
    def vector_cycles(self) -> float:
        """Cycles that the passes take over all rows, whatever the tiles."""
        if self._empty:
            return 0.0
        passes = self._work(self._candidates()[-1]).packing.full_passes
        return passes * prod(self.cluster.domain) / self.scope.machine.vector.lanes

    def _in_pieces(self) -> bool:
        """Whether every resident can be used in place piece by piece."""
        piece = Tiling(self.axes, len(self.axes.rows), self.axes.columns[0].extent)
        return self._in_place(piece)

    def resident(self, view: int) -> bool:
        """Whether the storage of view `view` (leaves, then outputs) lies in SRAM."""
        return self.views[view].root in self.scope.residents

    def _in_place(self, tiling: Tiling) -> bool:
        """Whether every resident operand and result can be used where it lies."""
        return all(
            tiling.pitch_in_place(view, self.extent(tiling, view)) is not None
            for view in range(len(self.views))
            if self.resident(view)
        )

    def extent(self, tiling: Tiling, view: int) -> Extent:
        """What a view varies with inside a tile: for outputs, all that they are stored over."""
        place = view - len(self.cluster.leaves)
        if place < 0:
            return tiling.extent(view)
        return Extent.FULL if self.cluster.outputs[place].full else Extent.COLUMN

    def accepts_resident(self, value: SSAValue) -> bool:
        """Whether the tile of the last row axis can be used in place, turned or not.

        A result that the passes leave together with another one is stored by copies: it cannot be resident.
        """
        if self._empty:
            return True
        asked = self.cluster.graph.outputs
        for output, made in zip(self.cluster.outputs, asked, strict=True):
            if output.value is value and asked.count(made) > 1:
                return False
        last = Tiling(self.axes, len(self.axes.rows) - 1, self.axes.rows[-1].extent)
        leaves = len(self.cluster.leaves)
        found = [index for index, leaf in enumerate(self.cluster.leaves) if leaf.value is value]
        found += [leaves + index for index, output in enumerate(self.cluster.outputs) if output.value is value]
        return any(
            all(tiling.pitch_in_place(view, self.extent(tiling, view)) is not None for view in found)
            for tiling in ((last, replace(last, turned=True)) if self.cluster.reduced else (last,))
        )

    def may_overwrite(self, operand: SSAValue, result: SSAValue) -> bool:
        """Whether operand and result lie alike over the domain, and no pass reads the one after writing the other."""
        if self._empty:
            return False
        root = self.scope.view(operand).root
        leaves = len(self.cluster.leaves)
        found = [index for index in range(leaves) if self.views[index].root is root]
        place = next(index for index, output in enumerate(self.cluster.outputs) if output.value is result)
        if len(found) != 1 or not self.cluster.outputs[place].full:
            return False
        old, new = found[0], leaves + place
        alike = self.views[old].offset == self.views[new].offset
        if not alike or any(axis.strides[old] != axis.strides[new] for axis in self.axes.all):
            return False
        packing = self._work(self._candidates()[-1]).packing
        return reads_before_writing(packing, old, packing.outputs[place])

    def emit(self, plan: Plan, builder: TileBuilder) -> None:
        """Loops over tiles: load what each level needs, run the passes, store."""
        assert isinstance(plan, RowwisePlan)
        if self._empty:
            return
        if plan.pieces:
            emit_pieces(self.cluster, self.views, self.scope, plan.tiling, plan.packing, builder)
            return
        tile = _TileEmission(self, plan, builder)
        with ExitStack() as loops:
            tile.load(0, Minimum.of(plan.tiling.tile))
            for axis in plan.tiling.loops:
                tile.indices.append(loops.enter_context(builder.loop(axis.extent)))
                tile.load(len(tile.indices), Minimum.of(plan.tiling.tile))
            span = loops.enter_context(builder.tiles(plan.tiling.cut_axis.extent, plan.tiling.tile))
            tile.indices.append(span.start)
            tile.load(len(tile.indices), span.size)
            tile.compute(span)
            tile.store(span)


@dataclass
class _TileEmission:
    """One tile being emitted: the open loops' indices, and what lies where on chip."""

    lowering: RowwiseLowering
    plan: RowwisePlan
    builder: TileBuilder
    indices: list[AffineForm] = field(default_factory=list[AffineForm])
    leaves: dict[int, Held] = field(default_factory=dict[int, Held])
    temporaries: dict[int, Held] = field(default_factory=dict[int, Held])

    @cached_property
    def used(self) -> frozenset[Slot]:
        """The slots that passes read."""
        return used_slots(self.plan.packing)

    def load(self, level: int, size: Minimum) -> None:
        """Bring the leaves whose tile is known with `level` loops open."""
        tiling, scope = self.plan.tiling, self.lowering.scope
        for index, leaf in enumerate(self.lowering.cluster.leaves):
            if tiling.level(index) != level or Slot(True, index) not in self.used:
                continue
            view = self.lowering.views[index]
            offset = tiling.offset(index, view.offset, self.indices)
            extent = tiling.extent(index)
            if self.lowering.resident(index):
                self.leaves[index] = self._in_place(index, offset, extent)
                continue
            buffer = self.builder.alloc("sram", tiling.bounds(extent), leaf.form)
            source, target = tiling.block(index, extent, offset, size, leaf.form)
            self.builder.copy(Place(scope.buffers[view.root], source), Place(buffer, target))
            self.leaves[index] = Held(buffer, pitch=tiling.pitch(leaf.form))

    def _in_place(self, view: int, offset: AffineForm, extent: Extent) -> Held:
        pitch = self.plan.tiling.pitch_in_place(view, extent)
        assert pitch is not None
        return Held(self.lowering.scope.buffers[self.lowering.views[view].root], offset, pitch)

    def compute(self, span: Span) -> None:
        """Give every temporary its place - a resident output's own storage, else a buffer - and run the passes."""
        tiling, cluster = self.plan.tiling, self.lowering.cluster
        for place, temporary in enumerate(self.plan.packing.outputs):
            view = len(cluster.leaves) + place
            if self.lowering.resident(view) and temporary not in self.temporaries:
                offset = tiling.offset(view, self.lowering.views[view].offset, self.indices)
                extent = self.lowering.extent(tiling, view)
                self.temporaries[temporary] = self._in_place(view, offset, extent)
        for index, temporary in enumerate(self.plan.packing.temporaries):
            if index not in self.temporaries:
                buffer = self.builder.alloc("sram", tiling.bounds(temporary.extent), temporary.form)
                self.temporaries[index] = Held(buffer, pitch=tiling.pitch(temporary.form))
        sizes = (tiling.rows(span), tiling.columns(span))
        emit_passes(self.builder, self.plan.packing, *sizes, self._find, turned=tiling.turned)

    def _find(self, slot: Slot) -> Held:
        return self.leaves[slot.index] if slot.leaf else self.temporaries[slot.index]

    def store(self, span: Span) -> None:
        """Write the outputs that do not lie where they belong already."""
        tiling, cluster, scope = self.plan.tiling, self.lowering.cluster, self.lowering.scope
        for place, temporary in enumerate(self.plan.packing.outputs):
            view = len(cluster.leaves) + place
            root = self.lowering.views[view].root
            held = self.temporaries[temporary]
            if scope.buffers[root] is held.buffer:
                continue
            extent = self.lowering.extent(tiling, view)
            offset = tiling.offset(view, self.lowering.views[view].offset, self.indices)
            form = self.plan.packing.temporaries[temporary].form
            target, source = tiling.block(view, extent, offset, span.size, form)
            self.builder.copy(Place(held.buffer, source), Place(scope.buffers[root], target))
