"""Every query sees every key."""

from __future__ import annotations

from dataclasses import dataclass

from ..key_runs import KeyRuns
from .form import Pattern, Tokens


@dataclass(frozen=True)
class Dense(Pattern):
    """Every query sees every key."""

    label = "dense"

    def runs(self, tokens: Tokens) -> KeyRuns:
        return KeyRuns.one_each(tokens.keys, [0] * tokens.queries, tokens.keys)
