"""Only the values of the greatest probabilities are multiplied (Wang et al., 2021, SpAtten, arXiv 2012.09852: local
value pruning)."""

from __future__ import annotations

from typing import ClassVar

from ...isa.frozen import frozen
from .pruning import Pruning


@frozen
class ValuePruning(Pruning):
    """Of each row of probabilities all but the `count` greatest become zero, of equal ones those of later keys first;
    the others stay what they are."""

    label = "values"
    within_softmax: ClassVar[bool] = False
    count: int

    def __post_init__(self) -> None:
        self.refuse(self.count < 1, "at least one value of a row is kept")

    @property
    def keep(self) -> int:
        return self.count
