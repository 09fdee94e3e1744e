"""Every query sees the keys up to its own place."""

from __future__ import annotations

from ...isa.frozen import frozen
from ..key_runs import KeyRuns
from .form import Pattern, Tokens


@frozen
class Causal(Pattern):
    """A query at place p sees the keys j <= p."""

    label = "causal"

    def runs(self, tokens: Tokens) -> KeyRuns:
        return KeyRuns.one_each(tokens.keys, 0, tokens.positions + 1)
