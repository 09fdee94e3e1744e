"""The race check: two instructions that touch one memory line, one of them writing, must be ordered by the
program.

Ordered means happens-before: the order of a queue, and waits. Simulated time plays no part, so a program
without a race is right on every machine of its sizes. Each instruction has a vector clock (for each queue,
how many of its instructions have surely retired); each memory line keeps, by queue, the last instruction that
read and wrote it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..isa.blocks import Space
from ..isa.frozen import frozen
from ..isa.machine import Machine
from .accesses import Accesses, Place

Counts = NDArray[np.int32]


@frozen
class Race:
    """Rows `first` < `second` touch the same line of `space` at byte `address`; the flags say who writes."""

    first: int
    second: int
    first_writes: bool
    second_writes: bool
    space: Space
    address: int


class _Lines(NamedTuple):
    """Evenly spaced spans of lines: a view of their `counts`, [sides, spans, lines of a span]; the first line, and the
    distance between spans."""

    counts: Counts
    start: int
    step: int


def find_races(
    accesses: Accesses, queue: Sequence[int], waits: Sequence[Sequence[int]], machine: Machine
) -> Iterator[Race]:
    """The races of a program in file order, at most one for each access.

    `queue` and `waits` (rows waited for) have an entry for each row. Extents in registers count with their
    declared maximum.
    """
    rows_of_queue: list[list[int]] = [[] for _ in machine.queues]
    clocks = np.zeros((len(queue), len(machine.queues)), dtype=np.int32)
    histories = {space: _History(accesses, space, queue, machine) for space in Space}
    found: dict[Place, tuple[_Lines, ...]] = {}
    for row, own in enumerate(queue):
        before = rows_of_queue[own]
        clock = clocks[row]
        if before:
            clock[:] = clocks[before[-1]]
        for waited in waits[row]:
            np.maximum(clock, clocks[waited], out=clock)
        touched: list[tuple[int, tuple[_Lines, ...]]] = []
        for place, writes in accesses.by_row[row]:
            history = histories[place.space]
            parts = found.get(place)
            if parts is None:
                parts = found[place] = history.lines_of(place)
            sides = history.sides if writes else history.writers
            known = clock[sides][:, None, None]
            touched.append((history.number[own, writes], parts))
            for lines in parts:
                unordered = lines.counts[: len(sides)] > known
                if np.count_nonzero(unordered):
                    yield history.race(row, writes, lines, unordered, rows_of_queue)
                    break
        before.append(row)
        # From here on the clock says what has retired when this instruction has.
        clock[own] = len(before)
        for side, parts in touched:
            for lines in parts:
                lines.counts[side] = len(before)


class _History:
    """The last writers and readers of each line of a memory, by queue, as counts within their queues.

    A side is a queue that writes the memory, or one that reads it: `sides` has their queues, the `writers` first;
    `number` finds a side by queue and whether it writes.
    """

    def __init__(self, accesses: Accesses, space: Space, queue: Sequence[int], machine: Machine) -> None:
        self.space = space
        self.line_bytes = machine.hazard_line_bytes(space)
        # Bytes that nothing writes (weights in DRAM) cannot race: only the span that is written has one.
        low, high = accesses.written_span(space)
        self.low = low // self.line_bytes
        self.high = -(-high // self.line_bytes)
        rows, spaces, _, _, writes = accesses.spans
        mine = spaces == space
        queues = np.asarray(queue, dtype=np.int64)[rows[mine]]
        self.writers, readers = (np.unique(queues[writes[mine] == way]) for way in (1, 0))
        self.sides = np.concatenate([self.writers, readers])
        self.number = {(number, True): side for side, number in enumerate(self.writers.tolist())}
        self.number |= {(number, False): side for side, number in enumerate(readers.tolist(), len(self.writers))}
        self.counts: Counts = np.zeros((len(self.sides), self.high - self.low), dtype=np.int32)

    def lines_of(self, place: Place) -> tuple[_Lines, ...]:
        """The lines that a place touches, among those that are written at all."""
        lowest, end = place.bounds
        if lowest // self.line_bytes >= self.high or -(-end // self.line_bytes) <= self.low:
            return ()
        spans = np.clip(place.block.intervals(self.line_bytes) - self.low, 0, self.high - self.low)
        spans = spans[spans[:, 0] < spans[:, 1]]
        starts, lengths = spans[:, 0], spans[:, 1] - spans[:, 0]
        steps = np.diff(starts)
        if len(spans) and (lengths == lengths[0]).all() and (steps == steps[:1]).all():
            return (self._lines(int(starts[0]), len(spans), int(steps[0]) if len(steps) else 0, int(lengths[0])),)
        return tuple(self._lines(first, 1, 0, last - first) for first, last in spans.tolist())

    def _lines(self, start: int, spans: int, step: int, length: int) -> _Lines:
        size = self.counts.itemsize
        shape, strides = (len(self.sides), spans, length), (self.counts.strides[0], size * step, size)
        return _Lines(np.ndarray(shape, np.int32, self.counts, size * start, strides), start, step)

    def race(
        self,
        row: int,
        writes: bool,
        lines: _Lines,
        unordered: NDArray[np.bool_],
        rows_of_queue: Sequence[Sequence[int]],
    ) -> Race:
        """The race of an access of `row` with what `unordered` says of the `lines` that it touches."""
        side, span, place = (int(index[0]) for index in np.nonzero(unordered))
        other = rows_of_queue[int(self.sides[side])][int(lines.counts[side, span, place]) - 1]
        address = (self.low + lines.start + span * lines.step + place) * self.line_bytes
        return Race(other, row, side < len(self.writers), writes, self.space, address)
