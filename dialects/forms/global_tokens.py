"""Tokens that see all and that all see (Beltagy et al., 2020, Longformer, arXiv 2004.05150, section 3.1)."""

from __future__ import annotations

import numpy as np

from ...isa.frozen import frozen
from ..key_runs import KeyRuns
from .form import Pattern, Tokens


@frozen
class GlobalTokens(Pattern):
    """Every query sees the `count` keys from `first` on, and the queries at these places see every key."""

    label = "global"
    count: int
    first: int = 0

    def __post_init__(self) -> None:
        self.refuse(self.count < 1, "there is at least one global token")
        self.refuse(self.first < 0, "tokens are counted from 0")

    def misfit(self, queries: int, keys: int) -> str | None:
        last = self.first + self.count
        return f"its tokens end at {last}, and there are {keys} keys" if last > keys else None

    def runs(self, tokens: Tokens) -> KeyRuns:
        last = self.first + self.count
        everything = (self.first <= tokens.positions) & (tokens.positions < last)
        return KeyRuns.one_each(
            tokens.keys, np.where(everything, 0, self.first), np.where(everything, tokens.keys, last)
        )
