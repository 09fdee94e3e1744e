"""What vector passes make of a finished accumulator tile: loads of what they need, the passes, and the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ...dialects.affine_form import AffineForm, Minimum
from .build import Span, TileBuilder
from .cluster import Cluster
from .kernel import Scope
from .lane_graph import Extent, LaneGraph
from .lane_passes import Held, emit_passes
from .pack import Packing, Slot, pack
from .search import Epilogue
from .tiles import Spread, elements, hold, load, tile_bytes, tile_place

WHOLE_SHARE = 20
"""A row or column that all tiles share is kept whole on chip where it takes at most this part of the SRAM."""


@dataclass(frozen=True, eq=False)
class TileEpilogue:
    """A lane graph over tiles of a domain of `rows` x `columns` (inside outer loops).

    `leaves` has the stored value behind each leaf of the graph, None where the caller gives it on chip; `accs` are
    those leaves that lie in ACC. `output` is where the graph's first output goes; other outputs stay on chip.
    """

    scope: Scope
    graph: LaneGraph
    leaves: tuple[Spread | None, ...]
    output: Spread
    rows: int
    columns: int
    given: tuple[Extent, ...] = (Extent.FULL,)
    accs: frozenset[int] = frozenset({0})

    @staticmethod
    def of_cluster(scope: Scope, cluster: Cluster, leaves: Sequence[Spread | None], output: Spread) -> TileEpilogue:
        """The epilogue of a product: the cluster's first leaf is the accumulator."""
        rows, columns = cluster.domain[-2:]
        return TileEpilogue(scope, cluster.graph, tuple(leaves), output, rows, columns)

    @cached_property
    def extents(self) -> tuple[Extent, ...]:
        """What each leaf varies with inside a tile."""
        given = iter(self.given)
        return tuple(next(given) if leaf is None else leaf.extent for leaf in self.leaves)

    @cached_property
    def packing(self) -> Packing:
        """The passes."""
        return pack(self.graph, self.extents, self.accs)

    def in_place(self, leaf: Spread) -> bool:
        """Whether passes read a stored value where it lies."""
        return leaf.root in self.scope.residents and leaf.usable_in_place

    @property
    def stores_in_place(self) -> bool:
        """Whether passes write the result where it stays."""
        return self.output.root in self.scope.residents and self.output_usable

    @property
    def output_usable(self) -> bool:
        """Whether passes could write the result in its own storage, were that on chip."""
        return self.columns == 1 or self.output.column == 1

    def is_whole(self, leaf: Spread) -> bool:
        """Whether a value is loaded once for all tiles rather than with each."""
        size = elements(leaf.extent, self.rows, self.columns) * leaf.form.bytes
        return leaf.extent is not Extent.FULL and size * WHOLE_SHARE <= self.scope.machine.sram.bytes

    @property
    def whole_bytes(self) -> int:
        """SRAM for the values that are loaded once."""
        return sum(
            tile_bytes(leaf.extent, self.rows, self.columns, leaf.form)
            for leaf in self.leaves
            if leaf is not None and self.is_whole(leaf) and not self.in_place(leaf)
        )

    @property
    def costs(self) -> Epilogue:
        """What the search needs to know of it."""
        packing = self.packing
        loaded = [leaf for leaf in self.leaves if leaf is not None and not self.in_place(leaf) and not self.is_whole(leaf)]
        kept = [t for index, t in enumerate(packing.temporaries) if index != packing.outputs[0]]
        return Epilogue(
            passes=max(1, packing.full_passes),
            loaded=sum(leaf.form.bytes for leaf in loaded if leaf.extent is Extent.FULL),
            stored=0 if self.stores_in_place else self.output.form.bytes,
            kept=sum(temporary.form.bytes for temporary in kept if temporary.extent is Extent.FULL),
            rows=sum(leaf.form.bytes for leaf in loaded if leaf.extent is Extent.ROW)
            + sum(temporary.form.bytes for temporary in kept if temporary.extent is Extent.ROW),
        )


