"""How soon the matrix engine waits for each row: what other engines choose by when several rows are ready."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .allocate import Demand
from .footprint import Ints
from .reorder import Feed


def waiting_products(after: Sequence[Sequence[int]], is_product: NDArray[np.bool_], wanted: Ints) -> list[int]:
    """For each row the number of the first product, of all in natural order, that waits for it; a product's own.

    `after[row]` are rows that come after a row; `wanted[row]` is a product that waits for the row for other reasons
    (the number of rows: none).
    """
    each = is_product.astype(np.int64)
    number = np.append(np.cumsum(each) - each, each.sum())
    product: list[bool] = is_product.tolist()
    result: list[int] = np.where(is_product, number[:-1], number[wanted]).tolist()
    for row in range(len(after) - 1, -1, -1):
        if not product[row]:
            first = result[row]
            for follower in after[row]:
                if result[follower] < first:
                    first = result[follower]
            result[row] = first
    return result


def vector_shares(
    after: Sequence[Sequence[int]], is_product: NDArray[np.bool_], is_vector: NDArray[np.bool_], cycles: Ints
) -> Feed:
    """What each product gives the vector engine to do: the longest chain of passes that follow from its result."""
    rows = len(after)
    product: list[bool] = is_product.tolist()
    vector: list[bool] = is_vector.tolist()
    length: list[int] = cycles.tolist()
    chain, lead = [0] * rows, [0] * rows
    for row in range(rows - 1, -1, -1):
        if not product[row] and not vector[row]:
            continue
        chain[row] = max((chain[follower] for follower in after[row] if vector[follower]), default=0)
        if vector[row]:
            chain[row] += length[row]
            continue
        lead[row] = length[row]
        if not chain[row]:
            # The sums go on in another product.
            further = next((follower for follower in after[row] if product[follower]), row)
            chain[row], lead[row] = chain[further], length[row] + lead[further] * (further > row)
    return Feed([passes / max(1, products) for passes, products in zip(chain, lead, strict=True)], lead)


def starts_overdue(is_product: NDArray[np.bool_], cycles: Ints, patience: int) -> Ints:
    """For each row the product at which it is `patience` cycles behind its natural place, were the array to do all
    products in natural order without a gap.

    Rows that no product waits for, such as those that bring and add a residual, would else stand back for as long as
    there is anything to load, and what they free would be taken all the while.
    """
    array = np.where(is_product, cycles, 0)
    begin = np.cumsum(array) - array
    return np.searchsorted(begin[is_product], begin + patience)


def wanted_again(accumulators: Demand, capacity: int, rows: int) -> Ints:
    """For each accumulator buffer the row at which a later one needs its place, if all follow one another in a ring.

    `rows` where none does. Buffers are in the order of their first rows.
    """
    filled = np.cumsum(accumulators.size)
    later = np.searchsorted(filled, filled - accumulators.size + capacity, side="right")
    return np.append(accumulators.first, rows)[later]
