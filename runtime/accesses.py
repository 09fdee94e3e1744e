"""What each instruction of a program reads and writes, asked for by row (extents in registers at their
maxima)."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..isa.analysis import Analysis
from ..isa.blocks import Block, Space
from ..isa.columns import Int64Array, as_vector


class Place:
    """A block of memory that instructions access; one object for all accesses to the same block."""

    def __init__(self, block: Block, bounds: tuple[int, int]) -> None:
        self.block = block
        self.space = Space(block.space)
        self.bounds = bounds

    def view(self, memory: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The block's bytes as a view of `memory`, which holds its bounds: a flag a byte."""
        block = self.block
        return np.ndarray((*block.extents, block.run), np.bool_, memory, block.address, (*block.strides, 1))


class Accesses:
    """The blocks that each row of an analysed table reads and writes, extent registers included."""

    def __init__(self, analysis: Analysis) -> None:
        self._accesses = analysis.accesses
        self._length = len(analysis.table)

    def __len__(self) -> int:
        return self._length

    @cached_property
    def by_row(self) -> list[list[tuple[Place, bool]]]:
        """For each row the places that it accesses, reads first; True marks writes. Empty blocks are left
        out."""
        result: list[list[tuple[Place, bool]]] = [[] for _ in range(self._length)]
        places: dict[tuple[int, ...], Place] = {}
        for access in sorted(self._accesses, key=lambda access: access.write):
            block, count = access.block, len(access.rows)
            depth = len(block.extents)
            empty = np.broadcast_to(np.asarray(block.empty, dtype=np.bool_), count)
            columns = (*block.bounds(), block.space, block.address, block.run, *block.extents, *block.strides)
            lists: list[list[int]] = [as_vector(column, count)[~empty].tolist() for column in columns]
            rows: list[int] = access.rows[~empty].tolist()
            for row, key in zip(rows, zip(*lists, strict=True), strict=True):
                place = places.get(key)
                if place is None:
                    low, high, space, address, run, *rest = key
                    block = Block(space, address, tuple(rest[:depth]), tuple(rest[depth:]), run)
                    place = places[key] = Place(block, (low, high))
                result[row].append((place, access.write))
        return result

    @cached_property
    def spans(self) -> tuple[Int64Array, Int64Array, Int64Array, Int64Array, Int64Array]:
        """Row, space, lowest byte, one past the highest, and 1 for writes, of every access that is not empty.

        Sorted by row, reads before writes.
        """
        columns = [np.zeros((5, 0), dtype=np.int64)]
        for access in self._accesses:
            count = len(access.rows)
            low, high = (as_vector(bound, count) for bound in access.block.bounds())
            space, write = as_vector(access.block.space, count), np.full(count, int(access.write))
            columns.append(np.stack([access.rows, space, low, high, write])[:, high > low])
        joined = np.concatenate(columns, axis=1)
        row, space, low, high, write = joined[:, np.lexsort((joined[4], joined[0]))]
        return row, space, low, high, write

    def written_span(self, wanted: Space) -> tuple[int, int]:
        """The lowest byte of a memory that any row writes, and one past the highest; (0, 0) where none
        does."""
        _, space, low, high, write = self.spans
        chosen = (space == wanted) & (write == 1)
        if not chosen.any():
            return 0, 0
        return int(low[chosen].min()), int(high[chosen].max())
