"""Probabilities of small magnitude are pruned (Tuli and Jha, 2023, AccelTran, arXiv 2302.14705: DynaTran)."""

from __future__ import annotations

from typing import ClassVar

from ...isa.frozen import frozen
from .pruning import Lanes, Node, Pruning, probability


@frozen
class Threshold(Pruning):
    """A probability of the softmax that is not above `least` becomes zero; the others stay what they are."""

    label = "threshold"
    within_softmax: ClassVar[bool] = False
    least: float

    def __post_init__(self) -> None:
        self.refuse(not 0 <= self.least < 1, "probabilities are compared with a number from 0 up to 1")

    def selected(self, lanes: Lanes[Node], score: Node) -> Node:
        return lanes.apply("gt", probability(lanes, score), lanes.immediate(self.least))
