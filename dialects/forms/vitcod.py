"""Masks from average attention maps: prune by cumulative information (You et al., 2023, ViTCoD, arXiv 2210.09573,
section IV)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...isa.errors import UsageError
from ...isa.frozen import frozen
from ..key_runs import Bools, Ints
from .form import Calibrated

if TYPE_CHECKING:
    from ..constants import Array

UNSET = 0.0

STEPS = 50
"""Halvings of the interval that theta is looked for in."""


@frozen
class Vitcod(Calibrated):
    """A query sees the keys of the largest entries of its row of the mean attention map, as many as it takes for their
    sum to reach `theta` of the row's. Every query sees the first `always` keys, and the first `always` queries see
    every key (1: the class token).

    `sparsity` in the place of `theta`: the greatest theta by which this share of all pairs, or more, is removed, one
    for all heads that a rule of a recipe speaks of.
    """

    label = "vitcod"
    theta: float = UNSET
    sparsity: float = UNSET
    always: int = 1

    def __post_init__(self) -> None:
        given = [value for value in (self.theta, self.sparsity) if value != UNSET]
        self.refuse(len(given) != 1, "either theta or sparsity is given")
        self.refuse(not 0 < given[0] <= 1, "theta and sparsity are above 0 and up to 1")
        self.refuse(self.always < 0, "0 or more first tokens are always seen")

    def masks(self, maps: Sequence[Array]) -> list[Bools]:
        rows = [_Rows(each, self.always) for each in maps]
        if self.theta != UNSET:
            return [each.kept(self.theta) for each in rows]
        allowed = (1 - self.sparsity) * sum(each.size for each in maps)

        def fits(theta: float) -> bool:
            return sum(each.count(theta) for each in rows) <= allowed

        if not fits(0.0):
            least = sum(each.count(0.0) for each in rows) / sum(each.size for each in maps)
            raise UsageError(
                f"attention form '{self}': no more than {1 - least:.1%} of the pairs can be removed",
                "one key for each query and the first tokens stay: ask for less, or for a smaller `always`",
            )
        theta = _greatest(fits)
        return [each.kept(theta) for each in rows]


class _Rows:
    """The rows of one head's map, largest entries first."""

    def __init__(self, mean: Array, always: int) -> None:
        self._always = always
        values = mean.astype(np.float64)
        self._keys: int = len(values[0])
        # Of equal entries the earlier key counts as the larger.
        self._order = np.argsort(-values, axis=1, kind="stable")
        self._reached = np.cumsum(np.take_along_axis(values, self._order, axis=1), axis=1)

    def _counts(self, theta: float) -> Ints:
        short = self._reached < theta * self._reached[:, -1:]
        return np.minimum(short.sum(axis=1) + 1, self._keys)

    def kept(self, theta: float) -> Bools:
        """Which keys [queries, keys] are seen."""
        shown = np.zeros(self._order.shape, np.bool_)
        np.put_along_axis(shown, self._order, np.less(np.arange(self._keys), self._counts(theta)[:, None]), axis=1)
        shown[: self._always] = True
        shown[:, : self._always] = True
        return shown

    def count(self, theta: float) -> int:
        """How many pairs are seen."""
        return int(self.kept(theta).sum())


def _greatest(fits: Callable[[float], bool]) -> float:
    """The greatest theta that fits, where all smaller ones do."""
    if fits(1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
