"""Which parts of a buffer are told apart: memory lines that exactly the same accesses touch form one atom.

Dependences are decided on whole lines (the machine's `hazard_line_bytes`). A model has millions of
(instruction, line) pairs but few distinct footprints per buffer, so lines are grouped into atoms first and
dependences are then decided on (instruction, atom) pairs, which is exact and small.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...isa.frozen import frozen

Ints = NDArray[np.int64]


@frozen
class Footprints:
    """Distinct strided byte blocks within buffers, by column.

    `buffer[f]` is the buffer, `offset[f]` the first byte relative to its start, `extents[f, d]` and
    `strides[f, d]` (bytes) the repetition of runs of `run[f]` contiguous bytes. Blocks with a zero extent or
    run are empty.
    """

    buffer: Ints
    offset: Ints
    extents: Ints
    strides: Ints
    run: Ints

    def __len__(self) -> int:
        return len(self.buffer)


@frozen
class Atoms:
    """The partition of every buffer's lines.

    Atoms of buffer b are numbered `first[b]` to `first[b + 1] - 1`. Footprint f touches atoms
    `touched[start[f] : start[f + 1]]`. With the lines of all buffers in a row, those of buffer b begin at
    `first_line[b]`, and lines `segment_line[s]` to `segment_line[s + 1] - 1` belong to atom
    `segment_atom[s]`.
    """

    first: Ints
    start: Ints
    touched: Ints
    first_line: Ints
    segment_line: Ints
    segment_atom: Ints

    def count(self, buffer: int) -> int:
        """Number of atoms of a buffer; at least one for a buffer that has lines."""
        return int(self.first[buffer + 1] - self.first[buffer])

    def segments(self, buffer: int) -> tuple[Ints, Ints]:
        """A buffer's segments: their atoms, and the lines where they begin and, last, where the last one ends.

        Both count from the buffer's first.
        """
        begin, end = np.searchsorted(self.segment_line, self.first_line[buffer : buffer + 2])
        atom = self.segment_atom[begin:end] - self.first[buffer]
        return atom, self.segment_line[begin : end + 1] - self.first_line[buffer]


def numbers(column: Ints) -> list[int]:
    """A column as Python ints, for loops that take them one by one."""
    return column.tolist()


def distinct(values: Ints) -> Ints:
    """The values in order, each once."""
    # Most columns are stretches in order behind each other: a stable sort merges them.
    values = np.sort(values, kind="stable")
    return values[np.append(True, values[1:] != values[:-1])] if len(values) else values


def ranges(starts: Ints, counts: Ints) -> Ints:
    """The concatenation of `arange(start, start + count)` for every pair."""
    total = int(counts.sum())
    ends = np.cumsum(counts)
    return np.arange(total, dtype=np.int64) + np.repeat(starts - ends + counts, counts)


def split_into_atoms(footprints: Footprints, buffer_lines: Ints, line_bytes: Ints) -> Atoms:
    """The atoms of buffers of `buffer_lines[b]` lines of `line_bytes[b]` bytes each, under the given
    footprints."""
    buffers = len(buffer_lines)
    base = np.zeros(buffers + 1, dtype=np.int64)
    np.cumsum(buffer_lines, out=base[1:])
    owner, low, high = _line_intervals(footprints, line_bytes[footprints.buffer])
    low = low + base[footprints.buffer[owner]]
    high = high + base[footprints.buffer[owner]]

    bounds = distinct(np.concatenate([low, high, base]))
    low_at, high_at = np.searchsorted(bounds, low), np.searchsorted(bounds, high)
    # A segment's signature is the sum of the tags of the footprints that cover it (modulo 2^64).
    tags = random_numbers(len(footprints))
    change = np.zeros(len(bounds), dtype=np.int64)
    np.add.at(change, low_at, tags[owner])
    np.subtract.at(change, high_at, tags[owner])
    signature = np.cumsum(change)[:-1]
    segment_buffer = np.searchsorted(base, bounds[:-1], side="right") - 1

    order = np.lexsort((signature, segment_buffer))
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = (np.diff(signature[order]) != 0) | (np.diff(segment_buffer[order]) != 0)
    atom = np.empty(len(order), dtype=np.int64)
    atom[order] = np.cumsum(fresh) - 1
    atoms = int(fresh.sum())
    first = np.searchsorted(segment_buffer[order][fresh], np.arange(buffers + 1))

    segments = high_at - low_at
    pairs = np.repeat(owner, segments) * max(atoms, 1) + atom[ranges(low_at, segments)]
    pairs = distinct(pairs)
    start = np.searchsorted(pairs, np.arange(len(footprints) + 1) * max(atoms, 1))
    return Atoms(
        first=first.astype(np.int64),
        start=start.astype(np.int64),
        touched=pairs % max(atoms, 1),
        first_line=base,
        segment_line=bounds,
        segment_atom=atom,
    )


def random_numbers(count: int) -> Ints:
    """Numbers as good as random ones, without the start-up of a generator: the outputs of SplitMix64 (Steele, Lea and
    Flood, Fast splittable pseudorandom number generators, 2014)."""
    words = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        words = (words ^ words >> np.uint64(shift)) * np.uint64(factor)
    return (words ^ words >> np.uint64(31)).view(np.int64)


def _line_intervals(footprints: Footprints, line_bytes: Ints) -> tuple[Ints, Ints, Ints]:
    """Footprints as disjoint line intervals [low, high): arrays (footprint, low, high), sorted by footprint
    and low."""
    offset, extents, strides, run = _merged(footprints, line_bytes)
    owner = np.flatnonzero((run > 0) & (extents > 0).all(axis=1))
    begin = offset[owner]
    for axis in range(extents.shape[1]):
        counts = extents[owner, axis]
        if (counts == 1).all():
            continue
        index = ranges(np.zeros(len(owner), dtype=np.int64), counts)
        begin = np.repeat(begin, counts) + index * np.repeat(strides[owner, axis], counts)
        owner = np.repeat(owner, counts)
    line = line_bytes[owner]
    low = begin // line
    high = (begin + run[owner] - 1) // line + 1

    step = int(high.max(initial=0)) + 1
    order = np.argsort(owner * step + low, kind="stable")
    owner, low, high = owner[order], low[order], high[order]
    if not len(owner):
        return owner, low, high
    # Runs of one footprint that share or adjoin lines become one interval: a running maximum of the ends,
    # restarted for each footprint by an offset larger than any line number.
    reach = np.maximum.accumulate(high + owner * step) - owner * step
    fresh = np.ones(len(owner), dtype=bool)
    fresh[1:] = (owner[1:] != owner[:-1]) | (low[1:] > reach[:-1])
    last = np.flatnonzero(np.append(fresh[1:], True))
    return owner[fresh], low[fresh], reach[last]


def _merged(footprints: Footprints, line_bytes: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Footprints with positive strides, and dimensions that leave no line out drawn into the run."""
    offset, run = footprints.offset.copy(), footprints.run.copy()
    extents, strides = footprints.extents.copy(), footprints.strides.copy()
    backward = strides < 0
    offset += np.where(backward, (extents - 1) * strides, 0).sum(axis=1)
    strides = np.abs(strides)
    extents = np.where((strides == 0) & (extents > 1), 1, extents)
    # Innermost first; a stride up to a line, or up to the run, touches every line between the first and last
    # byte.
    for _ in range(extents.shape[1]):
        for axis in reversed(range(extents.shape[1])):
            dense = (extents[:, axis] > 1) & (strides[:, axis] <= np.maximum(run, line_bytes))
            run = np.where(dense, run + (extents[:, axis] - 1) * strides[:, axis], run)
            extents[:, axis] = np.where(dense, 1, extents[:, axis])
    return offset, extents, strides, run
