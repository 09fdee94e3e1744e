"""What a recipe says of small activations: in front of which products they become zero, and how small they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..isa.errors import UsageError
from ..isa.frozen import frozen

KEYS = ("match", "threshold")


@frozen
class SparsityRule:
    """What enters the products and attentions whose path or node name matches the shell pattern `match` becomes zero
    where its magnitude is not above `threshold`, and products skip it.

    Its text, by which passes are given it, is `match=0.02`.
    """

    match: str
    threshold: float

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < float("inf"):
            raise UsageError(
                f"magnitudes are compared with a threshold from 0 on, not with {self.threshold:g}",
                "write threshold = 0.02",
            )

    def __str__(self) -> str:
        return f"{self.match}={self.threshold!r}"

    @property
    def table(self) -> dict[str, Any]:
        """What a recipe says of it."""
        return {"match": self.match, "threshold": self.threshold}

    @staticmethod
    def of(table: Mapping[str, object]) -> SparsityRule:
        """From a table of a recipe. Raises UsageError for what is unknown or missing."""
        unknown = sorted(set(table) - set(KEYS))
        if unknown:
            raise UsageError(f"[[sparsity]] has no key {unknown[0]!r}", f"it knows {', '.join(KEYS)}")
        match, threshold = (table.get(key) for key in KEYS)
        if not isinstance(match, str) or type(threshold) not in (int, float):
            raise UsageError("each [[sparsity]] needs `match`, a text, and `threshold`, a number")
        return SparsityRule(match, float(threshold))  # pyright: ignore[reportArgumentType]

    @staticmethod
    def parse(text: str) -> SparsityRule:
        """From its text. Raises UsageError."""
        match, _, threshold = text.rpartition("=")
        try:
            return SparsityRule(match, float(threshold))
        except ValueError:
            raise UsageError(f"{text!r} is no rule of sparsity", "write match=0.02") from None
