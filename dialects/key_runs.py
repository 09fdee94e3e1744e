"""Which keys each query of an attention sees, as runs of adjacent keys: pure values, no IR.

Patterns over thousands of tokens are a few runs a row where their bitmap would be a square: everything that asks for
blocks, counts or mask tiles asks the runs, in time linear in their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..isa.frozen import frozen

Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]


@frozen(eq=False)
class KeyRuns:
    """For each query the runs [start, stop) of keys that it sees: in order, disjoint, not touching one another.

    `first[i]` to `first[i + 1]` are query i's places in `starts` and `stops`; `keys` is the number of all keys.
    """

    keys: int
    first: Ints
    starts: Ints
    stops: Ints

    @staticmethod
    def of(queries: int, keys: int, rows: Any, starts: Any, stops: Any) -> KeyRuns:
        """From runs in any order, of any `rows`: cut to what there is, and joined where they touch or overlap."""
        rows, starts, stops = (np.ravel(part) for part in np.broadcast_arrays(rows, starts, stops))
        starts, stops = np.clip(starts, 0, keys).astype(np.int64), np.clip(stops, 0, keys).astype(np.int64)
        kept = starts < stops
        # One line of all keys of all rows, with a gap between rows that no run closes.
        base = rows[kept].astype(np.int64) * (keys + 1)
        begin, end = base + starts[kept], base + stops[kept]
        order = np.argsort(begin, kind="stable")
        begin, furthest = begin[order], np.maximum.accumulate(end[order])
        opens = np.ones(len(begin), dtype=bool)
        opens[1:] = begin[1:] > furthest[:-1]
        closes = np.roll(opens, -1)
        begin, end = begin[opens], furthest[closes]
        row = begin // (keys + 1)
        first = np.searchsorted(row, np.arange(queries + 1))
        return KeyRuns(keys, first.astype(np.int64), begin - row * (keys + 1), end - row * (keys + 1))

    @staticmethod
    def one_each(keys: int, starts: Any, stops: Any) -> KeyRuns:
        """One run a query."""
        starts, stops = np.broadcast_arrays(starts, stops)
        return KeyRuns.of(len(starts), keys, np.arange(len(starts)), starts, stops)

    @staticmethod
    def of_mask(mask: Bools) -> KeyRuns:
        """From a bitmap [queries, keys]."""
        queries, keys = mask.shape
        edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        rows, starts = np.nonzero(edges == 1)
        _, stops = np.nonzero(edges == -1)
        return KeyRuns.of(queries, keys, rows, starts, stops)

    @property
    def queries(self) -> int:
        """The number of queries."""
        return len(self.first) - 1

    @cached_property
    def rows(self) -> Ints:
        """The query of each run."""
        return np.repeat(np.arange(self.queries), np.diff(self.first))

    @cached_property
    def counts(self) -> Ints:
        """How many keys each query sees."""
        return np.bincount(self.rows, self.stops - self.starts, self.queries).astype(np.int64)

    @property
    def pairs(self) -> int:
        """How many pairs of a query and a key there are."""
        return int((self.stops - self.starts).sum())

    @property
    def is_full(self) -> bool:
        """Whether every query sees every key."""
        return self.pairs == self.queries * self.keys

    @cached_property
    def identity(self) -> tuple[int, bytes, bytes, bytes]:
        """Equal where the same queries see the same keys."""
        return self.keys, self.first.tobytes(), self.starts.tobytes(), self.stops.tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyRuns) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    def union(self, *others: KeyRuns) -> KeyRuns:
        """What is seen here or there."""
        every = (self, *others)
        rows, starts, stops = (
            np.concatenate([getattr(runs, name) for runs in every]) for name in ("rows", "starts", "stops")
        )
        return KeyRuns.of(self.queries, self.keys, rows, starts, stops)

    def inverse(self) -> KeyRuns:
        """What is not seen here."""
        rows = np.concatenate([self.rows, np.arange(self.queries)])
        starts = np.concatenate([self.stops, np.zeros(self.queries, np.int64)])
        order = np.lexsort((starts, rows))
        rows, starts = rows[order], starts[order]
        last = np.append(rows[1:] != rows[:-1], True)
        stops = np.full(len(rows), self.keys, np.int64)
        # Each gap ends where the next run of its row starts; the last of a row at the last key.
        stops[~last] = self.starts
        return KeyRuns.of(self.queries, self.keys, rows, starts, stops)

    def intersection(self, other: KeyRuns) -> KeyRuns:
        """What is seen here and there."""
        return self.inverse().union(other.inverse()).inverse()

    def ordered(self, order: Ints) -> KeyRuns:
        """The same where queries and keys both stand in another order: place i holds token `order[i]`."""
        place = np.empty(self.keys, np.int64)
        place[order] = np.arange(self.keys)
        lengths = self.stops - self.starts
        # Every key that is seen, one by one.
        ends = np.cumsum(lengths)
        keys = np.arange(self.pairs) - np.repeat(ends - lengths, lengths) + np.repeat(self.starts, lengths)
        seen = place[keys]
        return KeyRuns.of(self.queries, self.keys, place[np.repeat(self.rows, lengths)], seen, seen + 1)

    def part(self, start: int, stop: int) -> KeyRuns:
        """Of the queries from `start` to `stop` only."""
        low, high = self.first[start], self.first[stop]
        first = self.first[start : stop + 1] - low
        return KeyRuns(self.keys, first, self.starts[low:high], self.stops[low:high])

    def grouped(self, bounds: Sequence[int] | Ints) -> KeyRuns:
        """What any query of each group sees: group g holds the queries `bounds[g]` to `bounds[g + 1]`."""
        groups = np.searchsorted(np.asarray(bounds), self.rows, side="right") - 1
        return KeyRuns.of(len(bounds) - 1, self.keys, groups, self.starts, self.stops)

    def mask(self, start: int = 0, stop: int | None = None) -> Bools:
        """The bitmap [queries, keys] of the queries from `start` to `stop`."""
        stop = self.queries if stop is None else stop
        low, high = self.first[start], self.first[stop]
        steps = np.zeros((stop - start, self.keys + 1), dtype=np.int8)
        rows = self.rows[low:high] - start
        # Runs do not touch: no two of them begin or end at the same place.
        steps[rows, self.starts[low:high]] += 1
        steps[rows, self.stops[low:high]] -= 1
        return np.cumsum(steps[:, :-1], axis=1, dtype=np.int8).astype(np.bool_)
