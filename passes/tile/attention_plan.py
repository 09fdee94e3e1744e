"""What there is to decide of an attention, and what was decided: forms, problems and plans."""

from __future__ import annotations

from dataclasses import replace
from enum import IntEnum
from typing import Any

from ...isa.formats import Format
from ...isa.frozen import frozen
from ...isa.matrix import MatrixMode
from ...isa.packed import packed_bytes
from ...isa.row_packing import RowPacking
from .arithmetic import Arithmetic
from .attention_masked import Products
from .attention_sight import Sight
from .rates import Column
from .search import ceil

AT_ONCE = 16384
"""A merged panel's output of up to so many bytes is finished and stored at once, a larger one block by block."""


class ScoreForm(IntEnum):
    """What happens to a row of scores."""

    WHOLE = 0
    ROWS = 1
    MERGED = 2
    SWEEPS = 3

    @property
    def label(self) -> str:
        """Its name in plans."""
        return self.name.lower()


@frozen
class Passes:
    """Full vector passes over a tile, and bytes an element of what they keep in SRAM meanwhile."""

    count: int
    kept: float

    @staticmethod
    def joined(parts: tuple[Passes, ...]) -> Passes:
        """One after the other."""
        return Passes(sum(part.count for part in parts), max((part.kept for part in parts), default=0))


@frozen
class AttentionPart:
    """Some of the heads of a batch (`head`: the number of a query head, None: all, which look at the same keys) and
    some of their queries: what is written out with one plan."""

    head: int | None
    sight: Sight


@frozen
class Matrix:
    """An operand of the products: its stored format, distance between its rows in elements, whether it is read where it
    lies on chip, and whether its rows go along tokens rather than along the width of a head."""

    form: Format
    pitch: int
    resident: bool
    along_tokens: bool = False

    def lying(self, tokens: Any, width: Any) -> tuple[Any, Any]:
        """Rows and columns of a tile of so many tokens."""
        return (width, tokens) if self.along_tokens else (tokens, width)

    def size(self, tokens: Any, width: Any) -> Any:
        """Bytes of a tile on chip, whose rows start at bytes; numbers and columns alike."""
        rows, columns = self.lying(tokens, width)
        return rows * packed_bytes(columns, self.form.bits)


@frozen
class Kept:
    """What a pruning is thought to keep: a `share` of the scores, which are predicted in the modes `predicted`.
    `scores` and `values` say how products of what is kept go into rows of the array; None where all scores are made.
    """

    share: float
    predicted: tuple[MatrixMode, ...]
    scores: RowPacking | None
    values: RowPacking


@frozen
class AttentionProblem:
    """`batches` x `groups` key heads, each shared by `share` query heads.

    `passes` of each form, in order, over pieces of scores; `over_rows` those of form `rows` over whole rows; `finish`
    over the output. `visible` is the number of keys that query 0 sees at most (None: every query may see all).
    `masked` bytes an element are loaded with each tile of scores; the output's are `loaded` and `stored`. `key_block`:
    pieces of so many keys make the weights (0: the whole row does). `forms`: those that there are. `sweeps`: how often
    the last makes the scores. `staggered`: steps overlap. `kept`: what a pruning is thought to keep of the scores.
    """

    batches: int
    groups: int
    share: int
    queries: int
    keys: int
    key_width: int
    value_width: int
    scoring: Arithmetic
    valuing: Arithmetic
    query: Matrix
    key: Matrix
    value: Matrix
    weight_form: Format
    passes: tuple[Passes, ...]
    over_rows: Passes
    finish: Passes
    masked: float
    loaded: float
    stored: float
    visible: int | None
    key_block: int
    forms: tuple[ScoreForm, ...]
    sweeps: int
    staggered: bool
    kept: Kept | None = None

    @property
    def heads(self) -> int:
        """Query heads in all."""
        return self.batches * self.groups * self.share

    @property
    def products(self) -> Products:
        """Its two products."""
        return Products(self.scoring, self.valuing, self.key_width, self.value_width)

    @property
    def without_residents(self) -> AttentionProblem:
        """The same with every operand in DRAM."""
        query, key, value = (replace(matrix, resident=False) for matrix in (self.query, self.key, self.value))
        return replace(self, query=query, key=key, value=value, masked=0.0, loaded=0.0, stored=0.0)

    @property
    def grain(self) -> int:
        """Pieces of keys are multiples of so many: fewer weights and values along tokens are no whole byte."""
        return max(self.weight_form.grain, self.value.form.grain)

    def weight_size(self, rows: Any, keys: Any) -> Any:
        """Bytes of a tile of weights."""
        return rows * packed_bytes(keys, self.weight_form.bits)


@frozen
class AttentionPlan:
    """Blocks of `rows` queries, of which `blocks` are written out one by one, by pieces of `keys`; `held` where all
    keys and values of a head are on chip at once, `near` where those are that the blocks look at. `idle` cycles the
    array waits at the ends of loops; `burden` is what counted beside the cycles. `staggered`: each block's scores come
    before the product with the values of the one before it, where attention is staggered at all."""

    form: ScoreForm
    rows: int
    blocks: int
    keys: int
    held: bool
    cycles: int = 0
    array: int = 0
    channel: int = 0
    vector: int = 0
    idle: int = 0
    sram: int = 0
    acc: int = 0
    burden: int = 0
    near: bool = False
    staggered: bool = True

    @property
    def panel(self) -> int:
        """Rows of the blocks that are written out together."""
        return self.rows * self.blocks

    @property
    def text(self) -> str:
        """One line for the plan dictionary."""
        held = "held" if self.held else "near" if self.near else "streamed"
        return (
            f"{self.form.label} {self.blocks} x {self.rows} rows by {self.keys} keys, {held}: {self.cycles} cycles"
            f" (array {self.array}, dram {self.channel}, vector {self.vector}, idle {self.idle}),"
            f" sram {self.sram}, acc {self.acc}"
        )


@frozen
class AttentionDecision:
    """The plan that was chosen, and the best one of another form or block size."""

    chosen: AttentionPlan
    runner_up: AttentionPlan | None
    candidates: int


@frozen
class Candidates:
    """A column of each choice."""

    form: Column
    rows: Column
    blocks: Column
    keys: Column
    held: Column

    def panels(self, queries: int) -> Column:
        """How many panels the queries make."""
        return ceil(queries, self.rows * self.blocks)
