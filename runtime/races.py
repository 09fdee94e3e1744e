"""The race check: two instructions that touch one memory line, one of them writing, must be ordered by the
program.

Ordered means happens-before: the order of a queue, and waits. Simulated time plays no part, so a program
without a race is right on every machine of its sizes. Each instruction has a vector clock (for each queue,
how many of its instructions have surely retired); each memory line keeps, by queue, the last instruction that
read and wrote it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..isa.blocks import Space
from ..isa.machine import Machine
from .accesses import Accesses, Place

Counts = NDArray[np.int32]


@dataclass(frozen=True)
class Race:
    """Rows `first` < `second` touch the same line of `space` at byte `address`; the flags say who writes."""

    first: int
    second: int
    first_writes: bool
    second_writes: bool
    space: Space
    address: int


def find_races(
    accesses: Accesses, queue: Sequence[int], waits: Sequence[Sequence[int]], machine: Machine
) -> Iterator[Race]:
    """The races of a program in file order, at most one for each access.

    `queue` and `waits` (rows waited for) have an entry for each row. Extents in registers count with their
    declared maximum.
    """
    rows_of_queue: list[list[int]] = [[] for _ in machine.queues]
    clocks = np.zeros((len(queue), len(machine.queues)), dtype=np.int32)
    memories = {space: _History(accesses, space, machine) for space in Space}
    for row, own in enumerate(queue):
        before = rows_of_queue[own]
        clock = clocks[row]
        if before:
            clock[:] = clocks[before[-1]]
        for waited in waits[row]:
            np.maximum(clock, clocks[waited], out=clock)
        known = np.concatenate((clock, clock))[:, None]
        touched = [(memories[place.space], place, writes) for place, writes in accesses.by_row[row]]
        for memory, place, writes in touched:
            race = memory.conflict(row, place, writes, known, rows_of_queue)
            if race is not None:
                yield race
        before.append(row)
        # From here on the clock says what has retired when this instruction has.
        clock[own] = len(before)
        for memory, place, writes in touched:
            memory.record(place, writes, own, len(before))


class _History:
    """The last writers and readers of each line of a memory, by queue, as counts within their queues."""

    def __init__(self, accesses: Accesses, space: Space, machine: Machine) -> None:
        self.space = space
        self.line_bytes = machine.hazard_line_bytes(space)
        # Bytes that nothing writes (weights in DRAM) cannot race: only the span that is written has one.
        low, high = accesses.written_span(space)
        self.low = low // self.line_bytes
        self.high = -(-high // self.line_bytes)
        self.queues = len(machine.queues)
        # Writers of all queues, then readers of all queues.
        self.counts: Counts = np.zeros((2 * self.queues, self.high - self.low), dtype=np.int32)

    def conflict(
        self, row: int, place: Place, writes: bool, known: Counts, rows_of_queue: Sequence[Sequence[int]]
    ) -> Race | None:
        """A race of an access of `row` with what came before; `known` is its clock, twice, as a column."""
        lines = place.lines(self.line_bytes, self.low, self.high)
        others = slice(0, 2 * self.queues if writes else self.queues)
        unordered = self.counts[others, lines] > known[others]
        if not unordered.any():
            return None
        number, index = (int(found[0]) for found in np.nonzero(unordered))
        line = index + lines.start if isinstance(lines, slice) else int(lines[index])
        other = rows_of_queue[number % self.queues][int(self.counts[number, line]) - 1]
        address = (self.low + line) * self.line_bytes
        return Race(other, row, number < self.queues, writes, self.space, address)

    def record(self, place: Place, writes: bool, queue: int, count: int) -> None:
        """Note that the `count`-th instruction of `queue` made the access."""
        lines = place.lines(self.line_bytes, self.low, self.high)
        self.counts[queue if writes else self.queues + queue, lines] = count
