"""One sweep over the natural order that places buffers and moves loads ahead, together.

Buffers that instructions fill are placed when the sweep comes to them. Loads are served ahead of their rows,
in the order in which their data are needed, whenever the load queue would else stand idle, the memory has
room for the buffer from there on (at every row until the load's own), and a free stretch is long enough. A
load whose source is still being written does not hold back those behind it. Should a buffer find no free
stretch later, loads served too early give way and are served again afterwards.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

import numpy as np

from .allocate import NO_PLACE
from .footprint import Ints
from .free_space import FreeSpace

LOOK_AHEAD = 16
"""So many loads may stand blocked while those behind them are tried."""

SEARCH_STEP = 512
"""Rows looked at together when searching backwards for a row at which a buffer does not fit."""


@dataclass(frozen=True)
class Load:
    """One load as it stands in the natural order, at `row`.

    It may stand before row `earliest` but not before any earlier one, and its source is complete at cycle
    `release`. It loads into `instance`, which comes to life with it if it is the `first` to do so. It keeps
    behind the loads of `after`; what a `movable` first load brought may give way and be loaded again.
    """

    row: int
    earliest: int
    release: int
    busy: int
    latency: int
    instance: int
    first: bool
    after: tuple[int, ...]
    movable: bool


@dataclass(frozen=True)
class Resident:
    """An instance on chip: its memory, bytes, first and last row, when its last users are done, and its
    address where that was decided before (else NO_PLACE).
    """

    space: int
    size: int
    first: int
    last: int
    done: int
    fixed: int


@dataclass
class Task:
    """What the sweep works on: `time[row]` the cycle at which each row starts (not decreasing), loads by row,
    instances by number, bytes of each memory, and for each memory the bytes that loads served ahead may
    take at every row."""

    time: list[int]
    loads: dict[int, Load]
    instances: dict[int, Resident]
    capacity: dict[int, int]
    room: dict[int, Ints]


@dataclass
class Swept:
    """The result: for every load (row before which it stands, its turn), and every instance's address."""

    places: dict[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])
    address: dict[int, int] = field(default_factory=dict[int, int])


class NoRoomError(Exception):
    """A buffer found no free stretch, whatever gave way; `space` is its memory."""

    def __init__(self, space: int) -> None:
        super().__init__(f"no free stretch in memory {space}")
        self.space = space


