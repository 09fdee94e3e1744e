"""The greatest scores of each row (Zhao et al., 2019, Explicit Sparse Transformer, arXiv 1912.11637)."""

from __future__ import annotations

from ...isa.frozen import frozen
from .pruning import Pruning


@frozen
class TopK(Pruning):
    """Each query sees the `count` keys of its greatest scores; of equal scores those of earlier keys come first. With
    `bits`, the scores that are ranked are predicted by levels of so many bits."""

    label = "topk"
    count: int
    bits: int = 0

    def __post_init__(self) -> None:
        self.refuse(self.count < 1, "at least one key of a row is kept")
        if self.bits:
            self.refuse_bits(self.bits)

    @property
    def rounds(self) -> tuple[int, ...]:
        return (self.bits,)

    @property
    def keep(self) -> int:
        return self.count
