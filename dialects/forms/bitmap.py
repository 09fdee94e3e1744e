"""Any pattern, given bit by bit: masks of single heads such as ViTCoD's or those of Tanner graphs."""

from __future__ import annotations

from typing import ClassVar

from ...isa.frozen import frozen
from ..key_runs import KeyRuns
from .form import Pattern, Tokens


@frozen
class Bitmap(Pattern):
    """A query sees the keys that the attention's operand `pattern` shows it."""

    label = "bitmap"
    by_head: ClassVar[bool] = True

    def runs(self, tokens: Tokens) -> KeyRuns:
        assert tokens.shown is not None, "the attention's verifier asks for the bitmap"
        return KeyRuns.of_mask(tokens.shown)
