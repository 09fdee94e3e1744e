"""A mask from scores of few bits, then the exact scores of what it keeps (Lu et al., 2021, Sanger, MICRO)."""

from __future__ import annotations

from ...isa.frozen import frozen
from .pruning import Lanes, Node, Pruning, probability


@frozen
class Sanger(Pruning):
    """Each query sees the keys whose predicted probability is above `theta`: the softmax of scores that are made of
    levels of `bits` bits."""

    label = "sanger"
    theta: float = 2e-3
    bits: int = 4

    def __post_init__(self) -> None:
        self.refuse(not 0 <= self.theta < 1, "probabilities are compared with a number from 0 up to 1")
        self.refuse_bits(self.bits)

    @property
    def rounds(self) -> tuple[int, ...]:
        return (self.bits,)

    def selected(self, lanes: Lanes[Node], score: Node) -> Node:
        return lanes.apply("gt", probability(lanes, score), lanes.immediate(self.theta))
