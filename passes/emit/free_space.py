"""The free part of a memory while buffers come and go, and where a buffer should go that comes now."""

from __future__ import annotations

from bisect import bisect_left


class FreeSpace:
    """Free pieces of a memory by address. `since[i]` is the time at which the last users of piece i are done.

    Times only grow between calls. A piece is settled once its time is past: then nothing has to wait for it.
    """

    def __init__(self, capacity: int) -> None:
        self.starts = [0]
        self.ends = [capacity]
        self.since = [0]

    def release(self, start: int, end: int, since: int) -> None:
        """Give [start, end) back; its last users are done at time `since`."""
        at = bisect_left(self.starts, start)
        self.starts.insert(at, start)
        self.ends.insert(at, end)
        self.since.insert(at, since)

    def choose(self, size: int, now: int, low_end: bool) -> int | None:
        """A start for a buffer of `size` bytes at time `now`, or None where no free run is long enough.

        Least waiting first, then, from the low end: the lowest place; else the shortest run of settled space,
        from the top, so that buffers of one size take each other's places.
        """
        self._join_settled(now)
        starts, ends, since = self.starts, self.ends, self.since
        count = len(starts)
        best: tuple[int, int, int] | None = None
        found: int | None = None
        for first in range(count):
            worst, last = since[first], first
            while ends[last] - starts[first] < size:
                if last + 1 == count or starts[last + 1] != ends[last]:
                    break
                last += 1
                worst = max(worst, since[last])
            else:
                start = starts[first] if low_end else ends[last] - size
                wait = max(worst - now, 0)
                rank = (wait, 0, start) if low_end else (wait, ends[last] - starts[first], -start)
                if best is None or rank < best:
                    best, found = rank, start
        return found

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

    def _join_settled(self, now: int) -> None:
        """Adjacent pieces that nothing has to wait for become one."""
        starts, ends, since = self.starts, self.ends, self.since
        joined = 0
        for at in range(1, len(starts)):
            if starts[at] == ends[joined] and since[at] <= now and since[joined] <= now:
                ends[joined] = ends[at]
            else:
                joined += 1
                starts[joined], ends[joined], since[joined] = starts[at], ends[at], since[at]
        del starts[joined + 1 :], ends[joined + 1 :], since[joined + 1 :]
