"""Tile sizes of a feed-forward pair, by the instruction records' own costs, as `matmul_search` has those of a product.

A panel of the hidden axis is made (up products, their epilogues) and used up (down product) on chip. Wider panels mean
fewer trips of unfinished sums; narrower ones leave room for weights on their way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, lru_cache
from itertools import product
from math import ceil as whole

import numpy as np
from numpy.typing import NDArray

from ...isa.errors import CapacityError
from ...isa.frozen import frozen
from .feed_forward_memory import Candidates, Memory, memory
from .feed_forward_problem import FeedForwardDecision, FeedForwardProblem, FeedForwardTiling
from .feed_forward_sums import Rest
from .loop_order import UNROLLED
from .matmul_problem import Epilogue, Operand, Seam
from .rates import MAXIMUM_EXTENT, Column, Rates
from .search import (
    ALIGNMENT,
    CHANNEL_SHARE,
    INSTRUCTION_CYCLES,
    PARTS,
    aligned,
    ceil,
    distinct,
    pieces,
    row_pieces,
    total,
    where,
)

DEPTHS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Into how many pieces the depth of a product is tried to be cut."""

WIDEST, TALLEST, WIDEST_PANELS = 8, 4, 8
"""Column chunks are at most so many times as wide as the array; of rows of a tile and of panels so many of the greatest
sizes that fit are tried."""

STRIPS = (16384, 4096)
"""A finished tile of the down product goes through the vector engine in strips of rows for which the epilogue keeps at
most so many bytes."""

EDGES, MOST_BLOCKS = (1, 2, 3, 4), 8
"""So many chunks of columns are tried to go together row by row at either end, in at most so many blocks of rows."""

SPILL_SHARE = 0.3
"""What a DRAM cycle for unfinished sums counts between tilings: it would not be there with wider panels, and every
kernel around wants the channel."""


@frozen(eq=False)
class _Table:
    """Columns of what each candidate costs; `spill` are the DRAM cycles of unfinished sums."""

    candidates: Candidates
    array: Column
    channel: Column
    spill: Column
    vector: Column
    serial: Column
    tiles: Column
    instructions: Column
    memory: Memory
    acc: Column


def _candidates(problem: FeedForwardProblem, rates: Rates) -> Candidates:
    """All combinations of sizes whose accumulators and panels can fit."""
    extents = (problem.rows, problem.depth, problem.hidden, problem.columns)
    sizes = _sizes(extents, (problem.up_mode, problem.down_mode), problem.bytes, rates)
    if not len(sizes):
        least = rates.least_rows * rates.columns * problem.bytes
        raise CapacityError("SRAM for the least panel of a feed-forward pair", whole(least), rates.sram_bytes)
    # Where sums rest makes a difference only between panels.
    places = sorted(int(place) for place, _ in problem.staged)
    strip, rest = np.tile(np.array(list(product(sorted(STRIPS), places))), (len(sizes), 1)).T
    sizes = np.repeat(sizes, len(STRIPS) * len(places), axis=0)
    several = sizes[:, 1] < problem.hidden
    kept = several | (rest == places[0])
    block, panel, m, n, k, down_n, down_k = sizes[kept].T
    strip, rest = strip[kept], where(several, rest, Rest.NOWHERE)[kept]
    stages = [problem.down, *(stage for _, three in problem.staged for stage in three)]
    each = max(1, *(whole(stage.loaded + stage.stored + stage.kept) for stage in stages))
    up_each = max(1, *(whole(up.epilogue.loaded + up.epilogue.kept) for up in problem.ups))
    strips = ceil(m, ceil(m * n * up_each, STRIPS[0])), ceil(m, ceil(m * down_n * each, strip))
    return Candidates(block, panel, m, n, k, down_n, down_k, *strips, rest)


@lru_cache(maxsize=64)
def _sizes(extents: tuple[int, int, int, int], modes: tuple[str, str], size: int, rates: Rates) -> Column:
    """Distinct rows of (block, panel, m, n, k, down_n, down_k), in order, for pairs of these extents (as in
    `FeedForwardProblem`) with `size` bytes an element of the hidden; whatever is resident."""
    rows_extent, depth, hidden, columns = extents
    rows = row_pieces(rows_extent, rates.least_rows)
    widths = [n for n in pieces(max(hidden, columns), rates.columns) if n <= WIDEST * rates.columns]
    depths = _depths(depth, rates.depth(modes[0]))
    down_unit = rates.depth(modes[1])
    found: set[tuple[int, ...]] = set()
    for width in widths:
        n = min(width, hidden)
        tall = [m for m in rows if m * width * 4 <= rates.acc_bytes][:TALLEST]
        for m in tall or [rows[-1]] * (width == widths[-1]):
            for block in (block for block in rows if block == rows_extent or block % m == 0):
                room = rates.sram_bytes // (block * size)
                panels = [panel for panel in _panels(hidden, n) if panel <= room][:WIDEST_PANELS]
                all_cuts = {panel: _depths(panel, down_unit) for panel in panels}
                for panel, k, half in product(panels, depths, (1, 2)):
                    down_n = min(max(ceil(width, half), rates.columns), columns)
                    # Pieces of both weights are about alike, so that one may lie where another one was.
                    cuts = all_cuts[panel]
                    down_ks = [next((cut for cut in cuts if cut * down_n * part <= k * n), cuts[-1]) for part in (1, 2)]
                    found.update((block, panel, m, n, k, down_n, down_k) for down_k in down_ks)
    sizes = np.array(sorted(found), dtype=np.int64)
    sizes.flags.writeable = False
    return sizes


