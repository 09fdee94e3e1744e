"""Every query sees every key."""

from __future__ import annotations

from ...isa.frozen import frozen
from ..key_runs import KeyRuns
from .form import Pattern, Tokens


@frozen
class Dense(Pattern):
    """Every query sees every key."""

    label = "dense"

    def runs(self, tokens: Tokens) -> KeyRuns:
        return KeyRuns.one_each(tokens.keys, [0] * tokens.queries, tokens.keys)
