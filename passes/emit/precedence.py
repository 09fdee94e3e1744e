"""Which rows must keep their order: every conflict on buffer lines, before buffers have addresses.

While queues keep their order it is enough to know the last conflicting instruction of each queue (`dependence`).
Where the rows of a queue may change places every conflict counts: a read with the writes next to it on either side,
a write with all reads back to the write before.
"""

from __future__ import annotations

import numpy as np

from ...isa.frozen import frozen
from .dependence import AtomEvents
from .footprint import Ints, distinct


@frozen
class Precedence:
    """Pairs of rows: `before[i]` must come before `after[i]`. What pairs imply is left out where that is seen."""

    before: Ints
    after: Ints

    def renumbered(self, position: Ints) -> Precedence:
        """The same pairs with row r as number `position[r]`, each once, in ascending order."""
        rows = len(position)
        pair = distinct(position[self.before] * rows + position[self.after])
        return Precedence(pair // rows, pair % rows)


def precedence(events: AtomEvents, rows: int) -> Precedence:
    """All conflicts between `rows` rows within buffer instances, in the order in which the rows are numbered."""
    # One access a row and atom: a write if any of its accesses writes.
    access = events.atom * rows + events.row
    key = distinct(access)
    write = np.zeros(len(key), dtype=np.bool_)
    write[np.searchsorted(key, access[events.write])] = True
    atom, row = key // rows, key % rows
    place = np.arange(len(key))
    begins = np.append(True, atom[1:] != atom[:-1])[: len(key)]
    # The last write before each access, the first after it; -1 or len(key) where there is none in the atom.
    start = np.maximum.accumulate(np.where(begins, place, 0))
    older = np.append(-1, np.maximum.accumulate(np.where(write, place, -1))[:-1])[: len(key)]
    older = np.where(older >= start, older, -1)
    newer = np.minimum.accumulate(np.where(write, place, len(key))[::-1])[::-1]
    stop = np.append(np.flatnonzero(begins)[1:], len(key))[np.cumsum(begins) - 1]
    # A write that follows reads follows the write before them through these.
    direct = (older >= 0) & (~write | (older == place - 1))
    reads = ~write & (newer < stop)
    before = np.concatenate([row[older[direct]], row[reads]])
    return Precedence(before, np.concatenate([row[direct], row[newer[reads]]]))
