"""A matrix product as the search for its tiling sees it: numbers, nothing of the IR."""

from __future__ import annotations

from ...isa.frozen import frozen
from ...isa.matrix import Values
from ...isa.structures import Structure
from ..tile_rules import FREE, TileChoice
from .comparison import Comparison


@frozen
class Operand:
    """How one operand of a product comes on chip.

    bytes: of an element as stored, a part of one where it is packed. resident: it lies in SRAM already. pitch: elements
    between its rows in DRAM (0: every tile is one run, as weights in blocks are). across: its stored rows are columns
    of the product, as the array wants them. turned: the array wants its rows across the stored ones, so that a copy
    moves single elements. prepared: bytes of an element after `passes` vector passes that convert it on chip (0: it is
    used as it comes). shared: every product of a batch has the same.
    """

    bytes: float
    resident: bool = False
    pitch: int = 0
    across: bool = False
    turned: bool = False
    prepared: float = 0
    passes: int = 0
    shared: bool = False

    @property
    def lies_ready(self) -> bool:
        """Whether the array reads it where it lies, so that nothing is ever loaded."""
        return self.resident and not self.prepared


@frozen
class Epilogue:
    """What happens to a finished tile: vector passes, bytes an element loaded (from DRAM), stored, and kept between
    passes; `rows` bytes a column that are kept beside it, of which `row_loads` are loaded with every column tile; and
    how many `statistics` of rows it leaves a part of with every column tile."""

    passes: int = 1
    loaded: float = 0
    stored: float = 0
    kept: float = 0
    rows: float = 0
    row_loads: float = 0
    statistics: int = 0


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
    may be held over loops that do not index them if `hold`. `left_values`: what the left operand of a packed mode
    holds. `crowded`: the vector engine is as busy as the array with what runs beside. Pieces of k are multiples of
    `grain`, and of n of `output_grain`: fewer elements are no whole byte, or no whole group of the `structure` of the
    right operand. A `comparison` finds what of the left one is skipped."""

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
    left_values: Values = Values.OWN
    crowded: bool = False
    grain: int = 1
    output_grain: int = 1
    structure: Structure | None = None
    comparison: Comparison | None = None
