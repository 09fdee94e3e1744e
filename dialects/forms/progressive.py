"""High bits of the keys first, low bits where they are needed: progressive quantization (Wang et al., 2021, SpAtten,
arXiv 2012.09852)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ...isa.frozen import frozen
from .form import Form
from .pruning import Lanes, Node
from .work import Extents, Macs, Product, Work, products

if TYPE_CHECKING:
    from ..key_runs import KeyRuns

KEY_BITS = 8
"""Bits of the levels that keys have with int8 products."""


@frozen
class Progressive(Form):
    """Scores are made of the `bits` highest of the 8 bits of each key; those of a row whose greatest probability is
    below `threshold` are made again of all bits."""

    label = "progressive"
    threshold: float = 0.1
    bits: int = 4

    def __post_init__(self) -> None:
        self.refuse(not 0 <= self.threshold <= 1, "probabilities are compared with a number from 0 to 1")
        self.refuse(not 2 <= self.bits < KEY_BITS, f"2 to {KEY_BITS - 1} bits of {KEY_BITS} are fetched first")

    @property
    def low_bits(self) -> int:
        """Bits that are fetched where they are needed."""
        return KEY_BITS - self.bits

    def again(self, lanes: Lanes[Node], score: Node) -> Node:
        """Which scores [..., queries, keys] are made again: those that are not hidden in rows without a great
        probability."""
        flat = lanes.apply("lt", self.greatest(lanes, score), lanes.immediate(self.threshold))
        return lanes.apply("and", lanes.apply("gt", score, lanes.immediate(-math.inf)), flat)

    def greatest(self, lanes: Lanes[Node], score: Node) -> Node:
        """The greatest probability of each row: that of its greatest score."""
        raw = lanes.apply("exp", lanes.apply("sub", score, lanes.reduce("max", score)))
        return lanes.apply("div", lanes.immediate(1.0), lanes.reduce("sum", raw))

    def work(self, shown: KeyRuns, extents: Extents) -> Work:
        """What the form asks of one head whose masks show these keys: products with the high bits of all of them, and
        with all bits of none to all."""
        high = Macs(Product.LEVELS, shown.pairs * extents.key_width, shown.pairs * extents.key_width, self.bits)
        return Work.of_rows(extents, high, *products(extents, 0, shown.pairs, shown.pairs, shown.pairs))
