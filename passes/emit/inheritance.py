"""What a buffer takes over with its memory: the last users of its lines before its own time.

A sweep over the instances in order of their first use finds which stretch of lines each takes over from
whom; the users are then handed on for all atoms at once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...isa.frozen import frozen
from .footprint import Atoms, Ints, distinct, numbers, ranges

Stretch = tuple[int, int]


@dataclass
class _Owners:
    """Who last owned the lines of one memory: disjoint stretches [start, end) in order, and instances."""

    starts: list[int] = field(default_factory=list[int])
    ends: list[int] = field(default_factory=list[int])
    instances: list[int] = field(default_factory=list[int])

    def take_over(self, low: int, high: int, instance: int, taken: list[tuple[int, int, int, int]]) -> None:
        """Give [low, high) to an instance; adds what it takes to `taken`: (instance, owner, start, end)."""
        starts, ends, owners = self.starts, self.ends, self.instances
        begin = bisect_right(starts, low) - 1
        if begin < 0 or ends[begin] <= low:
            begin += 1
        end = begin
        count = len(starts)
        while end < count and starts[end] < high:
            taken.append((instance, owners[end], max(starts[end], low), min(ends[end], high)))
            end += 1
        new_starts, new_ends, new_owners = [low], [high], [instance]
        if end > begin:
            if starts[begin] < low:
                new_starts.insert(0, starts[begin])
                new_ends.insert(0, low)
                new_owners.insert(0, owners[begin])
            if ends[end - 1] > high:
                new_starts.append(high)
                new_ends.append(ends[end - 1])
                new_owners.append(owners[end - 1])
        starts[begin:end], ends[begin:end], owners[begin:end] = new_starts, new_ends, new_owners


@frozen
class Placed:
    """Instances with their addresses (first line in their memory), sizes in lines, and division into atoms.

    Atoms of instance i are numbered `first_atom[i]` to `first_atom[i + 1] - 1`.
    """

    atoms: Atoms
    first_atom: Ints
    buffer: Ints
    space: Ints
    address: Ints
    lines: Ints


def inherited(placed: Placed, births: Ints, users: Ints) -> Ints:
    """`[atom, column]`: the earlier users of each atom's lines, by the numbers of `users`.

    `births` are the instances in order of first use; `users[atom]` are the atom's own last users (0 for
    none), writers in the first half of the columns, readers in the second. Lines of an instance that nothing
    touches stay with whoever owned them before. An atom that was written hands on its own users only, since
    its writer comes after all before it.
    """
    touched = np.asarray(users.any(axis=1), dtype=np.bool_)
    atom, older = _shared_atoms(placed, _taken(placed, births, touched))
    written = np.asarray(users[:, : users.shape[1] // 2].any(axis=1), dtype=np.bool_)
    only_read = touched & ~written
    handed_on = users
    while True:
        result = np.zeros_like(users)
        if not len(atom):
            return result
        starts = np.flatnonzero(np.append(True, atom[1:] != atom[:-1]))
        result[atom[starts]] = np.maximum.reduceat(handed_on[older], starts, axis=0)
        joined = np.where(only_read[:, None], np.maximum(users, result), users)
        if np.array_equal(joined, handed_on):
            return result
        handed_on = joined


def _taken(placed: Placed, births: Ints, touched: NDArray[np.bool_]) -> Ints:
    """(instance, owner before, first line, line after the last) of every stretch that is taken over."""
    left_out = np.append(0, np.cumsum(~touched))
    partly = left_out[placed.first_atom[1:]] > left_out[placed.first_atom[:-1]]
    owners: dict[int, _Owners] = defaultdict(_Owners)
    taken: list[tuple[int, int, int, int]] = []
    columns = (births, placed.space[births], placed.address[births], placed.lines[births])
    for instance, space, low, lines in zip(*map(numbers, columns), strict=True):
        mine = owners[space]
        if partly[instance]:
            for start, end in _touched_stretches(placed, instance, touched):
                mine.take_over(low + start, low + end, instance, taken)
        else:
            mine.take_over(low, low + lines, instance, taken)
    return np.array(taken, dtype=np.int64).reshape(-1, 4)


def _touched_stretches(placed: Placed, instance: int, touched: NDArray[np.bool_]) -> Sequence[Stretch]:
    """Stretches of lines, from the instance's first, that some instruction touches."""
    atom, line = placed.atoms.segments(int(placed.buffer[instance]))
    inside = touched[atom + placed.first_atom[instance]]
    edges = line[np.flatnonzero(np.diff(inside, prepend=False, append=False))]
    return list(zip(numbers(edges[::2]), numbers(edges[1::2]), strict=True))


def _shared_atoms(placed: Placed, taken: Ints) -> tuple[Ints, Ints]:
    """(atom, atom of an earlier instance) pairs that have a line in common, ascending by the first."""
    instance, owner, start, end = taken.T
    sides = [_Side(placed, one, start, end) for one in (instance, owner)]
    # Where either side changes from one atom to the next, relative to the start of the stretch.
    piece = np.concatenate([np.arange(len(taken)), *(side.edge_piece for side in sides)])
    offset = np.concatenate([np.zeros(len(taken), dtype=np.int64), *(side.edge_offset for side in sides)])
    step = int((end - start).max(initial=0)) + 1
    key = distinct(piece * step + offset)
    piece, offset = key // step, key % step
    atom, older = (side.atoms_at(piece, offset) for side in sides)
    atoms = int(placed.first_atom[-1])
    pair = distinct(atom * atoms + older)
    return pair // atoms, pair % atoms


class _Side:
    """One of the two instances of each stretch: where its atoms change, and which atom a line is of."""

    def __init__(self, placed: Placed, instance: Ints, start: Ints, end: Ints) -> None:
        atoms = placed.atoms
        self._atoms = atoms
        buffer = placed.buffer[instance]
        # Segments of all buffers follow one another; `low` is where the stretch begins among them.
        self._low = atoms.first_line[buffer] + start - placed.address[instance]
        self._shift = placed.first_atom[instance] - atoms.first[buffer]
        begin = np.searchsorted(atoms.segment_line, self._low, side="right")
        inside = np.searchsorted(atoms.segment_line, self._low + end - start) - begin
        self.edge_piece = np.repeat(np.arange(len(instance)), inside)
        self.edge_offset = atoms.segment_line[ranges(begin, inside)] - self._low[self.edge_piece]

    def atoms_at(self, piece: Ints, offset: Ints) -> Ints:
        """The atom of the line `offset` lines into a stretch."""
        segment = np.searchsorted(self._atoms.segment_line, self._low[piece] + offset, side="right") - 1
        return self._atoms.segment_atom[segment] + self._shift[piece]
