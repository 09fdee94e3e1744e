"""Which keys each block of an attention's queries looks at, and in which loops the blocks are written out.

Dense and causal attention look at the first keys: one stretch, whose end is affine in the loop over panels. A pattern
shows a block several stretches. Where panel after panel looks alike, moved on by the same distances (the middle of a
sliding window), one loop body serves them all; other panels are written out one by one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache

import numpy as np

from ...dialects.affine_form import AffineForm, Minimum
from ...dialects.key_runs import Bools, Ints, KeyRuns
from ...isa.frozen import frozen
from .build import Span, tile_span

ZERO = AffineForm()

SHORTEST_LOOP = 4
"""Fewer panels than that are written out one by one, so that blocks overlap from one to the next."""


HEAVY = 4
"""A query that sees so many times as many keys as the median is set apart."""

MOST_CUTS = 6
"""More pieces than that are not worth their ends."""


@frozen
class Stretch:
    """Adjacent keys that a block looks at: which, where their scores go in the block's row of scores, and the number of
    the mask tile that hides some of them (None: the block's queries see them all). `source` is the stretch of the panel
    that holds them."""

    keys: Span
    place: int = 0
    tile: int | None = None
    source: int = 0


@frozen
class BlockSight:
    """A block of queries: from where on in its panel, its rows, what it looks at, and how many keys that is."""

    offset: int
    rows: Span
    stretches: tuple[Stretch, ...]
    width: Minimum

    @property
    def limit(self) -> int:
        """The most keys that it can be."""
        bound = self.width.bound
        assert bound is not None
        return bound


@frozen
class PanelSight:
    """Blocks that are written out together: their rows, and all stretches of keys that any of them looks at (with mask
    tiles where there is one block only)."""

    rows: Span
    blocks: tuple[BlockSight, ...]
    stretches: tuple[Stretch, ...]


class Sight(ABC):
    """What the queries of one kernel, or a part of them, look at."""

    @abstractmethod
    def loops(self, rows: int, blocks: int) -> Sequence[PanelLoop]:
        """The loops over panels of `blocks` blocks of `rows` queries, one after the other."""


@frozen
class PanelLoop(ABC):
    """`count` panels that one loop body serves."""

    count: int

    @abstractmethod
    def panel(self, index: AffineForm) -> PanelSight:
        """The panel at a loop index."""


@frozen
class Prefix(Sight):
    """Query i sees the first i + `visible` of `keys`, all of them where that is None."""

    queries: int
    keys: int
    visible: int | None

    def loops(self, rows: int, blocks: int) -> Sequence[PanelLoop]:
        size = max(1, min(rows * blocks, self.queries))
        return (_PrefixLoop(-(-self.queries // size), self, rows, size),)

    def seen(self, rows: Span, least: int) -> Minimum:
        """How many keys, from the first, some rows look at: all where a block of `least` of them sees none."""
        if self.visible is None or rows.start.constant + min(rows.limit, least) + self.visible - 1 < 1:
            return Minimum.of(self.keys)
        end = rows.start + (rows.limit + self.visible - 1)
        if end.is_constant:
            return Minimum.of(min(end.constant, self.keys))
        return Minimum((AffineForm.of(self.keys), end))


@frozen
class _PrefixLoop(PanelLoop):
    sight: Prefix
    rows: int
    size: int

    def panel(self, index: AffineForm) -> PanelSight:
        rows = tile_span(self.sight.queries, self.size, index)
        return PanelSight(rows, tuple(self._blocks(rows)), (Stretch(Span(ZERO, self.sight.seen(rows, self.rows))),))

    def _blocks(self, panel: Span) -> Iterator[BlockSight]:
        for offset in range(0, panel.limit, self.rows):
            left = tuple(form - offset for form in panel.size.forms)
            rows = Span(panel.start + offset, Minimum((AffineForm.of(self.rows), *left)))
            if rows.size.constant is not None:
                rows = Span.of(rows.start, rows.size.constant)
            seen = self.sight.seen(rows, self.rows)
            yield BlockSight(offset, rows, (Stretch(Span(ZERO, seen)),), seen)


@frozen
class Shown(Sight):
    """What a pattern shows the queries `first` to `last`. Stretches that are less than `gap` keys apart count as one:
    the array would pay for the keys between them anyway. They begin at multiples of `grain` keys, where packed weights
    and values begin a byte."""

    runs: KeyRuns
    first: int
    last: int
    gap: int
    grain: int = 1

    def loops(self, rows: int, blocks: int) -> Sequence[PanelLoop]:
        return self.layout(rows, blocks).loops

    def layout(self, rows: int, blocks: int) -> ShownLayout:
        """The blocks and panels of these sizes."""
        return _layout(self, rows, blocks)


def zones(runs: KeyRuns) -> list[int]:
    """Where to cut the queries so that those that see several times as many keys as most (global tokens) are by
    themselves: first queries, and the end. No cut where they are scattered."""
    dense = runs.counts > HEAVY * max(1, int(np.median(runs.counts)))
    cuts = np.flatnonzero(dense[1:] != dense[:-1]) + 1
    return [0, *(cuts.tolist() if len(cuts) <= MOST_CUTS else []), runs.queries]


def tile_pitch(columns: int) -> int:
    """The distance between rows of a mask tile: bits are stored in whole bytes."""
    return -(-columns // 8) * 8


@lru_cache(maxsize=512)
def _layout(sight: Shown, rows: int, blocks: int) -> ShownLayout:
    return ShownLayout(sight, rows, blocks)


@frozen(eq=False)
class ShownLayout:
    """A pattern seen by blocks of `rows` queries, `blocks` of them a panel."""

    sight: Shown
    rows: int
    blocks: int

    def _bounds(self, size: int) -> Ints:
        """Where pieces begin: at multiples of their size, so that they meet the blocks of a pattern."""
        inner = np.arange(self.sight.first // size + 1, -(-self.sight.last // size)) * size
        return np.concatenate([[self.sight.first], inner, [self.sight.last]]).astype(np.int64)

    def _stretches(self, bounds: Ints) -> KeyRuns:
        """What each piece looks at, small gaps closed; one key where it sees none, since its rows are results too."""
        runs = self.sight.runs.part(self.sight.first, self.sight.last)
        seen = runs.grouped(bounds - self.sight.first)
        blind = np.flatnonzero(seen.counts == 0)
        within = np.flatnonzero(seen.rows[1:] == seen.rows[:-1])
        near = within[seen.starts[within + 1] - seen.stops[within] < self.sight.gap]
        rows = np.concatenate([seen.rows, blind, seen.rows[near]])
        starts = np.concatenate([seen.starts, np.zeros_like(blind), seen.stops[near]])
        stops = np.concatenate([seen.stops, np.ones_like(blind), seen.starts[near + 1]])
        grain = self.sight.grain
        return KeyRuns.of(len(bounds) - 1, runs.keys, rows, starts // grain * grain, -(-stops // grain) * grain)

    @cached_property
    def single(self) -> ShownLayout:
        """The layout whose panels are these blocks, one by one."""
        return self if self.blocks == 1 else self.sight.layout(self.rows, 1)

    @cached_property
    def panel_bounds(self) -> Ints:
        """The first query of every panel, and the end of the last."""
        return self._bounds(self.rows * self.blocks)

    @cached_property
    def panel_stretches(self) -> KeyRuns:
        """The stretches of every panel."""
        return self._stretches(self.panel_bounds)

    @property
    def bounds(self) -> Ints:
        """The first query of every block, and the end of the last."""
        return self.single.panel_bounds

    @property
    def stretches(self) -> KeyRuns:
        """The stretches of every block."""
        return self.single.panel_stretches

    @property
    def tile_of(self) -> tuple[Sequence[int | None], Sequence[tuple[int, int, Ints]]]:
        """For each stretch of a block the number of its mask tile (None: nothing is hidden), and the tiles: each of
        rows and columns, with its runs as [row, start, stop]."""
        return self.single._tile_of

    @cached_property
    def _tile_of(self) -> tuple[Sequence[int | None], Sequence[tuple[int, int, Ints]]]:
        sight, stretches = self.sight, self.stretches
        part = sight.runs.part(sight.first, sight.last)
        block = np.searchsorted(self.bounds - sight.first, part.rows, side="right") - 1
        line = part.keys + 1
        # The stretch of its block that each run lies in.
        home = np.searchsorted(stretches.rows * line + stretches.starts, block * line + part.starts, side="right") - 1
        order = np.argsort(home, kind="stable")
        relative = np.stack(
            [
                part.rows + sight.first - self.bounds[block],
                part.starts - stretches.starts[home],
                part.stops - stretches.starts[home],
            ]
        )[:, order]
        heights = np.diff(self.bounds)[stretches.rows]
        widths = stretches.stops - stretches.starts
        seen = np.bincount(home, part.stops - part.starts, len(stretches.starts)).astype(np.int64)
        begins = np.searchsorted(home[order], np.arange(len(stretches.starts) + 1))
        known: dict[tuple[int, int, bytes], int] = {}
        tiles: list[tuple[int, int, Ints]] = []
        numbers: list[int | None] = []
        for index, (height, width) in enumerate(zip(heights.tolist(), widths.tolist(), strict=True)):
            if seen[index] == height * width:
                numbers.append(None)
                continue
            within = np.ascontiguousarray(relative[:, begins[index] : begins[index + 1]])
            number = known.setdefault((height, width, within.tobytes()), len(tiles))
            if number == len(tiles):
                tiles.append((height, width, within))
            numbers.append(number)
        return numbers, tiles

    @cached_property
    def tile_bytes(self) -> int:
        """Bytes of all mask tiles, of a bit for each score."""
        return sum(rows * tile_pitch(columns) for rows, columns, _ in self.tile_of[1]) // 8

    @cached_property
    def tile_starts(self) -> tuple[int, ...]:
        """Where each tile begins in `tiles`."""
        sizes = [rows * tile_pitch(columns) for rows, columns, _ in self.tile_of[1]]
        return tuple(np.cumsum([0, *sizes[:-1]]).tolist()) if sizes else ()

    @property
    def masks(self) -> tuple[Bools, ...]:
        """All mask tiles [rows, keys]: which scores are seen."""
        return tuple(KeyRuns.of(rows, columns, *runs).mask() for rows, columns, runs in self.tile_of[1])

    @property
    def tiles(self) -> Bools:
        """All mask tiles as they are stored: each row-major, its rows padded, one after the other."""
        padded = [np.pad(mask, ((0, 0), (0, tile_pitch(mask.shape[1]) - mask.shape[1]))) for mask in self.masks]
        return np.concatenate([mask.reshape(-1) for mask in padded]) if padded else np.zeros(0, np.bool_)

    @cached_property
    def loops(self) -> Sequence[ShownLoop]:
        """Panels gathered into loops: equal but for distances that stay the same."""
        panels = [self._panel(index) for index in range(len(self.panel_bounds) - 1)]
        found: list[ShownLoop] = []
        begin = 0
        while begin < len(panels):
            end, step = begin + 1, np.zeros_like(panels[begin].starts)
            if end < len(panels) and panels[end].kind == panels[begin].kind:
                step = panels[end].starts - panels[begin].starts
                while (
                    end < len(panels)
                    and panels[end].kind == panels[begin].kind
                    and np.array_equal(panels[end].starts - panels[end - 1].starts, step)
                ):
                    end += 1
            if end - begin < SHORTEST_LOOP:
                found += [ShownLoop(1, panel, np.zeros_like(panel.starts)) for panel in panels[begin:end]]
            else:
                found.append(ShownLoop(end - begin, panels[begin], step))
            begin = end
        return tuple(found)

    def _panel(self, index: int) -> _Panel:
        low, high = int(self.panel_bounds[index]), int(self.panel_bounds[index + 1])
        held = slice(*self.panel_stretches.first[index : index + 2].tolist())
        starts, stops = self.panel_stretches.starts[held], self.panel_stretches.stops[held]
        blocks: list[_BlockKind] = []
        first = int(np.searchsorted(self.bounds, low))
        for block in range(first, int(np.searchsorted(self.bounds, high))):
            place, stretches = 0, list[_StretchKind]()
            for at in range(int(self.stretches.first[block]), int(self.stretches.first[block + 1])):
                start, size = int(self.stretches.starts[at]), int(self.stretches.stops[at] - self.stretches.starts[at])
                source = int(np.searchsorted(starts, start, side="right")) - 1
                stretches.append((size, place, self.tile_of[0][at], source, start - int(starts[source])))
                place += size
            top, bottom = int(self.bounds[block]), int(self.bounds[block + 1])
            blocks.append((top - low, bottom - top, tuple(stretches)))
        kind = (high - low, tuple((stops - starts).tolist()), tuple(blocks))
        return _Panel(kind, np.concatenate([[low], starts]).astype(np.int64))


_StretchKind = tuple[int, int, int | None, int, int]
"""(keys, place in the row, mask tile, stretch of the panel, offset in it)."""

_BlockKind = tuple[int, int, tuple[_StretchKind, ...]]
"""(offset in the panel, rows, stretches)."""


@frozen(eq=False)
class _Panel:
    """A panel: what panels of one loop have in common, and where its queries and stretches of keys start."""

    kind: tuple[int, tuple[int, ...], tuple[_BlockKind, ...]]
    starts: Ints


@frozen(eq=False)
class ShownLoop(PanelLoop):
    """Panels alike: those of `first`, moved on by `step` each time."""

    first: _Panel
    step: Ints

    def panel(self, index: AffineForm) -> PanelSight:
        rows, *keys = (index * int(step) + int(start) for start, step in zip(self.first.starts, self.step, strict=True))
        size, widths, blocks = self.first.kind
        sights: list[BlockSight] = []
        for offset, height, stretches in blocks:
            found = tuple(
                Stretch(Span.of(keys[source] + at, width), place, tile, source)
                for width, place, tile, source, at in stretches
            )
            total = sum(width for width, *_ in stretches)
            sights.append(BlockSight(offset, Span.of(rows + offset, height), found, Minimum.of(total)))
        if len(sights) == 1:
            return PanelSight(Span.of(rows, size), tuple(sights), sights[0].stretches)
        spans = tuple(Stretch(Span.of(start, width)) for start, width in zip(keys, widths, strict=True))
        return PanelSight(Span.of(rows, size), tuple(sights), spans)
