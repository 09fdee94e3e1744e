"""Random blocks of keys (Zaheer et al., 2020, Big Bird, arXiv 2007.14062, section 2)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ...isa.frozen import frozen
from ..key_runs import KeyRuns
from .form import Pattern, Tokens


@frozen
class RandomBlocks(Pattern):
    """The queries at places of one block of `size` tokens see `count` different blocks of keys, drawn anew for each
    block of queries and each head. The same seed draws the same blocks."""

    label = "random"
    by_head: ClassVar[bool] = True
    count: int
    size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        self.refuse(self.count < 1, "at least one block is drawn")
        self.refuse(self.size < 1, "a block has at least one token")
        self.refuse(self.seed < 0, "a seed is 0 or more")

    def misfit(self, queries: int, keys: int) -> str | None:
        blocks = -(-keys // self.size)
        return f"{self.count} blocks of {blocks} cannot be drawn" if self.count > blocks else None

    def runs(self, tokens: Tokens) -> KeyRuns:
        blocks = tokens.positions // self.size
        number = blocks - blocks.min(initial=0)
        width = -(-tokens.keys // self.size)
        # The raw stream of a bit generator stays the same in every version of numpy; drawing from it may not.
        stream = np.random.PCG64([self.seed, tokens.head])
        lots = stream.random_raw(int(number.max(initial=0) + 1) * width).reshape(-1, width)
        drawn = np.argsort(lots, axis=1, kind="stable")[:, : self.count] * self.size
        starts = drawn[number]
        return KeyRuns.of(tokens.queries, tokens.keys, np.arange(tokens.queries)[:, None], starts, starts + self.size)
