"""What vector passes make of a finished accumulator tile: loads of what they need, the passes, and the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from xdsl.ir import SSAValue

from ...dialects.affine_form import AffineForm, Minimum
from ...isa.frozen import frozen
from .build import Span, TileBuilder
from .lane_graph import Extent, LaneGraph
from .lane_passes import Held, emit_passes
from .matmul_problem import Epilogue
from .pack import Packing, Slot, pack, reads_before_writing
from .row_statistics import Statistic, StatisticsRun
from .tile_leaves import LeafRun, TileLeaves
from .tiles import Spread, hold, tile_place


@frozen(eq=False)
class TileEpilogue:
    """A lane graph over tiles of a domain; its first output is stored as `output` says, the others are parts of the
    `statistics` of rows.

    `sources` has the stored value behind each leaf, None where the caller gives it; `given` is what those vary with,
    in order, and `accs` are the leaves that lie in ACC.
    """

    graph: LaneGraph
    sources: tuple[Spread | None, ...]
    leaves: TileLeaves
    output: Spread
    given: tuple[Extent, ...] = (Extent.FULL,)
    accs: frozenset[int] = frozenset({0})
    statistics: tuple[Statistic, ...] = ()

    @cached_property
    def packing(self) -> Packing:
        """The passes."""
        given = iter(self.given)
        extents = tuple(next(given) if leaf is None else leaf.extent for leaf in self.sources)
        return pack(self.graph, extents, self.accs)

    @property
    def output_usable(self) -> bool:
        """Whether passes could write the result in its own storage, were that on chip."""
        return self.leaves.columns == 1 or self.output.column == 1

    @property
    def stores_in_place(self) -> bool:
        """Whether passes write the result where it stays."""
        return self.output.root in self.leaves.scope.residents and self.output_usable

    def may_overwrite(self, root: SSAValue) -> bool:
        """Whether the result may be written where a stored leaf lies: its elements are read with those of the same
        tile that are written in their place, by no pass after that."""
        found = [index for index, leaf in enumerate(self.sources) if leaf is not None and leaf.root is root]
        if [self.sources[index] for index in found] != [replace(self.output, root=root)]:
            return False
        return reads_before_writing(self.packing, found[0], self.packing.outputs[0])

    @cached_property
    def by_tile(self) -> TileEpilogue:
        """The same, where what repeats for every row comes with the columns that it is for."""
        return replace(self, leaves=replace(self.leaves, by_tile=True))

    @property
    def costs(self) -> Epilogue:
        """What the search needs to know of it."""
        packing, leaves = self.packing, self.leaves
        kept = [t for index, t in enumerate(packing.temporaries) if index != packing.outputs[0]]
        return Epilogue(
            passes=max(1, packing.full_passes),
            loaded=leaves.with_each(Extent.FULL),
            stored=0 if self.stores_in_place else self.output.form.width,
            kept=sum(temporary.form.width for temporary in kept if temporary.extent is Extent.FULL),
            row_loads=leaves.with_each(Extent.ROW),
            rows=leaves.with_each(Extent.ROW) + sum(t.form.width for t in kept if t.extent is Extent.ROW),
            statistics=len(self.statistics),
        )


@frozen
class Gathered:
    """The results of the tiles in `rows` x `columns`, on chip until all of them are there."""

    held: Held
    rows: Span
    columns: Span

    def part(self, rows: Span, columns: Span) -> Held:
        """Where the tile at `rows` x `columns` of the product lies."""
        moved = (rows.start - self.rows.start) * self.held.pitch + (columns.start - self.columns.start)
        return Held(self.held.buffer, self.held.offset + moved, self.held.pitch)


class EpilogueRun:
    """An epilogue while its kernel is emitted. Several that read the same values may share `leaves`."""

    def __init__(
        self,
        epilogue: TileEpilogue,
        builder: TileBuilder,
        leaves: LeafRun | None = None,
        statistics: StatisticsRun | None = None,
    ) -> None:
        self._epilogue = epilogue
        self._statistics = statistics
        self._builder = builder
        self._leaves = leaves or LeafRun(epilogue.leaves, builder)

    def preload(self, indices: Sequence[AffineForm]) -> None:
        """As `LeafRun.preload`."""
        self._leaves.preload(indices)

    def load_columns(self, indices: Sequence[AffineForm], columns: Span) -> None:
        """As `LeafRun.load_columns`."""
        self._leaves.load_columns(indices, columns)

    def gather(self, rows: Span, columns: Span) -> Gathered:
        """A place on chip for the results of several tiles."""
        form = self._epilogue.output.form
        return Gathered(hold(self._builder, Extent.FULL, rows.limit, columns.limit, form), rows, columns)

    def store(self, indices: Sequence[AffineForm], gathered: Gathered) -> None:
        """Store the results of several tiles."""
        rows, columns = gathered.rows, gathered.columns
        start = self._epilogue.output.start(indices, rows.start, columns.start)
        self._store(gathered.held, start, rows.size, columns.size, 0)

    def tile(
        self,
        indices: Sequence[AffineForm],
        rows: Span,
        columns: Span,
        given: Mapping[int, Held],
        stage: int = 0,
        gathered: Gathered | None = None,
    ) -> None:
        """The passes over the tile at `rows` x `columns`, and its store, unless its result is `gathered`."""
        epilogue, builder, packing = self._epilogue, self._builder, self._epilogue.packing
        scope, output = epilogue.leaves.scope, epilogue.output
        leaves = {
            index: given[index] if leaf is None else self._leaves.find(leaf, indices, rows, columns, stage)
            for index, leaf in enumerate(epilogue.sources)
        }
        start = output.start(indices, rows.start, columns.start)
        final, *parts = packing.outputs
        temporaries: list[Held] = []
        for index, temporary in enumerate(packing.temporaries):
            if index in parts:
                assert self._statistics is not None
                temporaries.append(self._statistics.part(parts.index(index), indices, rows, columns))
            elif index == final and epilogue.stores_in_place:
                temporaries.append(Held(scope.buffers[output.root], start, output.row))
            elif index == final and gathered is not None:
                temporaries.append(gathered.part(rows, columns))
            else:
                temporaries.append(hold(builder, temporary.extent, rows.limit, columns.limit, temporary.form))

        def find(slot: Slot) -> Held:
            return leaves[slot.index] if slot.leaf else temporaries[slot.index]

        emit_passes(builder, packing, rows.size, columns.size, find, stage)
        if not epilogue.stores_in_place and gathered is None:
            self._store(temporaries[final], start, rows.size, columns.size, stage)

    def _store(self, source: Held, start: AffineForm, rows: Minimum, columns: Minimum, stage: int) -> None:
        output = self._epilogue.output
        buffer = self._epilogue.leaves.scope.buffers[output.root]
        full = Spread(output.root, output.form, 0, (), output.row or 1, output.column or 1)
        self._builder.copy(source.full(rows, columns), tile_place(buffer, full, start, rows, columns), stage)


def strips_of(
    builder: TileBuilder, rows: Span, strip: int, held: Mapping[int, Held]
) -> Iterator[tuple[Span, dict[int, Held]]]:
    """A loop over strips of the rows of a tile: each with what is held of it."""
    count = -(-rows.limit // strip)
    with builder.loop(count) as index:
        start = index * strip
        if count == 1 or (rows.size.constant is not None and rows.limit % strip == 0):
            size = rows.size.at_most(strip) if count == 1 else Minimum.of(strip)
        else:
            size = Minimum((AffineForm.of(strip), *(form - start for form in rows.size.forms)))
        moved = {key: Held(h.buffer, h.offset + start * h.pitch, h.pitch) for key, h in held.items()}
        yield Span(rows.start + start, size), moved
