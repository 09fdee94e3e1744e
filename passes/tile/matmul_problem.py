"""A matrix product as the search for its tiling sees it: numbers, nothing of the IR."""

from __future__ import annotations

from ...isa.frozen import frozen
from ..tile_rules import FREE, TileChoice


@frozen
class Operand:
    """How one operand of a product comes on chip.

    bytes: of an element as stored. resident: it lies in SRAM already. pitch: elements between its rows in DRAM (0:
    every tile is one run, as packed weights are). turned: the array wants its rows across the stored ones, so that a
    copy moves single elements. prepared: bytes of an element after `passes` vector passes that convert it on chip
    (0: it is used as it comes). shared: every product of a batch has the same.
    """

    bytes: int
    resident: bool = False
    pitch: int = 0
    turned: bool = False
    prepared: int = 0
    passes: int = 0
    shared: bool = False

    @property
    def lies_ready(self) -> bool:
        """Whether the array reads it where it lies, so that nothing is ever loaded."""
        return self.resident and not self.prepared


@frozen
class Epilogue:
    """What happens to a finished tile: vector passes, bytes an element loaded (from DRAM), stored, and kept between
    passes; `rows` bytes a column that are loaded with it."""

    passes: int = 1
    loaded: int = 0
    stored: int = 0
    kept: int = 0
    rows: int = 0


@frozen
class Seam:
    """How fast rows come and go at a product's ends, in cycles a row: `arrival` of its left operand, where what makes
    it is still at work when the array is free, and `departure` of its result, where the array waits for what is made
    of it. 0 where nothing waits."""

    arrival: float = 0.0
    departure: float = 0.0


@frozen
class MatmulProblem:
    """A product to be tiled: `batch` independent [m, k] by [k, n]. `choice` is what a recipe forces; operands
    may be held over loops that do not index them if `hold`."""

    batch: int
    m: int
    n: int
    k: int
    mode: str
    left: Operand
    right: Operand
    epilogue: Epilogue
    seam: Seam = Seam()
    choice: TileChoice = FREE
    hold: bool = True
