"""How soon the matrix engine waits for each row: what other engines choose by when several rows are ready."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .allocate import Demand
from .footprint import Ints


def urgency(after: Sequence[Sequence[int]], is_product: NDArray[np.bool_], wanted: Ints) -> list[int]:
    """For each row the first product in natural order that cannot start before it, itself for a product.

    The number of rows where no product waits. `after[row]` are rows that come after a row, `wanted[row]` is a product
    that waits for the row for other reasons.
    """
    rows = len(after)
    product: list[bool] = is_product.tolist()
    result: list[int] = wanted.tolist()
    for row in range(rows - 1, -1, -1):
        if product[row]:
            result[row] = row
        else:
            soonest = result[row]
            for follower in after[row]:
                if result[follower] < soonest:
                    soonest = result[follower]
            result[row] = soonest
    return result


def wanted_again(accumulators: Demand, capacity: int, rows: int) -> Ints:
    """For each accumulator buffer the row at which a later one needs its place, if all follow one another in a ring.

    `rows` where none does. Buffers are in the order of their first rows.
    """
    filled = np.cumsum(accumulators.size)
    later = np.searchsorted(filled, filled - accumulators.size + capacity, side="right")
    return np.append(accumulators.first, rows)[later]
