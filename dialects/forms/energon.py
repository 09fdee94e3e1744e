"""Rounds of filters of few bits, each on what the last one left (Zhou et al., 2021, Energon, arXiv 2110.09310)."""

from __future__ import annotations

import math

from ...isa.frozen import frozen
from .pruning import Lanes, Node, Pruning


@frozen
class Energon(Pruning):
    """Round after round keeps the scores that reach a threshold between those left in the row: their mean (`alpha` 0),
    towards their maximum (up to 1) or their minimum (down to -1). Scores are predicted by levels of as many bits as
    `bits` says: `2+4` are two rounds."""

    label = "energon"
    alpha: float = 0.0
    bits: str = "2+4"

    def __post_init__(self) -> None:
        self.refuse(not -1 <= self.alpha <= 1, "a threshold lies between minimum (-1), mean (0) and maximum (1)")
        parts = self.bits.split("+")
        self.refuse(not all(part.isdecimal() for part in parts), "bits are numbers joined by +")
        for part in parts:
            self.refuse_bits(int(part))

    @property
    def rounds(self) -> tuple[int, ...]:
        return tuple(map(int, self.bits.split("+")))

    def selected(self, lanes: Lanes[Node], score: Node) -> Node:
        def scaled(value: Node, factor: float) -> Node:
            return lanes.apply("mul", value, lanes.immediate(factor))

        left = lanes.apply("gt", score, lanes.immediate(-math.inf))
        zero, one, above = (lanes.immediate(value) for value in (0.0, 1.0, math.inf))
        total = lanes.reduce("sum", lanes.apply("select", left, score, zero))
        mean = lanes.apply("div", total, lanes.reduce("sum", lanes.apply("select", left, one, zero)))
        greatest = lanes.reduce("max", score)
        if self.alpha < 0:
            bound = lanes.reduce("min", lanes.apply("select", left, score, above))
        else:
            bound = greatest
        part = abs(self.alpha)
        least = lanes.apply("add", scaled(bound, part), scaled(mean, 1 - part))
        # A mean of equal scores may be rounded to more than any of them.
        return lanes.apply("and", left, lanes.apply("ge", score, lanes.apply("min", least, greatest)))