def _depths(extent: int, unit: int) -> list[int]:
    """Equal pieces of a depth, rounded up to what the array covers in one pass, and few enough to be written out."""
    found = {min(ceil(ceil(extent, part), unit) * unit, extent) for part in DEPTHS}
    few = [size for size in found if ceil(extent, size) <= UNROLLED and size <= MAXIMUM_EXTENT]
    return sorted(few, reverse=True) or [ceil(extent, UNROLLED)]


def _panels(hidden: int, n: int) -> list[int]:
    """Equal panels of whole column chunks, from all of the hidden axis down to one chunk."""
    chunks = ceil(hidden, n)
    sizes = {min(ceil(chunks, part) * n, hidden) for part in PARTS if part <= chunks}
    return sorted(sizes, reverse=True)


@lru_cache(maxsize=64)
def _evaluated(problem: FeedForwardProblem, rates: Rates) -> _Table:
    c = _candidates(problem, rates)
    rows, depth, hidden, columns = problem.rows, problem.depth, problem.hidden, problem.columns
    blocks, panels = ceil(rows, c.rows), ceil(hidden, c.panel)
    ups, downs = (
        rates.products(mode, values)
        for mode, values in ((problem.up_mode, problem.up_values), (problem.down_mode, problem.down_values))
    )
    array = len(problem.ups) * total(ups, (rows, c.m), (hidden, c.n), (depth, c.k))
    array = array + total(downs, (rows, c.m), (columns, c.down_n), (hidden, c.down_k))
    tiles = ceil(rows, c.m) * ceil(hidden, c.n) * len(problem.ups), ceil(rows, c.m) * ceil(columns, c.down_n) * panels
    instructions = tiles[0] * (1 + ceil(depth, c.k)) + tiles[1] * (1 + ceil(c.panel, c.down_k))
    channel, vector = np.zeros_like(array), np.zeros_like(array)

    def stream(operand: Operand, times: Column | int, down: tuple[int, Column], across: tuple[int, Column]) -> None:
        nonlocal channel, vector, instructions
        if not operand.resident:
            cost = rates.copies(operand.pitch, operand.bytes, turned=operand.turned)
            channel = channel + times * total(cost, down, across)[0]
            instructions = instructions + times * ceil(down[0], down[1]) * ceil(across[0], across[1])
        if operand.passes:
            vector = vector + operand.passes * times * total(rates.vector, down, across)

    stream(problem.left, 1, (rows, c.rows), (depth, c.k))
    for up in problem.ups:
        stream(up.weight, blocks, (depth, c.k), (hidden, c.n))
        vector = vector + up.epilogue.passes * total(rates.vector, (rows, c.m), (hidden, c.n))
        if up.epilogue.loaded:
            channel = channel + total(rates.copies(hidden, up.epilogue.loaded), (rows, c.m), (hidden, c.n))[0]
    stream(problem.weight, blocks, (hidden, c.down_k), (columns, c.down_n))
    passed = _passing(problem, rates, c)
    one = passed(problem.down)
    for place, (first, middle, last) in problem.staged:
        between = np.maximum(panels - 2, 0)
        one = where(c.rest == place, passed(first) + between * passed(middle) + passed(last), one)
    strips = tiles[1] * (ceil(c.m, c.strip) - 1)
    first = distinct(rates.copies(0, problem.ups[0].weight.bytes), c.k, c.n)[0]
    if not problem.left.resident:
        first = first + distinct(rates.copies(problem.left.pitch, problem.left.bytes), c.rows, c.k)[0]
    last = distinct(rates.vector, c.strip, c.down_n) + aligned(c.strip * c.down_n * problem.down.stored) // ALIGNMENT
    return _Table(
        c,
        array,
        channel + one[0],
        where(c.rest == Rest.NOWHERE, 0, one[0]),
        vector + one[1],
        first + last + rates.start,
        tiles[0] + tiles[1],
        instructions + strips + one[2],
        memory(problem, c),
        aligned(c.m * np.maximum(c.n, c.down_n) * 4),
    )


def _passing(problem: FeedForwardProblem, rates: Rates, c: Candidates) -> Callable[[Epilogue], Column]:
    """What gives channel cycles, vector cycles and transfers of an epilogue over all of the result."""
    tiles = (problem.rows, c.strip), (problem.columns, c.down_n)
    vector = total(rates.vector, *tiles)
    moves = ceil(problem.rows, c.strip) * ceil(problem.columns, c.down_n)

    @cache
    def moved(size: int) -> Column:
        return total(rates.copies(problem.columns, size), *tiles)[0] if size else np.zeros_like(moves)

    def passed(epilogue: Epilogue) -> Column:
        transfers = moves * (bool(epilogue.loaded) + bool(epilogue.stored))
        return np.stack([moved(epilogue.loaded) + moved(epilogue.stored), epilogue.passes * vector, transfers])

    return passed


