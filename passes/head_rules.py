"""What a recipe says of attention heads: from which layer on, and how many."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..isa.errors import UsageError
from ..isa.frozen import frozen

RULE = re.compile(r"(?P<before>.+)=(?P<keep>[^=]+)")


@frozen
class HeadRule:
    """Heads that the layer at the structural path `before`, and those behind it, have: their share `keep` of the
    model's, those whose outputs were of the greatest magnitude in all layers before (Wang et al., "SpAtten", HPCA 2021:
    cascade head pruning)."""

    before: str
    keep: float

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise UsageError(f"`keep` of [[heads]] is a share above 0 and up to 1, not {self.keep}")

    def __str__(self) -> str:
        return f"{self.before}={self.keep}"

    def kept(self, heads: int) -> int:
        """How many of the model's `heads` go on: the share rounded down, one at least."""
        return max(int(self.keep * heads), 1)

    @property
    def table(self) -> dict[str, object]:
        """The table of a recipe."""
        return {"before": self.before, "keep": self.keep}

    @staticmethod
    def of(table: Mapping[str, object]) -> HeadRule:
        """From a recipe's table. Raises UsageError for what is unknown or out of range."""
        unknown = sorted(set(table) - {"before", "keep"})
        if unknown:
            raise UsageError(f"[[heads]] has no key {unknown[0]!r}", "it knows before, keep")
        before, keep = table.get("before"), table.get("keep")
        if not isinstance(before, str) or isinstance(keep, bool) or not isinstance(keep, int | float):
            raise UsageError("each [[heads]] needs `before`, a text, and `keep`, a number")
        return HeadRule(before, float(keep))

    @staticmethod
    def parse(text: str) -> HeadRule:
        """From its text. Raises UsageError."""
        found = RULE.fullmatch(text)
        try:
            keep = float(found["keep"]) if found is not None else None
        except ValueError:
            keep = None
        if found is None or keep is None:
            raise UsageError(f"{text!r} is no head rule", "write path=keep")
        return HeadRule(found["before"], keep)