@dataclass(eq=False)
class EpilogueRun:
    """An epilogue while its kernel is emitted: what has been loaded so far."""

    epilogue: TileEpilogue
    builder: TileBuilder
    held: dict[int, Held] = field(default_factory=dict[int, Held])

    def preload(self, indices: Sequence[AffineForm]) -> None:
        """Load what all tiles inside the open outer loops (their `indices`) share, and no larger set of tiles does."""
        epilogue = self.epilogue
        for index, leaf in enumerate(epilogue.leaves):
            if leaf is None or epilogue.in_place(leaf) or not epilogue.is_whole(leaf) or leaf.level != len(indices):
                continue
            rows, columns = epilogue.rows, epilogue.columns
            self.held[index] = hold(self.builder, leaf.extent, rows, columns, leaf.form)
            self._load(leaf, self.held[index], indices, Span.of(0, rows), Span.of(0, columns), 0)

    def _load(
        self, leaf: Spread, target: Held, indices: Sequence[AffineForm], rows: Span, columns: Span, stage: int
    ) -> None:
        buffer = self.epilogue.scope.buffers[leaf.root]
        start = leaf.start(indices, rows.start, columns.start)
        source = tile_place(buffer, leaf, start, rows.size, columns.size)
        load(self.builder, source, target, leaf.extent, rows.size, columns.size, stage)

    def leaf(self, index: int, indices: Sequence[AffineForm], rows: Span, columns: Span, stage: int) -> Held:
        """A stored leaf of the tile at `rows` x `columns`, loaded now if it was not yet."""
        epilogue = self.epilogue
        leaf = epilogue.leaves[index]
        assert leaf is not None
        if epilogue.in_place(leaf):
            start = leaf.start(indices, rows.start, columns.start)
            return Held(epilogue.scope.buffers[leaf.root], start, leaf.row)
        if index in self.held:
            held = self.held[index]
            by_row = rows.start if leaf.extent & Extent.COLUMN else AffineForm()
            by_column = columns.start if leaf.extent & Extent.ROW else AffineForm()
            return Held(held.buffer, held.offset + by_row + by_column, held.pitch)
        target = hold(self.builder, leaf.extent, rows.limit, columns.limit, leaf.form)
        self._load(leaf, target, indices, rows, columns, stage)
        return target

    def tile(
        self,
        indices: Sequence[AffineForm],
        rows: Span,
        columns: Span,
        given: Mapping[int, Held],
        stage: int = 0,
    ) -> None:
        """The passes over the tile at `rows` x `columns`, and its store."""
        epilogue, builder, packing = self.epilogue, self.builder, self.epilogue.packing
        leaves = {
            index: given[index] if leaf is None else self.leaf(index, indices, rows, columns, stage)
            for index, leaf in enumerate(epilogue.leaves)
        }
        output = epilogue.output
        start = output.start(indices, rows.start, columns.start)
        final = packing.outputs[0]
        temporaries: list[Held] = []
        for index, temporary in enumerate(packing.temporaries):
            if index == final and epilogue.stores_in_place:
                temporaries.append(Held(epilogue.scope.buffers[output.root], start, output.row))
            else:
                temporaries.append(hold(builder, temporary.extent, rows.limit, columns.limit, temporary.form))

        def find(slot: Slot) -> Held:
            return leaves[slot.index] if slot.leaf else temporaries[slot.index]

        emit_passes(builder, packing, rows.size, columns.size, find, stage)
        if not epilogue.stores_in_place:
            self._store(temporaries[final], start, rows.size, columns.size, stage)

    def _store(self, source: Held, start: AffineForm, rows: Minimum, columns: Minimum, stage: int) -> None:
        output = self.epilogue.output
        buffer = self.epilogue.scope.buffers[output.root]
        full = Spread(output.root, output.form, 0, (), output.row or 1, output.column or 1)
        self.builder.copy(source.full(rows, columns), tile_place(buffer, full, start, rows, columns), stage)