class Sweep:
    """The sweep's state between rows."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.result = Swept()
        self._free = {space: FreeSpace(capacity) for space, capacity in task.capacity.items()}
        self._clock = 0
        self._slip = 0
        self._turn = 0
        self._quiet = 0
        self._arrival: dict[int, int] = {}
        self._ahead: dict[int, list[int]] = {}
        self._retry: dict[int, int] = {}
        self._waiting = {row: len(load.after) for row, load in task.loads.items()}
        self._followers: dict[int, list[int]] = {}
        for row, load in task.loads.items():
            for before in load.after:
                self._followers.setdefault(before, []).append(row)
        free = [load for load in task.loads.values() if not load.after]
        self._early = [(load.earliest, load.row) for load in free]
        self._unwritten: list[tuple[int, int]] = []
        self._ready: list[int] = []
        heapify(self._early)
        self._fixed: dict[int, list[tuple[int, int, int, int]]] = {}
        for number, instance in task.instances.items():
            if instance.fixed != NO_PLACE:
                entry = (instance.first, instance.fixed, instance.fixed + instance.size, number)
                self._fixed.setdefault(instance.space, []).append(entry)
        for entries in self._fixed.values():
            entries.sort()
        self._births: dict[int, list[int]] = {}
        self._deaths: dict[int, list[int]] = {}
        filled = {load.instance for load in task.loads.values() if load.first}
        for number, instance in task.instances.items():
            if number not in filled:
                self._births.setdefault(instance.first, []).append(number)
            self._deaths.setdefault(instance.last + 1, []).append(number)
        for numbers in self._births.values():
            numbers.sort(key=lambda number: task.instances[number].fixed == NO_PLACE)

    def run(self) -> Swept:
        """Sweep over all rows. Raises NoRoomError."""
        loads = self.task.loads
        for row in range(len(self.task.time)):
            for number in self._deaths.get(row, ()):
                self._bury(number)
            load = loads.get(row)
            if load is not None:
                if row not in self.result.places:
                    self._serve(load, row, must=True)
                self._slip = max(self._slip, self._arrival[row] - self.task.time[row])
                self._ahead.pop(load.instance, None)
            for number in self._births.get(row, ()):
                self._settle(number, row)
            self._serve_ahead(row)
        return self.result

    def _now(self, row: int) -> int:
        return self.task.time[row] + self._slip

    def _bury(self, number: int) -> None:
        instance = self.task.instances[number]
        start = self.result.address[number]
        if instance.size:
            done = instance.done + self._slip
            self._free[instance.space].release(start, start + instance.size, done)

    def _settle(self, number: int, row: int, must: bool = True) -> bool:
        """Give an instance its address; whether one was found."""
        instance = self.task.instances[number]
        if not instance.size:
            self.result.address[number] = 0
            return True
        start = self._choose(instance, row)
        if start is None and must:
            start = self._make_room(instance, row)
        if start is None:
            return False
        self._free[instance.space].take(start, start + instance.size)
        self.result.address[number] = start
        return True

    def _choose(self, instance: Resident, row: int) -> int | None:
        """A free start for an instance alive from `row` on, clear of those fixed for later rows."""
        free = self._free[instance.space]
        last = instance.last if instance.fixed == NO_PLACE else instance.first - 1
        kept: list[tuple[int, int]] = []
        entries = self._fixed.get(instance.space, ())
        for at in range(bisect_left(entries, (row,)), len(entries)):
            first, start, end, number = entries[at]
            if first > last:
                break
            if number not in self.result.address:
                kept.append((start, end))
        if instance.fixed == NO_PLACE:
            return free.choose(instance.size, self._now(row), kept)
        start, end = instance.fixed, instance.fixed + instance.size
        if any(low < end and start < high for low, high in kept) or not free.is_free(start, end):
            return None
        return start

    def _serve_ahead(self, row: int) -> None:
        """Serve loads while the load queue would be idle before the next row.

        The one needed soonest comes first; where there is no place for it yet, the next few are tried.
        """
        time = self.task.time
        until = time[min(row + 1, len(time) - 1)] + self._slip
        if row < self._quiet and not self._is_news(row, until):
            return
        blocked: list[int] = []
        while self._clock <= until and len(blocked) < LOOK_AHEAD:
            self._release(row)
            if self._ready:
                load = heappop(self._ready)
                if self._is_stale(load, row):
                    continue
                if self._retry.get(load, 0) > row or not self._serve(self.task.loads[load], row, must=False):
                    blocked.append(load)
            elif self._unwritten and self._unwritten[0][0] + self._slip <= until:
                self._clock = max(self._clock, self._unwritten[0][0] + self._slip)
            else:
                break
        for load in blocked:
            heappush(self._ready, load)
        # Nothing can change before one of the blocked may be tried again, or another load joins them.
        stuck = blocked and (len(blocked) == LOOK_AHEAD or len(blocked) == len(self._ready))
        self._quiet = min(self._retry[load] for load in blocked) if stuck else 0

    def _is_news(self, row: int, until: int) -> bool:
        """Whether a load becomes ready by the next row."""
        if self._early and self._early[0][0] <= row:
            return True
        return bool(self._unwritten) and self._unwritten[0][0] + self._slip <= until

    def _is_stale(self, load: int, row: int) -> bool:
        """Whether an entry of the queues is of no use any more: served, or behind a load that gave way."""
        return load <= row or load in self.result.places or self._waiting[load] > 0

    def _release(self, row: int) -> None:
        """Move loads along whose place in the order, and then whose source, has come."""
        early, unwritten = self._early, self._unwritten
        while early and early[0][0] <= row:
            load = self.task.loads[heappop(early)[1]]
            heappush(unwritten, (load.release, load.row))
        limit = max(self._clock, self._now(row)) - self._slip
        while unwritten and unwritten[0][0] <= limit:
            heappush(self._ready, heappop(unwritten)[1])

    def _serve(self, load: Load, row: int, must: bool) -> bool:
        """Put a load before `row`; whether there was room, which there is when it `must`."""
        if load.first:
            instance = self.task.instances[load.instance]
            if not must and not self._fits(load, instance, row):
                return False
            if not self._settle(load.instance, row, must):
                self._retry[load.row] = self._next_death(row)
                return False
            if row < load.row:
                self.task.room[instance.space][row : load.row] -= instance.size
                if load.movable and instance.size:
                    self._ahead[load.instance] = [load.row]
        elif load.instance in self._ahead:
            self._ahead[load.instance].append(load.row)
        start = max(self._clock, self._now(row), load.release + self._slip)
        self._clock = start + load.busy
        self._arrival[load.row] = start + load.busy + load.latency
        self.result.places[load.row] = (row, self._turn)
        self._turn += 1
        for follower in self._followers.get(load.row, ()):
            self._waiting[follower] -= 1
            if not self._waiting[follower]:
                heappush(self._early, (max(self.task.loads[follower].earliest, row), follower))
        return True

    def _next_death(self, row: int) -> int:
        """The next row at which an instance ends, and with it free stretches may grow."""
        row += 1
        while row < len(self.task.time) and row not in self._deaths:
            row += 1
        return row

    def _fits(self, load: Load, instance: Resident, row: int) -> bool:
        """Whether memory has room for a load's buffer from `row` to where the load stands."""
        room = self.task.room[instance.space]
        if room[row] < instance.size:
            self._retry[load.row] = row + 1
            return False
        high = load.row
        while high > row:
            begin = max(row, high - SEARCH_STEP)
            part = room[begin:high]
            if int(part.min()) < instance.size:
                self._retry[load.row] = begin + int(np.flatnonzero(part < instance.size)[-1]) + 1
                return False
            high = begin
        return True

    def _make_room(self, instance: Resident, row: int) -> int | None:
        """Take back loads served ahead of their need, the latest needed first, until a stretch is free."""
        served = [n for n in self._ahead if self.task.instances[n].space == instance.space]
        for number in sorted(served, key=lambda n: -self.task.instances[n].first):
            self._take_back(number, row)
            start = self._choose(instance, row)
            if start is not None:
                return start
        raise NoRoomError(instance.space)

    def _take_back(self, number: int, row: int) -> None:
        """Undo the loads of an instance that is not needed yet: they are served again later."""
        rows = self._ahead.pop(number)
        instance = self.task.instances[number]
        place = self.result.places[rows[0]][0]
        self.task.room[instance.space][place : instance.first] += instance.size
        start = self.result.address.pop(number)
        self._free[instance.space].release(start, start + instance.size, 0)
        for one in rows:
            del self.result.places[one]
            self._arrival.pop(one)
            for follower in self._followers.get(one, ()):
                self._waiting[follower] += 1
        head = self.task.loads[rows[0]]
        heappush(self._early, (row + 1, head.row))
