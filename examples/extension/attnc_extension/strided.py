"""Strided attention: every so many keys (Child et al., 2019, Sparse Transformer, arXiv 1904.10509, section 4.3)."""

import numpy as np

from attnc.dialects.forms.form import Pattern, Tokens
from attnc.dialects.key_runs import KeyRuns
from attnc.isa.frozen import frozen


@frozen
class Strided(Pattern):
    """A query at place p sees the keys p - t and p + t for every t that is a multiple of `stride`."""

    label = "strided"
    stride: int

    def __post_init__(self) -> None:
        self.refuse(self.stride < 1, "a stride is 1 or more")

    def runs(self, tokens: Tokens) -> KeyRuns:
        """The keys of the query's own remainder."""
        first = tokens.positions % self.stride
        starts = first[:, None] + np.arange(0, tokens.keys, self.stride)
        return KeyRuns.of(tokens.queries, tokens.keys, np.arange(tokens.queries)[:, None], starts, starts + 1)
