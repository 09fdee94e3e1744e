"""Blocks of tokens that see themselves, and their neighbours (Zaheer et al., 2020, Big Bird, arXiv 2007.14062, appendix
D)."""

from __future__ import annotations

from ...isa.frozen import frozen
from ..key_runs import KeyRuns
from .form import Pattern, Tokens


@frozen
class Block(Pattern):
    """A query at a place in block b of `size` tokens sees the keys of blocks b - neighbours to b + neighbours."""

    label = "block"
    size: int
    neighbours: int = 0

    def __post_init__(self) -> None:
        self.refuse(self.size < 1, "a block has at least one token")
        self.refuse(self.neighbours < 0, "neighbours are 0 or more blocks on either side")

    def runs(self, tokens: Tokens) -> KeyRuns:
        blocks = tokens.positions // self.size
        starts = (blocks - self.neighbours) * self.size
        return KeyRuns.one_each(tokens.keys, starts, (blocks + self.neighbours + 1) * self.size)
