"""Probabilities of small magnitude are pruned (Tuli and Jha, 2023, AccelTran, arXiv 2302.14705: DynaTran)."""

from __future__ import annotations

from math import inf
from typing import ClassVar

from ...isa.frozen import frozen
from .pruning import Lanes, Node, Pruning, probability


@frozen
class Threshold(Pruning):
    """A probability of the softmax that is not above `least` becomes zero; the others stay what they are. Before it a
    score whose magnitude is not above `scores` becomes zero, where that is more than 0."""

    label = "threshold"
    within_softmax: ClassVar[bool] = False
    least: float
    scores: float = 0.0

    def __post_init__(self) -> None:
        self.refuse(not 0 <= self.least < 1, "probabilities are compared with a number from 0 up to 1")
        self.refuse(not 0 <= self.scores < inf, "magnitudes of scores are compared with a number from 0 on")

    def entering(self, lanes: Lanes[Node], score: Node) -> Node:
        return lanes.apply("prune", score, lanes.immediate(self.scores)) if self.scores else score

    def selected(self, lanes: Lanes[Node], score: Node) -> Node:
        return lanes.apply("gt", probability(lanes, score), lanes.immediate(self.least))
