"""A feed-forward pair as the search for its tiling sees it, and what the search answers: numbers, nothing of the IR."""

from __future__ import annotations

from ...isa.frozen import frozen
from ...isa.matrix import Values
from .feed_forward_sums import Rest
from .matmul_problem import Epilogue, Operand, Seam


@frozen
class UpProduct:
    """One of the products that make the hidden: its weight, and what happens to its tiles (kept on chip)."""

    weight: Operand
    epilogue: Epilogue


@frozen
class FeedForwardProblem:
    """[rows, depth] by [depth, hidden] by [hidden, columns] to be tiled.

    `bytes` are those of an element of the hidden; `down` is the epilogue of one panel alone, and `staged` are those of
    the first of several, of one between and of the last, by where sums rest; `rest` are bytes of a resting sum.
    `up_values` and `down_values`: what the left operands of packed modes hold.
    """

    rows: int
    depth: int
    hidden: int
    columns: int
    up_mode: str
    down_mode: str
    left: Operand
    ups: tuple[UpProduct, ...]
    bytes: float
    weight: Operand
    down: Epilogue
    staged: tuple[tuple[Rest, tuple[Epilogue, Epilogue, Epilogue]], ...]
    rest: int
    seam: Seam
    up_values: Values = Values.OWN
    down_values: Values = Values.OWN


@frozen
class FeedForwardTiling:
    """Blocks of `rows`, panels of `panel` hidden columns; tiles of `m` rows, of `n` columns and `k` values of depth of
    an up product, `down_n` and `down_k` of the down product, finished in strips (of `up_strip` and `strip` rows).
    The first `lead` chunks of columns and the last `tail` go together, `edge` rows after `edge` rows, so that rows pass
    from kernel to kernel. Cycles and bytes as in `MatmulPlan`.
    """

    rows: int
    panel: int
    m: int
    n: int
    k: int
    down_n: int
    down_k: int
    up_strip: int
    strip: int
    rest: Rest
    edge: int = 0
    lead: int = 0
    tail: int = 0
    seam: int = 0
    cycles: int = 0
    array: int = 0
    channel: int = 0
    vector: int = 0
    sram: int = 0
    acc: int = 0
    burden: int = 0

    @property
    def text(self) -> str:
        """One line for the plan dictionary."""
        return (
            f"rows {self.rows} panel {self.panel} up {self.m}x{self.n}x{self.k} down {self.m}x{self.down_n}x"
            f"{self.down_k} strip {self.strip}, sums rest in {self.rest.label}, edges of {self.edge} rows by"
            f" {self.lead} and {self.tail}: {self.cycles} cycles"
            f" (array {self.array}, dram {self.channel}, vector {self.vector}), sram {self.sram}, acc {self.acc}"
        )


@frozen
class FeedForwardDecision:
    """The tiling that was chosen, the best one with another panel or place of rest, and how many were feasible."""

    chosen: FeedForwardTiling
    runner_up: FeedForwardTiling | None
    candidates: int
