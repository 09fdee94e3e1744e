"""Loads moved ahead in the file order, as early as the on-chip memory allows, so that they run under earlier
work.

The load queue is in order, so the order of the loads among themselves matters as much: a load that must wait
for a store would hold back every load behind it. The queue is therefore simulated roughly: time is the work
of the other engines up to a row; whenever the channel is free, the load needed soonest among those whose
sources exist is taken and put at the earliest row from which its buffer fits in memory until the row where it
stood.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray

from .footprint import Ints

SEARCH_STEP = 512
"""Rows looked at together when searching backwards for the first row from which a buffer fits."""


@dataclass(frozen=True)
class Load:
    """One load as it stands in the natural order, at `position`.

    `earliest` is the first row it may stand before, `space` and `size` the memory that moving it ahead
    occupies (size 0 where its buffer lives already), `after` the loads (by position) that must stay ahead of
    it.
    """

    position: int
    earliest: int
    space: int
    size: int
    busy: int
    after: tuple[int, ...]


def hoisted(loads: list[Load], elapsed: Ints, live: Mapping[int, Ints], capacity: Mapping[int, int]) -> Ints:
    """The natural rows in their new file order.

    `elapsed[row]` is the time (cycles) of the other engines' work ahead of each row and not decreasing,
    `live[space]` the bytes alive at each row in the natural order, `capacity[space]` the bytes that may be
    alive.
    """
    rows = len(elapsed)
    room = {space: capacity[space] - bytes_alive for space, bytes_alive in live.items()}
    key = np.arange(rows, dtype=np.int64)
    rank = np.full(rows, np.iinfo(np.int64).max, dtype=np.int64)
    for turn, (position, target) in enumerate(_service(loads, elapsed, room)):
        key[position] = target
        rank[position] = turn
    return np.lexsort((rank, key))


def _service(loads: list[Load], elapsed: Ints, room: dict[int, Ints]) -> list[tuple[int, int]]:
    """(natural position, new place) of every load, in the order in which the queue takes them."""
    by_position = {load.position: load for load in loads}
    followers: dict[int, list[int]] = {}
    waiting: dict[int, int] = {}
    for load in loads:
        waiting[load.position] = len(load.after)
        for ahead in load.after:
            followers.setdefault(ahead, []).append(load.position)
    time = elapsed.tolist()
    # Loads whose sources are not written yet, by the row after which they are; and those that may go, by
    # need.
    blocked = [(load.earliest, load.position) for load in loads if not waiting[load.position]]
    heapify(blocked)
    ready: list[int] = []
    result: list[tuple[int, int]] = []
    clock = slip = floor = 0
    while blocked or ready:
        while blocked and time[blocked[0][0]] + slip <= clock:
            heappush(ready, heappop(blocked)[1])
        if not ready:
            clock = max(clock, time[blocked[0][0]] + slip)
            continue
        load = by_position[ready[0]]
        low = min(max(load.earliest, floor), load.position)
        target = _first_fit(room.get(load.space), load, low)
        start = max(clock, time[target])
        if blocked and blocked[0][1] < load.position and time[blocked[0][0]] + slip < start:
            clock = max(clock + 1, time[blocked[0][0]] + slip)
            continue
        heappop(ready)
        if load.size:
            room[load.space][target : load.position] -= load.size
        clock = start + load.busy
        slip = max(slip, clock - time[load.position])
        floor = max(floor, target)
        result.append((load.position, target))
        for follower in followers.get(load.position, ()):
            waiting[follower] -= 1
            if not waiting[follower]:
                heappush(blocked, (max(by_position[follower].earliest, target), follower))
    return result


def _first_fit(room: Ints | None, load: Load, low: int) -> int:
    """The first row from `low` such that the load's buffer fits at every row from there to where the load
    stood."""
    if room is None or not load.size:
        return low
    high = load.position
    while high > low:
        begin = max(low, high - SEARCH_STEP)
        full: NDArray[np.int64] = np.flatnonzero(room[begin:high] < load.size)
        if len(full):
            return begin + int(full[-1]) + 1
        high = begin
    return low
