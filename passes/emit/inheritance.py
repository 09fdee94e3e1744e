"""What a buffer takes over with its memory: the last users of its lines before its own time.

One sweep over the instances in order of their first use, with the instance that last owned each stretch of
lines. Users are kept as rows of numbers, one a queue, so that taking over is a maximum.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from .footprint import Atoms, Ints

Users = tuple[int, ...]
"""The number in its queue of the last user, by queue; 0 for none."""


@dataclass
class _Owners:
    """Who last owned the lines of one memory: disjoint stretches [start, end) in order, and instances."""

    starts: list[int] = field(default_factory=list[int])
    ends: list[int] = field(default_factory=list[int])
    instances: list[int] = field(default_factory=list[int])

    def take_over(self, low: int, high: int, instance: int) -> list[tuple[int, int, int]]:
        """Give [low, high) to an instance; returns the stretches (start, end, instance) that were there."""
        starts, ends = self.starts, self.ends
        begin = bisect_right(starts, low) - 1
        if begin < 0 or ends[begin] <= low:
            begin += 1
        end = begin
        before: list[tuple[int, int, int]] = []
        while end < len(starts) and starts[end] < high:
            before.append((max(starts[end], low), min(ends[end], high), self.instances[end]))
            end += 1
        new = [(low, high, instance)]
        if before and starts[begin] < low:
            new.insert(0, (starts[begin], low, self.instances[begin]))
        if before and ends[end - 1] > high:
            new.append((high, ends[end - 1], self.instances[end - 1]))
        starts[begin:end] = [piece[0] for piece in new]
        ends[begin:end] = [piece[1] for piece in new]
        self.instances[begin:end] = [piece[2] for piece in new]
        return before


class Inheritance:
    """The sweep. `users[atom]` has an atom's own last users: writers in its first half, then readers.

    Lines of an instance that nothing touches stay with whoever owned them before. An atom that was written
    hands on its own users only, since its writer comes after all before it.
    """

    def __init__(
        self, atoms: Atoms, first_atom: Ints, buffer: Ints, address: Ints, users: list[Users]
    ) -> None:
        self._atoms = atoms
        self._first_atom: list[int] = first_atom.tolist()
        self._buffer: list[int] = buffer.tolist()
        self._address: list[int] = address.tolist()
        self._users = users
        self._patterns: dict[int, Ints] = {}

    def sweep(self, births: Sequence[int], lines: Sequence[int], spaces: Sequence[int]) -> dict[int, Users]:
        """The earlier users of each atom that has any; `births` are instances in order of first use."""
        owners: dict[int, _Owners] = {}
        users, inherited = self._users, dict[int, Users]()
        for instance in births:
            mine = owners.setdefault(spaces[instance], _Owners())
            before: list[tuple[int, int, int]] = []
            for low, high in self._touched_stretches(instance, lines[instance]):
                before += mine.take_over(low, high, instance)
            for atom, older in self._shared_atoms(instance, before):
                inherited[atom] = _later(inherited[atom], users[older]) if atom in inherited else users[older]
            for atom in range(self._first_atom[instance], self._first_atom[instance + 1]):
                own = users[atom]
                if atom in inherited and not any(own[: len(own) // 2]):
                    users[atom] = _later(own, inherited[atom])
        return inherited

    def _touched_stretches(self, instance: int, lines: int) -> list[tuple[int, int]]:
        """Stretches of memory lines of an instance that some instruction touches."""
        low = self._address[instance]
        begin, end = self._first_atom[instance], self._first_atom[instance + 1]
        touched = [any(self._users[atom]) for atom in range(begin, end)]
        if all(touched):
            return [(low, low + lines)]
        inside = np.array(touched)[self._window(instance, low, low + lines)]
        edges = np.flatnonzero(np.diff(inside, prepend=False, append=False)) + low
        return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))

    def _shared_atoms(
        self, instance: int, before: Sequence[tuple[int, int, int]]
    ) -> Iterator[tuple[int, int]]:
        """(atom of the instance, atom of an earlier one) with a line in common; pairs may come twice."""
        first_atom = self._first_atom
        begin, whole = first_atom[instance], first_atom[instance + 1] - first_atom[instance] == 1
        for start, end, owner in before:
            other = first_atom[owner]
            if whole and first_atom[owner + 1] - other == 1:
                yield begin, other
                continue
            mine = self._window(instance, start, end)
            theirs = self._window(owner, start, end)
            changed = np.flatnonzero((mine[1:] != mine[:-1]) | (theirs[1:] != theirs[:-1])) + 1
            pieces = np.append(0, changed)
            yield from set(
                zip((begin + mine[pieces]).tolist(), (other + theirs[pieces]).tolist(), strict=True)
            )

    def _window(self, instance: int, start: int, end: int) -> Ints:
        """The atoms, counted from the instance's first, of its lines from memory line `start` to `end`."""
        buffer = self._buffer[instance]
        pattern = self._patterns.get(buffer)
        if pattern is None:
            pattern = self._atoms.line_atoms(buffer) - self._atoms.first[buffer]
            self._patterns[buffer] = pattern
        address = self._address[instance]
        return pattern[start - address : end - address]


def _later(some: Users, others: Users) -> Users:
    return tuple(map(max, some, others))
