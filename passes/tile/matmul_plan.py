"""The tiling of a matrix product: what a search decides and emission follows."""

from __future__ import annotations

from enum import IntEnum

from ...isa.frozen import frozen
from .loop_order import dataflow


class Rest(IntEnum):
    """Where sums rest that are not finished: nowhere (k is innermost, or a single turn), in ACC, in SRAM, in DRAM."""

    NOWHERE = 0
    ACC = 1
    SRAM = 2
    DRAM = 3


@frozen
class Section:
    """Columns of a product that are tiled alike: from `start`, `width` of them, in tiles of `columns` (at most)."""

    start: int
    width: int
    columns: int

    @property
    def tiles(self) -> int:
        """How many tiles its columns are."""
        return -(-self.width // self.columns)

    @property
    def last(self) -> tuple[int, int]:
        """Whether the last tile is narrower (1 or 0), and its columns."""
        rest = self.width % self.columns
        return int(rest > 0), rest


@frozen
class MatmulPlan:
    """A tiling: loops of `order` over tiles of rows x columns x depth, each finished in strips of `strip` rows.

    `holds` has the operands ("left", "right") that stay on chip across a loop that does not index them. The first
    `lead` and the last `tail` columns are done apart, in blocks of `block` rows, so that rows pass from kernel to
    kernel one block after the other. `gathered` columns of the result are stored at once (0: those of a tile), all
    but the last `handed` pieces of `piece` columns, which stay on chip for the next product. With
    `by_tile`, what repeats for every row comes with the columns that it is for; with `parts_in_acc`, parts of rows'
    statistics wait in ACC for the others. Cycles are the estimate and its parts,
    of which `seam` is what the array waits for at both ends; `sram` and `acc` are bytes, with two of each streamed
    buffer if `doubled`; `burden` is what counted beside the cycles.
    """

    order: str
    rows: int
    columns: int
    depth: int
    strip: int
    holds: frozenset[str] = frozenset()
    rest: Rest = Rest.NOWHERE
    lead: int = 0
    tail: int = 0
    block: int = 0
    gathered: int = 0
    handed: int = 0
    piece: int = 0
    by_tile: bool = False
    parts_in_acc: bool = False
    cycles: int = 0
    array: int = 0
    channel: int = 0
    vector: int = 0
    seam: int = 0
    sram: int = 0
    acc: int = 0
    doubled: bool = True
    burden: int = 0

    @property
    def score(self) -> int:
        """By what plans are compared."""
        return self.cycles + self.burden

    def sections(self, columns: int) -> tuple[Section, ...]:
        """The `columns` of a product as they are tiled, from the first on."""
        # The first columns that are stored at once are those of the edge, and the next.
        begin = self.gathered if self.lead and self.gathered else self.lead
        end = columns - self.tail - self.handed * self.piece
        found = (
            Section(0, self.lead, self.lead),
            Section(self.lead, begin - self.lead, self.columns),
            Section(begin, end - begin, self.columns),
            *(Section(end + number * self.piece, self.piece, self.columns) for number in range(self.handed)),
            Section(columns - self.tail, self.tail, self.tail),
        )
        return tuple(section for section in found if section.width)

    @property
    def text(self) -> str:
        """One line for the plan dictionary."""
        parts = [f"{self.order} ({dataflow(self.order)}) tile {self.rows}x{self.columns}x{self.depth}"]
        if self.holds:
            parts.append(f"holds {' and '.join(sorted(self.holds))}")
        if self.rest:
            parts.append(f"sums rest in {self.rest.name}")
        if self.lead or self.tail:
            parts.append(f"blocks of {self.block} rows over {self.lead} and {self.tail} columns")
        if self.gathered:
            parts.append(f"{self.gathered} columns stored at once")
        return (
            f"{', '.join(parts)}: {self.cycles} cycles (array {self.array}, dram {self.channel}, vector {self.vector},"
            f" seam {self.seam}), sram {self.sram}, acc {self.acc}"
        )


@frozen
class Decision:
    """The plan that was chosen, the best one of another order (None if none is feasible), and how many were."""

    chosen: MatmulPlan
    runner_up: MatmulPlan | None
    candidates: int
