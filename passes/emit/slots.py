"""Stretches of a memory as bits of whole numbers: bit s is slot s, a slot is a fixed number of bytes.

Python's whole numbers have as many bits as wanted, and unite or compare thousands of slots at once.
"""

from __future__ import annotations


def mask(start: int, slots: int) -> int:
    """The slots [start, start + slots)."""
    return ((1 << slots) - 1) << start


def runs(free: int, slots: int) -> int:
    """The slots at which a run of so many free ones starts."""
    covered = 1
    while covered < slots and free:
        step = covered if covered + covered <= slots else slots - covered
        free &= free >> step
        covered += step
    return free


def best_run(free: int, slots: int) -> int | None:
    """Where in `free` to put so many slots: a gap of just that size, else the highest place; None for nowhere."""
    starts = runs(free, slots)
    if not starts:
        return None
    exact = starts & ~(free << 1) & ~(free >> slots)
    return (exact or starts).bit_length() - 1


def lowest_run(free: int, slots: int) -> int | None:
    """The lowest place in `free` for so many slots; None for nowhere."""
    starts = runs(free, slots)
    return (starts & -starts).bit_length() - 1 if starts else None


def highest_run(free: int, slots: int) -> int | None:
    """The highest place in `free` for so many slots; None for nowhere."""
    starts = runs(free, slots)
    return starts.bit_length() - 1 if starts else None


class Stays:
    """Slots taken over stretches of time, which only ever grow: times 0 to `count` - 1."""

    def __init__(self, count: int) -> None:
        self._leaves = max(count, 1)
        # Of a node: slots taken somewhere under it, and slots taken at all of its times.
        self._some = [0] * (2 * self._leaves)
        self._all = [0] * (2 * self._leaves)

    def take(self, first: int, last: int, taken: int) -> None:
        """Take slots at the times `first` to `last`."""
        some, all_ = self._some, self._all
        low, high = first + self._leaves, last + self._leaves + 1
        begin, end = low, high - 1
        while low < high:
            if low & 1:
                some[low] |= taken
                all_[low] |= taken
                low += 1
            if high & 1:
                high -= 1
                some[high] |= taken
                all_[high] |= taken
            low >>= 1
            high >>= 1
        while begin > 1:
            begin >>= 1
            end >>= 1
            some[begin] |= taken
            if end != begin:
                some[end] |= taken

    def taken(self, first: int, last: int) -> int:
        """The slots taken at any of the times `first` to `last`."""
        some, all_ = self._some, self._all
        low, high = first + self._leaves, last + self._leaves + 1
        begin, end = low, high - 1
        result = 0
        while low < high:
            if low & 1:
                result |= some[low]
                low += 1
            if high & 1:
                high -= 1
                result |= some[high]
            low >>= 1
            high >>= 1
        while begin > 1:
            begin >>= 1
            end >>= 1
            result |= all_[begin] | all_[end]
        return result


class Upcoming:
    """The slots that buffers still to come will take, one entry a buffer, and their union over any stretch of
    entries."""

    def __init__(self, taken: list[int]) -> None:
        self._leaves = len(taken)
        self._tree = [0] * self._leaves + taken
        for at in range(self._leaves - 1, 0, -1):
            self._tree[at] = self._tree[2 * at] | self._tree[2 * at + 1]

    def remove(self, entry: int) -> None:
        """An entry that has come."""
        tree = self._tree
        at = entry + self._leaves
        tree[at] = 0
        while at > 1:
            at >>= 1
            tree[at] = tree[2 * at] | tree[2 * at + 1]

    def union(self, begin: int, end: int) -> int:
        """The slots of entries [begin, end)."""
        tree = self._tree
        low, high = begin + self._leaves, end + self._leaves
        result = 0
        while low < high:
            if low & 1:
                result |= tree[low]
                low += 1
            if high & 1:
                high -= 1
                result |= tree[high]
            low >>= 1
            high >>= 1
        return result
