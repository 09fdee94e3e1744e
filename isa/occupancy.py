"""The on-chip memory map over time: which buffer lies where, from which row of the program to which."""

from __future__ import annotations

from dataclasses import field

import numpy as np

from .blocks import Space
from .columns import Int64Array
from .frozen import frozen


def _none() -> Int64Array:
    return np.zeros(0, dtype=np.int64)


@frozen
class ChipBuffer:
    """A buffer on chip, which may come and go many times: its name, memory and bytes; `resident` if no kernel owns
    it."""

    name: str
    space: Space
    bytes: int
    resident: bool


@frozen
class Occupancy:
    """Every stay of a buffer on chip, by column, in the order of their first rows.

    Stay i is one of `buffers[buffer[i]]`, from byte `address[i]` of its memory on, alive from row `first[i]` to row
    `last[i]` of the program, both included. No two stays share bytes at the same row.
    """

    buffers: tuple[ChipBuffer, ...] = ()
    buffer: Int64Array = field(default_factory=_none)
    address: Int64Array = field(default_factory=_none)
    first: Int64Array = field(default_factory=_none)
    last: Int64Array = field(default_factory=_none)

    def __len__(self) -> int:
        return len(self.buffer)

    @property
    def bytes(self) -> Int64Array:
        """Bytes of each stay."""
        return np.array([buffer.bytes for buffer in self.buffers], dtype=np.int64)[self.buffer]

    def within(self, space: Space) -> Int64Array:
        """The numbers of the stays in one memory."""
        return np.flatnonzero(np.array([buffer.space == space for buffer in self.buffers], dtype=bool)[self.buffer])

    def live_bytes(self, space: Space, rows: int) -> Int64Array:
        """Bytes of a memory that are taken at each row of a program of `rows`."""
        mine = self.within(space)
        change = np.zeros(rows + 1, dtype=np.int64)
        np.add.at(change, self.first[mine], self.bytes[mine])
        np.subtract.at(change, self.last[mine] + 1, self.bytes[mine])
        return np.cumsum(change)[:rows]

    def table(self) -> Int64Array:
        """[buffer, address, first, last] of each stay: int64 [4, stays]."""
        return np.stack([self.buffer, self.address, self.first, self.last])