@frozen(eq=False)
class _End:
    """For every candidate, how many chunks of columns go together row by row at one end, and what it costs in waiting
    and beside that."""

    chunks: Column
    wait: NDArray[np.float64]
    burden: NDArray[np.float64]


def _ends(problem: FeedForwardProblem, rates: Rates, table: _Table, sram: int) -> tuple[_End, _End]:
    """The best of each end: the array waits while others make the first block of rows, and as long as it is faster
    than they are with all others; and likewise for what others make of the last one."""
    c = table.candidates
    edge = np.full_like(c.m, _edge_rows(problem, rates))
    up = len(problem.ups) * rates.product(
        problem.up_mode, edge, c.n, np.full_like(c.m, problem.depth), problem.up_values
    )
    down = rates.product(problem.down_mode, edge, c.down_n, c.panel, problem.down_values)
    blocks = ceil(problem.rows, edge)
    found: list[_End] = []
    for pace, work, most, at in (
        (problem.seam.arrival, up, ceil(c.panel, c.n), table.memory.lead),
        (problem.seam.departure, down, ceil(problem.columns, c.down_n), table.memory.tail),
    ):
        chunks, wait, burden = np.zeros_like(c.m), np.full(len(c.m), problem.rows * pace), np.zeros(len(c.m))
        possible = (c.rows == problem.rows) & (c.m > edge) & (blocks > 1)
        for count in EDGES if pace else ():
            cycles = np.maximum(edge * pace, problem.rows * pace - (blocks - 1) * count * work)
            more = INSTRUCTION_CYCLES * count * (blocks - 1) * (ceil(problem.depth, c.k) + 1.0)
            fits = possible & (count <= most) & (at.beside + count * at.chunk <= sram)
            better = fits & (cycles + more < wait + burden)
            chunks = where(better, count, chunks)
            wait, burden = np.where(better, cycles, wait), np.where(better, more, burden)
        found.append(_End(chunks, wait, burden))
    return found[0], found[1]


def _edge_rows(problem: FeedForwardProblem, rates: Rates) -> int:
    """Rows of a block at the ends: even blocks that the array does not pad."""
    return ceil(problem.rows, max(1, min(problem.rows // rates.least_rows, MOST_BLOCKS)))


@lru_cache(maxsize=1024)
def search_feed_forward(problem: FeedForwardProblem, rates: Rates, sram: int, acc: int) -> FeedForwardDecision:
    """The cheapest tiling of `problem` in `sram` and `acc` bytes. Raises CapacityError where no tile fits."""
    # Only the ends know of seams: kernels that differ in their neighbours share all else.
    table = _evaluated(replace(problem, seam=Seam()), rates)
    need = table.memory
    feasible = (need.single <= sram) & (table.acc <= acc)
    if not np.any(feasible):
        raise CapacityError(
            f"SRAM for the least panel of a {problem.rows}x{problem.depth}x{problem.hidden}x{problem.columns} pair",
            need=int(np.min(need.single)),
            limit=sram,
            levers=("fuse_feed_forward = false",),
        )
    array = table.array + where(2 * table.acc <= acc, 0, table.vector + table.tiles * rates.fill)
    doubled = need.double <= sram
    bound = np.maximum(np.maximum(array, table.channel), table.vector)
    lead, tail = _ends(problem, rates, table, sram)
    seam = lead.wait + tail.wait
    cycles = where(doubled, bound, array + table.channel + table.vector) + table.serial + seam
    burden = CHANNEL_SHARE * table.channel + INSTRUCTION_CYCLES * table.instructions + lead.burden + tail.burden
    score = np.where(feasible, cycles + burden + SPILL_SHARE * table.spill, np.inf)
    best = int(np.argmin(score))
    c = table.candidates
    others = np.where((c.panel == c.panel[best]) & (c.rest == c.rest[best]), np.inf, score)
    second = int(np.argmin(others))

    def tiling(index: int) -> FeedForwardTiling:
        sizes = (c.rows, c.panel, c.m, c.n, c.k, c.down_n, c.down_k, c.up_strip, c.strip)
        return FeedForwardTiling(
            *(int(size[index]) for size in sizes),
            rest=Rest(int(c.rest[index])),
            edge=_edge_rows(problem, rates),
            lead=int(lead.chunks[index]),
            tail=int(tail.chunks[index]),
            seam=int(seam[index]),
            cycles=int(cycles[index]),
            array=int(table.array[index]),
            channel=int(table.channel[index]),
            vector=int(table.vector[index]),
            sram=int((need.double if doubled[index] else need.single)[index]),
            acc=int(table.acc[index]) * (1 + (2 * int(table.acc[index]) <= acc)),
            burden=int(burden[index]),
        )

    runner_up = tiling(second) if np.isfinite(others[second]) else None
    return FeedForwardDecision(tiling(best), runner_up, int(feasible.sum()))
