"""Bytes on chip that tilings of a feed-forward pair need, for columns of candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...isa.frozen import frozen
from .feed_forward_problem import FeedForwardProblem
from .feed_forward_sums import Rest
from .matmul_problem import Epilogue, Operand
from .rates import Column
from .search import aligned, ceil, where


@frozen
class Candidates:
    """Columns of candidates: sizes as in `FeedForwardTiling`."""

    rows: Column
    panel: Column
    m: Column
    n: Column
    k: Column
    down_n: Column
    down_k: Column
    up_strip: Column
    strip: Column
    rest: Column


@frozen(eq=False)
class Edge:
    """Bytes of SRAM at one end of a pair: `chunk` of the weights of a chunk of columns, and `beside` those."""

    chunk: Column
    beside: Column


@frozen(eq=False)
class Memory:
    """Bytes of SRAM with one and with two of every buffer whose content changes while the kernel runs, and at its ends,
    where weights of whole chunks of columns are on chip."""

    single: Column
    double: Column
    lead: Edge
    tail: Edge


def memory(problem: FeedForwardProblem, c: Candidates) -> Memory:
    """The bytes of all candidates. Panels are made and used up in turn: only one product's weights are on chip."""
    held, left = _held(problem, c), _left(problem, c)
    several = (c.m < c.rows).astype(np.int64)
    up_single, up_double, lead = np.zeros_like(held), np.zeros_like(held), np.zeros_like(held)
    for up in problem.ups:
        single, double, chunk = _weights(up.weight, c.k, c.n, ceil(problem.depth, c.k), several)
        kept = aligned(c.m * c.n * (up.epilogue.kept + (problem.bytes if up is not problem.ups[-1] else 0)))
        up_single, up_double, lead = up_single + single + kept, up_double + double + kept, lead + chunk
    down_single, down_double, tail = _weights(problem.weight, c.down_k, c.down_n, ceil(c.panel, c.down_k), several)
    moved_single, moved_double = np.zeros_like(held), np.zeros_like(held)
    for place, three in ((Rest.NOWHERE, (problem.down,)), *problem.staged):
        here = c.rest == place
        single, double = _moved(three, c)
        moved_single, moved_double = where(here, single, moved_single), where(here, double, moved_double)
    return Memory(
        held + left + np.maximum(up_single, down_single + moved_single),
        held + left + np.maximum(up_double, down_double + moved_double),
        Edge(lead, held + left + up_double),
        Edge(tail, held + left + down_double + moved_double),
    )


def _left(problem: FeedForwardProblem, c: Candidates) -> Column:
    """The input of a block of rows, unless it lies there anyway."""
    left = problem.left
    if left.lies_ready:
        return np.zeros_like(c.m)
    raw = aligned(c.rows * c.k * left.bytes * int(bool(left.prepared) and not left.resident))
    return aligned(c.rows * c.k * (left.prepared or left.bytes)) * ceil(problem.depth, c.k) + raw


def _held(problem: FeedForwardProblem, c: Candidates) -> Column:
    """What is on chip all the time besides the input: a panel, what goes with its columns, sums that rest there."""
    rows = aligned(c.panel * sum(up.epilogue.rows for up in problem.ups))
    sums = where(c.rest == Rest.CHIP, aligned(c.rows * problem.columns * problem.rest), 0)
    return aligned(c.rows * c.panel * problem.bytes) + rows + sums


def _weights(weight: Operand, k: Column, n: Column, count: Column, several: Column) -> tuple[Column, Column, Column]:
    """Bytes of a weight on its way: one piece, those after it too (all of a chunk of columns if `several` tiles of
    rows use them one after another), and those of a chunk alone."""
    if weight.lies_ready:
        return np.zeros_like(k), np.zeros_like(k), np.zeros_like(k)
    piece = aligned(k * n * (weight.prepared or weight.bytes))
    raw = aligned(k * n * weight.bytes * bool(weight.prepared))
    tile = where(several, piece * count, piece)
    # Buffers of unlike sizes leave holes: what streams needs room for one more.
    return tile + raw, tile + 2 * piece + 2 * raw, piece * count


def _moved(epilogues: Sequence[Epilogue], c: Candidates) -> tuple[Column, Column]:
    """Bytes of what the most demanding of several epilogues loads, stores and keeps with a strip: one and two of it."""
    single, double = np.zeros_like(c.m), np.zeros_like(c.m)
    strip = c.strip * c.down_n
    for epilogue in epilogues:
        tile = aligned(strip * epilogue.loaded) + aligned(strip * epilogue.stored)
        kept = aligned(strip * epilogue.kept) + 2 * aligned(c.down_n * epilogue.rows)
        single, double = np.maximum(single, tile + kept), np.maximum(double, 2 * tile + kept)
    return single, double
