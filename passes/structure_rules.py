"""What a recipe says of structured weights: which to prune, and how far."""

from __future__ import annotations

from collections.abc import Mapping

from ..isa.errors import UsageError
from ..isa.frozen import frozen
from ..isa.structures import Structure

KEYS = ("match", "structure")


@frozen
class PruneRule:
    """The constant weights of products whose path or node name matches the shell pattern `match` are pruned to a
    structure N:M: of every M consecutive values along K the N greatest magnitudes stay.

    Its text, by which passes are given it, is `match=2:4`.
    """

    match: str
    structure: Structure

    def __str__(self) -> str:
        return f"{self.match}={self.structure}"

    @property
    def table(self) -> dict[str, str]:
        """What a recipe says of it."""
        return {"match": self.match, "structure": str(self.structure)}

    @staticmethod
    def of(table: Mapping[str, object]) -> PruneRule:
        """From a table of a recipe. Raises UsageError for what is unknown or missing."""
        unknown = sorted(set(table) - set(KEYS))
        if unknown:
            raise UsageError(f"[[prune]] has no key {unknown[0]!r}", f"it knows {', '.join(KEYS)}")
        match, structure = (table.get(key) for key in KEYS)
        if not isinstance(match, str) or not isinstance(structure, str):
            raise UsageError("each [[prune]] needs `match` and `structure`, both text")
        return PruneRule(match, Structure.parse(structure))

    @staticmethod
    def parse(text: str) -> PruneRule:
        """From its text. Raises UsageError."""
        match, _, structure = text.rpartition("=")
        if not match:
            raise UsageError(f"{text!r} is no rule of pruning", "write match=2:4")
        return PruneRule(match, Structure.parse(structure))
