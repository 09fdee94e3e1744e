"""A memory on chip while rows are put in order: what is alive, what was lately, and what is still to come.

Every buffer has a place planned for it, in which it would live if all rows kept the natural order. The memory holds
to one promise: from any point on, the rest of the natural order could run in the places planned for it. A buffer that
comes to life early is admitted only where that stays true, in its own place or any other, so that no order that was
begun can end in a memory that is too full or too scattered.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from heapq import heappop, heappush

from .slots import Upcoming, best_run, mask

NEVER = 1 << 62


class Memory:
    """One memory of `slots`; its buffers are numbered by their first rows in the natural order.

    Buffer b takes `sizes[b]` slots, from row `first[b]` to row `last[b]`; `users[b]` rows touch it. It is planned to
    lie at slot `planned[b]`, and in the end lies at `start[b]`.
    """

    def __init__(
        self,
        slots: int,
        sizes: Sequence[int],
        first: Sequence[int],
        last: Sequence[int],
        users: Sequence[int],
        planned: Sequence[int],
    ) -> None:
        self.sizes = sizes
        self.start = list(planned)
        self._first, self._last = first, last
        # By buffer: how many of its users are still to be issued, and whether it has its place.
        self.left = list(users)
        self.present = bytearray(len(sizes))
        self._everything = mask(0, slots)
        self._masks = [mask(start, size) for start, size in zip(planned, sizes, strict=True)]
        self._upcoming = Upcoming(list(self._masks))
        self._alive = 0
        # Slots whose last users were issued but are not done, and when they will be.
        self._cooling = 0
        self._done: list[tuple[int, int]] = []
        # When the next place will be free for which only time is wanting.
        self.next_done = NEVER

    def admit(self, buffer: int, frontier: int) -> bool:
        """Give a buffer that is not present its place; `frontier` is the first row still to come in natural order.

        False where there is no place that is free and on which nobody works any more.
        """
        own = self._masks[buffer]
        taken = self._alive | self._cooling
        begin = bisect_left(self._first, frontier)
        before = self._upcoming.union(begin, buffer) if begin < buffer else 0
        if own & (taken | before):
            size = self.sizes[buffer]
            taken |= before
            if (self._everything & ~taken).bit_count() < size:
                return False
            taken |= self._upcoming.union(buffer + 1, bisect_right(self._first, self._last[buffer]))
            start = best_run(self._everything & ~taken, size)
            if start is None:
                return False
            own = self._masks[buffer] = mask(start, size)
            self.start[buffer] = start
        self._alive |= own
        self._upcoming.remove(buffer)
        self.present[buffer] = 1
        return True

    def leave(self, buffer: int, done: int) -> None:
        """The last of a buffer's users is issued: it leaves its place to others when that is done, at time `done`."""
        own = self._masks[buffer]
        self._alive ^= own
        self._cooling |= own
        heappush(self._done, (done, buffer))
        self.next_done = self._done[0][0]

    def settle(self, now: int) -> int:
        """Time has come to `now`: places whose last users are done by then are free. How many that are."""
        settled = 0
        while self._done and self._done[0][0] <= now:
            self._cooling ^= self._masks[heappop(self._done)[1]]
            settled += 1
        self.next_done = self._done[0][0] if self._done else NEVER
        return settled
