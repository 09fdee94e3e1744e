"""Rounds of filters of few bits, each on what the last one left (Zhou et al., 2021, Energon, arXiv 2110.09310)."""

from __future__ import annotations

import math

from ...isa.frozen import frozen
from .pruning import Lanes, Node, Pruning


@frozen
class Energon(Pruning):
    """Round after round keeps the scores that reach mean + `alpha` (maximum - mean) of those left in the row, predicted
    by levels of as many bits as `bits` says: `2+4` are two rounds."""

    label = "energon"
    alpha: float = 0.0
    bits: str = "2+4"

    def __post_init__(self) -> None:
        self.refuse(not 0 <= self.alpha <= 1, "a threshold lies between mean (0) and maximum (1)")
        parts = self.bits.split("+")
        self.refuse(not all(part.isdecimal() for part in parts), "bits are numbers joined by +")
        for part in parts:
            self.refuse_bits(int(part))

    @property
    def rounds(self) -> tuple[int, ...]:
        return tuple(map(int, self.bits.split("+")))

    def selected(self, lanes: Lanes[Node], score: Node) -> Node:
        left = lanes.apply("gt", score, lanes.immediate(-math.inf))
        zero, one = lanes.immediate(0.0), lanes.immediate(1.0)
        total = lanes.reduce("sum", lanes.apply("select", left, score, zero))
        mean = lanes.apply("div", total, lanes.reduce("sum", lanes.apply("select", left, one, zero)))
        greatest = lanes.reduce("max", score)
        above = lanes.apply("mul", lanes.apply("sub", greatest, mean), lanes.immediate(self.alpha))
        # A mean of equal scores may be rounded to more than any of them.
        least = lanes.apply("min", lanes.apply("add", mean, above), greatest)
        return lanes.apply("and", left, lanes.apply("ge", score, least))
