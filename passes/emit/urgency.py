"""How soon the matrix engine waits for each row: what other engines choose by when several rows are ready."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .allocate import Demand
from .footprint import Ints


def latest_starts(
    after: Sequence[Sequence[int]], is_product: NDArray[np.bool_], cycles: Ints, wanted: Ints
) -> list[int]:
    """For each row the cycle at which it must start, were the array to do all products in natural order without a gap.

    `after[row]` are rows that come after a row, which takes `cycles[row]`; `wanted[row]` is a product that waits for
    the row for other reasons (the number of rows: none). With ones for products and zeros for all else, that is which
    product waits for each row first.
    """
    rows = len(after)
    array = np.where(is_product, cycles, 0)
    begin = np.append(np.cumsum(array) - array, array.sum())
    product: list[bool] = is_product.tolist()
    length: list[int] = cycles.tolist()
    result: list[int] = np.where(is_product, begin[:-1], begin[wanted]).tolist()
    for row in range(rows - 1, -1, -1):
        if not product[row]:
            latest = result[row]
            for follower in after[row]:
                if result[follower] < latest:
                    latest = result[follower]
            result[row] = latest - length[row]
    return result


def starts_overdue(is_product: NDArray[np.bool_], cycles: Ints, patience: int, by_cycles: bool) -> Ints:
    """For each row the cycle, or else the product, at which it is `patience` cycles behind its natural place, were the
    array to do all products in natural order without a gap.

    Rows that no product waits for, such as those that bring and add a residual, would else stand back for as long as
    there is anything to load, and what they free would be taken all the while.
    """
    array = np.where(is_product, cycles, 0)
    begin = np.cumsum(array) - array
    overdue = begin + patience
    return overdue if by_cycles else np.searchsorted(begin[is_product], overdue)


def wanted_again(accumulators: Demand, capacity: int, rows: int) -> Ints:
    """For each accumulator buffer the row at which a later one needs its place, if all follow one another in a ring.

    `rows` where none does. Buffers are in the order of their first rows.
    """
    filled = np.cumsum(accumulators.size)
    later = np.searchsorted(filled, filled - accumulators.size + capacity, side="right")
    return np.append(accumulators.first, rows)[later]
