"""What a recipe says of the weights of products: which to prune, and how far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..isa.errors import UsageError
from ..isa.frozen import frozen
from ..isa.structures import Structure

KEYS = ("match", "structure", "threshold")


@frozen
class PruneRule:
    """The constant weights of products whose path or node name matches the shell pattern `match` are pruned: to a
    structure N:M, of every M consecutive values along K the N greatest magnitudes, or to the magnitudes above a
    `threshold`.

    Its text, by which passes are given it, is `match=2:4` or `match=0.02`.
    """

    match: str
    structure: Structure | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        if (self.structure is None) == (self.threshold is None):
            raise UsageError(f"the prune rule for {self.match!r} needs `structure` or `threshold`, one of them")
        if self.threshold is not None and not 0 <= self.threshold < float("inf"):
            raise UsageError(f"weights are compared with a threshold from 0 on, not with {self.threshold:g}")

    def __str__(self) -> str:
        return f"{self.match}={self.asked}"

    @property
    def asked(self) -> str:
        """The structure, or the threshold."""
        return str(self.structure) if self.structure is not None else repr(self.threshold)

    @property
    def untrained(self) -> str:
        """What a model would need training with."""
        return f"{self.structure} weights" if self.structure is not None else f"weights above {self.threshold:g}"

    @property
    def table(self) -> dict[str, Any]:
        """What a recipe says of it."""
        kept = {"threshold": self.threshold} if self.structure is None else {"structure": str(self.structure)}
        return {"match": self.match, **kept}

    @staticmethod
    def of(table: Mapping[str, Any]) -> PruneRule:
        """From a table of a recipe. Raises UsageError for what is unknown or missing."""
        unknown = sorted(set(table) - set(KEYS))
        if unknown:
            raise UsageError(f"[[prune]] has no key {unknown[0]!r}", f"it knows {', '.join(KEYS)}")
        match, structure, threshold = (table.get(key) for key in KEYS)
        known = isinstance(structure, str | None) and type(threshold) in (int, float, type(None))
        if not isinstance(match, str) or not known or (structure is None and threshold is None):
            raise UsageError("each [[prune]] needs `match` and `structure`, both text, or `threshold`, a number")
        kept = None if structure is None else Structure.parse(structure)
        return PruneRule(match, kept, None if threshold is None else float(threshold))

    @staticmethod
    def parse(text: str) -> PruneRule:
        """From its text. Raises UsageError."""
        match, _, asked = text.rpartition("=")
        if not match:
            raise UsageError(f"{text!r} is no rule of pruning", "write match=2:4 or match=0.02")
        if ":" in asked:
            return PruneRule(match, Structure.parse(asked))
        try:
            return PruneRule(match, threshold=float(asked))
        except ValueError:
            raise UsageError(f"{text!r} is no rule of pruning", "write match=2:4 or match=0.02") from None
