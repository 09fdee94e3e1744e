"""What a pass raises for a node that it cannot lower; the pass that catches it collects them all."""

from __future__ import annotations


class RefusalError(Exception):
    """A node that a rule cannot lower: why, and what would help."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        self.reason = reason
        self.remedy = remedy
        super().__init__(reason)
