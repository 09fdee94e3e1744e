"""Orders of a product's tile loops: permutations of b (batch), i (rows), j (columns) and k (depth), outermost first.

AccelTran (Tuli and Jha, IEEE TCAD 2023) names its dataflows so: [b,i,j,k] and its 24 permutations. What stays on chip
follows from the order. An operand that the inner loops do not index passes them by; one that a loop further out does
not index can be held across that loop, with all that the loops inside of it walk over. Where k is not innermost,
every product leaves sums that are not finished.
"""

from __future__ import annotations

from itertools import permutations

from ...isa.frozen import frozen

AXES = "bijk"

ORDERS = tuple("".join(axes) for axes in permutations(AXES))
"""All 24 orders."""

UNROLLED = 16
"""Up to so many pieces of K are written out one by one, each with a buffer of its own; more become a loop, over which
no operand can be held."""


@frozen
class Fetch:
    """When an operand comes on chip: with `level` loops open. It comes whole along the axes of `whole`, whose loops
    open later, and once more for every turn of the `again` loops, which do not index it."""

    level: int
    whole: str
    again: str


def fetch(order: str, axes: str, across: str, held: bool) -> Fetch:
    """When an operand that `axes` index comes on chip; `held` over the loop `across`, which does not index it."""
    level = 1 + max(order.index(axis) for axis in axes)
    if held:
        level = min(level, order.index(across))
    while level and order[level - 1] not in axes:
        level -= 1
    return Fetch(
        level,
        "".join(axis for axis in order[level:] if axis in axes),
        "".join(axis for axis in order[:level] if axis not in axes),
    )


def canonical(order: str, single: str) -> str:
    """The order with the axes of `single`, whose loops turn once, in front: orders that do the same are equal then."""
    return "".join(axis for axis in AXES if axis in single) + "".join(axis for axis in order if axis not in single)


def inside(order: str, axis: str) -> str:
    """The axes whose loops are inside of the loop over `axis`."""
    return order[order.index(axis) + 1 :]


def dataflow(order: str) -> str:
    """What the innermost loop leaves in place."""
    return {"k": "output-stationary", "i": "weight-stationary", "j": "input-stationary"}[order.rstrip("b")[-1]]
