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
    accesses: Accesses, queue: Sequence[int], waits: Sequence[tuple[int, ...]], machine: Machine
) -> Iterator[Race]:
    """The races of a program in file order, at most one for each pair of instruction and access.

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
        touched = [(memories[place.space], place, writes) for place, writes in accesses.by_row[row]]
        for memory, place, writes in touched:
            yield from memory.conflicts(row, place, writes, clock, rows_of_queue)
        before.append(row)
        # From here on the clock says what has retired when this instruction has.
        clock[own] = len(before)
        for memory, place, writes in touched:
            memory.record(place, writes, own, len(before))


class _History:
    """The last readers and writers of each line of a memory, by queue, as counts within their queues."""

    def __init__(self, accesses: Accesses, space: Space, machine: Machine) -> None:
        self.space = space
        self.line_bytes = machine.hazard_line_bytes(space)
        # Bytes that nothing writes (weights in DRAM) cannot race: only the span that is written has a
        # history.
        low, high = accesses.written_span(space)
        self.low = low // self.line_bytes
        self.lines = -(-high // self.line_bytes) - self.low
        shape = (len(machine.queues), self.lines)
        self.readers: Counts = np.zeros(shape, dtype=np.int32)
        self.writers: Counts = np.zeros(shape, dtype=np.int32)

    def _spans(self, place: Place) -> list[tuple[int, int]]:
        low, end = self.low, self.lines
        return [
            (max(first - low, 0), min(last - low, end))
            for first, last in place.intervals(self.line_bytes)
            if first - low < end and last > low
        ]

    def conflicts(
        self, row: int, place: Place, writes: bool, clock: Counts, rows_of_queue: Sequence[Sequence[int]]
    ) -> Iterator[Race]:
        """Races of an access of `row` with what came before; at most one with writers and one with
        readers."""
        others = ((self.writers, True), (self.readers, False)) if writes else ((self.writers, True),)
        spans = self._spans(place)
        for history, other_writes in others:
            for first, last in spans:
                unordered = history[:, first:last] > clock[:, None]
                if unordered.any():
                    number, line = (int(found[0]) for found in np.nonzero(unordered))
                    other = rows_of_queue[number][int(history[number, first + line]) - 1]
                    address = (self.low + first + line) * self.line_bytes
                    yield Race(other, row, other_writes, writes, self.space, address)
                    break

    def record(self, place: Place, writes: bool, queue: int, count: int) -> None:
        """Note that the `count`-th instruction of `queue` made the access."""
        history = (self.writers if writes else self.readers)[queue]
        for first, last in self._spans(place):
            history[first:last] = count
