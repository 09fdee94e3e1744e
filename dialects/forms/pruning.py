"""Forms that keep some of the scores by their values: what they have in common, and their definition in numpy.

A form says in which rounds it looks at scores, and which of them a round keeps: so many of a row's greatest (`keep`),
or those that fulfil a condition, which it spells in lane functions (`selected`). The definition evaluates that spelling
with numpy, the lowering makes vector passes of it: it stands once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

import numpy as np

from ...isa.frozen import frozen
from ...isa.instructions.sparse import greatest
from ...isa.lane_functions import LANE_FUNCTIONS, REDUCTIONS
from .form import Form
from .work import Extents, Macs, Product, Work, kept_pairs, products

if TYPE_CHECKING:
    from ..constants import Array
    from ..key_runs import Bools, KeyRuns

FEWEST_BITS, MOST_BITS = 2, 8
"""Signed levels of queries and keys that a prediction may be made of."""

Node = TypeVar("Node")


class Lanes(Protocol[Node]):
    """Arithmetic on rows of scores: numpy's, or that of a lane graph."""

    def apply(self, function: str, *sources: Node) -> Node:
        """A lane function, element by element."""
        ...

    def reduce(self, reduction: str, source: Node) -> Node:
        """A reduction of each row."""
        ...

    def immediate(self, value: float) -> Node:
        """A number."""
        ...


@frozen
class Pruning(Form):
    """A form that keeps some of the scores, by their values.

    Round after round looks at the scores of what is left: what earlier rounds or the model's masks hid is -inf. Scores
    are those that the levels of queries and keys of `rounds` bits predict, or themselves where that is 0. What the last
    round keeps is computed; where it is empty, a row gives zeros. `within_softmax`: what is not kept is absent from the
    softmax; otherwise its weights become zero after it, and those of the others stay what they are.
    """

    within_softmax: ClassVar[bool] = True

    @property
    def rounds(self) -> tuple[int, ...]:
        """Bits of the levels that each round predicts scores by; 0 for the scores themselves, in the only round."""
        return (0,)

    @property
    def keep(self) -> int:
        """How many of each row's greatest scores a round keeps; 0 where `selected` says which."""
        return 0

    def entering(self, lanes: Lanes[Node], score: Node) -> Node:
        """A score, scaled and not yet masked, as rounds and softmax see it."""
        del lanes
        return score

    def selected(self, lanes: Lanes[Node], score: Node) -> Node:
        """Which scores a round keeps."""
        raise NotImplementedError

    def work(self, shown: KeyRuns, extents: Extents) -> Work:
        """What the form asks of one head whose masks show these keys: all of them are predicted by the first round; how
        many are left for later rounds and for exact products only `keep` says before a run."""
        every = (shown.pairs, shown.pairs)
        left = (kept_pairs(shown, self.keep),) * 2 if self.keep else (0, shown.pairs)
        rounds: list[Macs] = []
        looked_at = every
        for bits in filter(None, self.rounds):
            least, most = (pairs * extents.key_width for pairs in looked_at)
            rounds.append(Macs(Product.LEVELS, least, most, bits))
            looked_at = left
        return Work.of_rows(extents, *rounds, *products(extents, *looked_at, *left))

    def refuse_bits(self, bits: int) -> None:
        """Raise UsageError for bits that levels cannot have: for `__post_init__`."""
        self.refuse(not FEWEST_BITS <= bits <= MOST_BITS, f"scores are predicted by {FEWEST_BITS} to {MOST_BITS} bits")

    def kept(self, scores: Callable[[int], Array]) -> Bools:
        """The definition: which scores [..., queries, keys] are kept, given those of so many bits (0: exact), scaled
        and masked, float32."""
        shown: Bools | None = None
        for bits in self.rounds:
            seen = scores(bits)
            if shown is not None:
                seen = np.where(shown, seen, np.float32(-np.inf))
            if self.keep:
                shown = greatest(seen.reshape(-1, seen.shape[-1]), self.keep).reshape(seen.shape)
            else:
                shown = np.broadcast_to(self.selected(NumpyLanes(), seen), seen.shape)
        assert shown is not None, "a form has a round at least"
        return shown


class NumpyLanes:
    """Lane functions of float32 and bool arrays, and reductions of their last axis, which is kept."""

    def apply(self, function: str, *sources: Array) -> Array:
        """A lane function, element by element."""
        with np.errstate(all="ignore"):
            return LANE_FUNCTIONS[function].evaluate(*sources)

    def reduce(self, reduction: str, source: Array) -> Array:
        """A reduction of each row."""
        rows = source.reshape(-1, source.shape[-1])
        return REDUCTIONS[reduction].evaluate(rows, 1).reshape(*source.shape[:-1], 1)

    def immediate(self, value: float) -> Array:
        """A number."""
        return np.asarray(value, np.float32)


def probability(lanes: Lanes[Node], score: Node) -> Node:
    """Each row's softmax."""
    raw = lanes.apply("exp", lanes.apply("sub", score, lanes.reduce("max", score)))
    return lanes.apply("div", raw, lanes.reduce("sum", raw))


def to_levels(lanes: Lanes[Node], values: Node, bits: int) -> tuple[Node, Node]:
    """Each row (a query or a key, in float32) as signed integers of `bits` by its greatest magnitude, and the step
    between them. Levels of a row of zeros are NaN, which is stored as 0."""
    most = float(2 ** (bits - 1) - 1)
    step = lanes.apply(
        "mul", lanes.reduce("max", lanes.apply("abs", values)), lanes.immediate(float(np.float32(1) / np.float32(most)))
    )
    level = lanes.apply("rint", lanes.apply("div", values, step))
    return lanes.apply("min", lanes.apply("max", level, lanes.immediate(-most)), lanes.immediate(most)), step
