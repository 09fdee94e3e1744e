"""List scheduling: the engines simulated side by side, each taking the row that is ready and wanted soonest.

Every engine works through the rows of its queue. When it is free it takes, from a window of the rows that come next in
natural order, one whose predecessors are done and for whose buffers there is room: vector passes and stores that the
matrix engine waits for soonest come first, products and loads in natural order, unless products that feed the vector
engine go first (`Feed`). Loads may come as early as memory allows. Rows come out in the order in which they were
taken, buffers with their places.

This is Graham's list scheduling; that memories cannot deadlock is due to their promise (`memory`).
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush

from ...isa.frozen import frozen
from .memory import NEVER, Memory

COVER = 1.5
"""The vector engine is about to run dry where it has no more to do than so many times what the array takes for the next
result."""


@frozen
class Feed:
    """What products give the vector engine to do. By row: its `share`, vector cycles that follow from a product's
    result for each that the array needs until it is there, and the `lead`, those of the array (0: no product)."""

    share: Sequence[float]
    lead: Sequence[int]


@frozen
class Task:
    """Rows in natural order, and what limits their order.

    By row: `queue`; cycles `busy` on its engine, of `latency` until it is retired, of `fill` after a gap, on the
    DRAM `channel` (0: no transfer); `urgency`, by which an engine chooses (least first); rows that come `after` it in
    time, and that only stand `behind` it in file order; the buffers that it `touches`, as (memory, buffer).
    By queue: `window`, how many of its next rows it may choose from, of which so many as `tries` says are tried when
    there is no room for the first, and whether it `transfers` over the DRAM channel.
    With a `feed`, the array takes the product of the largest share first where the queues `fed` are about to run dry,
    of all those in its window that there is room for.
    """

    queue: Sequence[int]
    busy: Sequence[int]
    latency: Sequence[int]
    fill: Sequence[int]
    channel: Sequence[int]
    urgency: Sequence[int]
    after: Sequence[Sequence[int]]
    behind: Sequence[Sequence[int]]
    touches: Sequence[Sequence[tuple[int, int]]]
    window: Sequence[int]
    tries: Sequence[int]
    transfers: Sequence[bool]
    memories: Sequence[Memory]
    fed: Sequence[int] = ()
    feed: Feed | None = None


class ListScheduler:
    """The state of the simulated engines between rows."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.order: list[int] = []
        self.finish = 0
        rows, queues = len(task.queue), len(task.window)
        # By row: how many rows must be taken before it, and when those that it follows in time are done.
        self._waiting = [0] * rows
        for followers in (*task.after, *task.behind):
            for follower in followers:
                self._waiting[follower] += 1
        self._ready = [0] * rows
        self._taken = bytearray(rows + 1)
        self._frontier = 0
        # By queue: its rows, and how many of the first of them are taken.
        self._rows: list[list[int]] = [[] for _ in range(queues)]
        self._index = [0] * rows
        for row, queue in enumerate(task.queue):
            self._index[row] = len(self._rows[queue])
            self._rows[queue].append(row)
        self._head = [0] * queues
        # By queue: rows that may be taken, by when they are ready, and by urgency those that are.
        self._soon: list[list[tuple[int, int]]] = [[] for _ in range(queues)]
        self._now: list[list[tuple[int, int]]] = [[] for _ in range(queues)]
        self._free = [0] * queues
        # By queue: cycles of the rows that are not taken, and of those among them that may be.
        self._left = [0] * queues
        self._offered = [0] * queues
        for queue, busy in zip(task.queue, task.busy, strict=True):
            self._left[queue] += busy
        # By row: its cycles.
        self._cycles = list(zip(task.busy, task.latency, task.fill, task.channel, strict=True))
        self._channel_free = 0
        self._clock = 0
        # By queue: the state of the memories in which there was no room for its rows.
        self._refused = [NEVER] * queues
        self._settled = 0
        for row, waiting in enumerate(self._waiting):
            if not waiting and self._index[row] < task.window[task.queue[row]]:
                self._soon[task.queue[row]].append((0, row))
                self._offered[task.queue[row]] += task.busy[row]

    def run(self, limit: int = NEVER) -> None:
        """Let the engines take all rows; `order` is that in which they did, `finish` when the last was done.

        It ends, with a `finish` of NEVER, once it is certain that the last is not done before `limit`.
        """
        order = self.order
        while len(order) < len(self.task.queue):
            queue, time = self._next_queue()
            if queue < 0:
                row = self._wait_for_room()
                if row < 0:
                    continue
                queue = self.task.queue[row]
                time = max(self._clock, self._ready[row], self._free[queue])
            else:
                self._clock = max(self._clock, time)
                self._settle()
                row = self._choose(queue, time)
                if row < 0:
                    self._refused[queue] = self._settled
                    continue
            self._take(row, queue, time)
            order.append(row)
            if self._free[queue] + self._left[queue] >= limit:
                self.finish = NEVER
                return

    def _next_queue(self) -> tuple[int, int]:
        """The queue that can take a row soonest, and when; (-1, ...) where none can before there is more room."""
        best, best_time, best_asked = -1, NEVER, NEVER
        channel_free = self._channel_free
        state = zip(self._soon, self._now, self._free, self._refused, self.task.transfers, strict=True)
        for queue, (soon, now, time, refused, transfers) in enumerate(state):
            if not now:
                if not soon:
                    continue
                if soon[0][0] > time:
                    time = soon[0][0]
            if refused != NEVER:
                if refused == self._settled:
                    continue
                if self._clock > time:
                    time = self._clock
            asked = time
            if transfers and channel_free > time:
                time = channel_free
            if time < best_time or (time == best_time and asked < best_asked):
                best, best_time, best_asked = queue, time, asked
        return best, best_time

    def _settle(self) -> None:
        for memory in self.task.memories:
            if memory.next_done <= self._clock:
                self._settled += memory.settle(self._clock)

    def _wait_for_room(self) -> int:
        """Let time pass until something is done; a row to be taken if nothing is left to wait for, else -1.

        Then all that is alive is alive in the natural order too, so that the next row of that has room.
        """
        time = min((memory.next_done for memory in self.task.memories), default=NEVER)
        if time < NEVER:
            self._clock = max(self._clock, time)
            self._settle()
            return -1
        row = self._frontier
        if not self._admit(row):
            raise RuntimeError(f"no room for row {row} of the natural order in its own place")
        for heap in (self._soon[self.task.queue[row]], self._now[self.task.queue[row]]):
            heap[:] = [entry for entry in heap if entry[1] != row]
            heapify(heap)
        return row

    def _choose(self, queue: int, time: int) -> int:
        """The most urgent row that is ready and has room, else -1."""
        soon, now, urgency = self._soon[queue], self._now[queue], self.task.urgency
        while soon and soon[0][0] <= time:
            row = heappop(soon)[1]
            heappush(now, (urgency[row], row))
        feed = self.task.feed
        if feed is not None and len(now) > 1 and self._starves(feed.lead[now[0][1]], time):
            return self._richest(feed, now)
        rejected: list[tuple[int, int]] = []
        found = -1
        while now and len(rejected) < self.task.tries[queue]:
            entry = heappop(now)
            if self._admit(entry[1]):
                found = entry[1]
                break
            rejected.append(entry)
        for entry in rejected:
            heappush(now, entry)
        return found

    def _starves(self, lead: int, time: int) -> bool:
        """Whether the fed queues have too little to do until `lead` cycles of the array after `time` are over."""
        work = sum(self._offered[queue] + max(0, self._free[queue] - time) for queue in self.task.fed)
        return work < COVER * lead * len(self.task.fed)

    def _richest(self, feed: Feed, now: list[tuple[int, int]]) -> int:
        """The row of the largest share that has room, else -1."""
        for entry in sorted(now, key=lambda entry: (-feed.share[entry[1]], entry)):
            if self._admit(entry[1]):
                now.remove(entry)
                heapify(now)
                return entry[1]
        return -1

    def _admit(self, row: int) -> bool:
        """Whether all buffers of a row have their places. Those that found one keep it if others did not."""
        memories = self.task.memories
        for number, buffer in self.task.touches[row]:
            memory = memories[number]
            if not memory.present[buffer] and not memory.admit(buffer, self._frontier):
                return False
        return True

    def _take(self, row: int, queue: int, time: int) -> None:
        task = self.task
        busy, latency, fill, channel = self._cycles[row]
        if fill and time > self._free[queue]:
            time += fill
        end = self._free[queue] = time + busy
        self._left[queue] -= busy
        self._offered[queue] -= busy
        if channel:
            self._channel_free = time + channel
        done = end + latency
        if done > self.finish:
            self.finish = done
        self._refused[queue] = NEVER
        for number, buffer in task.touches[row]:
            memory = task.memories[number]
            memory.left[buffer] -= 1
            if not memory.left[buffer]:
                memory.leave(buffer, done)
        taken, waiting, ready = self._taken, self._waiting, self._ready
        taken[row] = 1
        if row == self._frontier:
            self._frontier = taken.index(0, row)
        for follower in task.after[row]:
            if ready[follower] < done:
                ready[follower] = done
            waiting[follower] -= 1
            if not waiting[follower]:
                self._offer(follower)
        for follower in task.behind[row]:
            waiting[follower] -= 1
            if not waiting[follower]:
                self._offer(follower)
        if self._index[row] == self._head[queue]:
            self._move_window(queue)

    def _offer(self, row: int) -> None:
        """A row may be taken from now on, if its queue's window has come to it."""
        queue = self.task.queue[row]
        if self._index[row] < self._head[queue] + self.task.window[queue]:
            heappush(self._soon[queue], (self._ready[row], row))
            self._offered[queue] += self.task.busy[row]
            self._refused[queue] = NEVER

    def _move_window(self, queue: int) -> None:
        """The window begins with the first row that is not taken."""
        rows, head, window = self._rows[queue], self._head[queue], self.task.window[queue]
        while head < len(rows) and self._taken[rows[head]]:
            head += 1
            self._head[queue] = head
            last = head + window - 1
            if last < len(rows) and not self._waiting[rows[last]]:
                self._offer(rows[last])
