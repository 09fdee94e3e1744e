"""Sliding windows, with or without gaps (Beltagy et al., 2020, Longformer, arXiv 2004.05150, section 3.1)."""

from __future__ import annotations

import numpy as np

from ...isa.frozen import frozen
from ..key_runs import KeyRuns
from .form import Pattern, Tokens

AS_BEFORE = -1


@frozen
class Window(Pattern):
    """A query at place p sees the keys p + d * t for -before <= t <= after, d being the dilation; `after` is `before`
    unless given. Longformer's window of w tokens is `before` = w / 2."""

    label = "window"
    before: int
    after: int = AS_BEFORE
    dilation: int = 1

    def __post_init__(self) -> None:
        self.refuse(self.before < 0 or self.after < AS_BEFORE, "a window reaches over 0 or more keys on either side")
        self.refuse(self.dilation < 1, "a dilation is 1 or more")

    def runs(self, tokens: Tokens) -> KeyRuns:
        after = self.before if self.after == AS_BEFORE else self.after
        places = tokens.positions
        if self.dilation == 1:
            return KeyRuns.one_each(tokens.keys, places - self.before, places + after + 1)
        # More steps than there are keys on either side reach nothing.
        reach = tokens.keys // self.dilation + 1
        steps = np.arange(-min(self.before, reach), min(after, reach) + 1) * self.dilation
        starts = places[:, None] + steps
        return KeyRuns.of(tokens.queries, tokens.keys, np.arange(tokens.queries)[:, None], starts, starts + 1)
