"""What each instruction of a program reads and writes, asked for by row (extents in registers at their
maxima)."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ..isa.analysis import Analysis
from ..isa.blocks import Block, Space
from ..isa.columns import Int64Array, as_vector


class Accesses:
    """The blocks that each row of an analysed table reads and writes, extent registers included."""

    def __init__(self, analysis: Analysis) -> None:
        self._accesses = analysis.accesses
        self._length = len(analysis.table)
        self._table = analysis.table

    def __len__(self) -> int:
        return self._length

    @cached_property
    def _of_kind(self) -> dict[int, list[tuple[Block, bool]]]:
        """The operands of each kind of instruction, by opcode, reads first."""
        result: dict[int, list[tuple[Block, bool]]] = {}
        for access in sorted(self._accesses, key=lambda access: access.write):
            if len(access.rows):
                opcode = int(self._table.opcode[access.rows[0]])
                result.setdefault(opcode, []).append((access.block, access.write))
        return result

    def of_row(self, row: int) -> list[tuple[Block, bool]]:
        """The blocks of one row as numbers, reads first; True marks writes. Empty blocks are left out."""
        place = int(self._table.position[row])
        operands = self._of_kind.get(int(self._table.opcode[row]), ())
        found = [(block.at(place), write) for block, write in operands]
        return [(block, write) for block, write in found if not block.empty]

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
