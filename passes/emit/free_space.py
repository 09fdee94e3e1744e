"""The free part of a memory while buffers come and go, and where a buffer should go that comes now."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

NEVER = 1 << 62


class FreeSpace:
    """Free pieces of a memory by address. `since[i]` is the time at which the last users of piece i are done.

    Times only grow between calls. A piece is settled once its time is past: then nothing has to wait for it.
    """

    def __init__(self, capacity: int) -> None:
        self.starts = [0]
        self.ends = [capacity]
        self.since = [0]
        # The earliest time at which a piece that was not joined with its neighbours is settled.
        self._unjoined = NEVER

    def release(self, start: int, end: int, since: int) -> None:
        """Give [start, end) back; its last users are done at time `since`."""
        at = bisect_left(self.starts, start)
        self.starts.insert(at, start)
        self.ends.insert(at, end)
        self.since.insert(at, since)
        if since < self._unjoined:
            self._unjoined = since

    def choose(self, size: int, now: int, kept: Sequence[tuple[int, int]] = ()) -> int | None:
        """A start for a buffer of `size` bytes at time `now`, or None where no free run is long enough.

        Stretches of `kept` are left alone. Least waiting first, then the shortest run, then the highest
        place: buffers of one size take each other's places.
        """
        if self._unjoined <= now:
            self._join_settled(now)
        starts, ends, since = self._without(sorted(kept)) if kept else (self.starts, self.ends, self.since)
        count = len(starts)
        # A settled piece of just this size is the best there can be.
        for at in range(count - 1, -1, -1):
            if ends[at] - starts[at] == size and since[at] <= now:
                return starts[at]
        best: tuple[int, int, int] | None = None
        found: int | None = None
        for first in range(count):
            worst, last = since[first], first
            while ends[last] - starts[first] < size:
                if last + 1 == count or starts[last + 1] != ends[last]:
                    break
                last += 1
                if since[last] > worst:
                    worst = since[last]
            else:
                start = ends[last] - size
                rank = (worst - now if worst > now else 0, ends[last] - starts[first], -start)
                if best is None or rank < best:
                    best, found = rank, start
        return found

    def lowest(self, size: int) -> int:
        """The lowest start of `size` free bytes. Raises ValueError where there is none."""
        begin = reach = -1
        for start, end in zip(self.starts, self.ends, strict=True):
            begin = begin if start == reach else start
            reach = end
            if reach - begin >= size:
                return begin
        raise ValueError(f"no {size} bytes are free in a row")

    def take(self, start: int, end: int) -> None:
        """Remove [start, end), which is free."""
        at = bisect_left(self.starts, start)
        if at == len(self.starts) or self.starts[at] > start:
            at -= 1
        kept: list[tuple[int, int, int]] = []
        stop = at
        while stop < len(self.starts) and self.starts[stop] < end:
            if self.starts[stop] < start:
                kept.append((self.starts[stop], start, self.since[stop]))
            if self.ends[stop] > end:
                kept.append((end, self.ends[stop], self.since[stop]))
            stop += 1
        self.starts[at:stop] = [piece[0] for piece in kept]
        self.ends[at:stop] = [piece[1] for piece in kept]
        self.since[at:stop] = [piece[2] for piece in kept]

    def is_free(self, start: int, end: int) -> bool:
        """Whether all of [start, end) is free."""
        at = bisect_right(self.starts, start) - 1
        if at < 0:
            return False
        reach = start
        while at < len(self.starts) and self.starts[at] <= reach:
            reach = max(reach, self.ends[at])
            if reach >= end:
                return True
            at += 1
        return False

    def _without(self, kept: Sequence[tuple[int, int]]) -> tuple[list[int], list[int], list[int]]:
        """The pieces without the stretches of `kept`, which are in order but may overlap."""
        starts: list[int] = []
        ends: list[int] = []
        since: list[int] = []
        for start, end, when in zip(self.starts, self.ends, self.since, strict=True):
            for low, high in kept:
                if high <= start:
                    continue
                if low >= end:
                    break
                if low > start:
                    starts.append(start)
                    ends.append(low)
                    since.append(when)
                start = max(start, high)
            if start < end:
                starts.append(start)
                ends.append(end)
                since.append(when)
        return starts, ends, since

    def _join_settled(self, now: int) -> None:
        """Adjacent pieces that nothing has to wait for become one."""
        starts, ends, since = self.starts, self.ends, self.since
        joined = 0
        self._unjoined = min((when for when in since if when > now), default=NEVER)
        for at in range(1, len(starts)):
            if starts[at] == ends[joined] and since[at] <= now and since[joined] <= now:
                ends[joined] = ends[at]
            else:
                joined += 1
                starts[joined], ends[joined], since[joined] = starts[at], ends[at], since[at]
        del starts[joined + 1 :], ends[joined + 1 :], since[joined + 1 :]
