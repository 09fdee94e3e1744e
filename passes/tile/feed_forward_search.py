"""Tile sizes of a feed-forward pair, by the instruction records' own costs, as `matmul_search` has those of a product.

A panel of the hidden axis is made (up products, their epilogues) and used up (down product) on chip. Wider panels mean
fewer trips of unfinished sums; narrower ones leave room for weights on their way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from ...isa.errors import CapacityError
from .feed_forward_sums import Rest
from .loop_order import UNROLLED
from .matmul_problem import Epilogue, Operand
from .matmul_search import STRIP_BYTES
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

DEPTHS = (1, 2, 3, 4, 8, 16)
"""Into how many pieces the depth of a product is tried to be cut."""

WIDEST, TALLEST, WIDEST_PANELS = 8, 4, 8
"""Column chunks are at most so many times as wide as the array; of rows of a tile and of panels so many of the greatest
sizes that fit are tried."""


@dataclass(frozen=True)
class UpProduct:
    """One of the products that make the hidden: its weight, and what happens to its tiles (kept on chip)."""

    weight: Operand
    epilogue: Epilogue


@dataclass(frozen=True)
class FeedForwardProblem:
    """[rows, depth] by [depth, hidden] by [hidden, columns] to be tiled.

    `bytes` are those of an element of the hidden; `down` is the epilogue of one panel alone, and `staged` are those of
    the first of several, of one between and of the last, by where sums rest; `rest` are bytes of a resting sum.
    """

    rows: int
    depth: int
    hidden: int
    columns: int
    up_mode: str
    down_mode: str
    left: Operand
    ups: tuple[UpProduct, ...]
    bytes: int
    weight: Operand
    down: Epilogue
    staged: tuple[tuple[Rest, tuple[Epilogue, Epilogue, Epilogue]], ...]
    rest: int


@dataclass(frozen=True)
class FeedForwardTiling:
    """Blocks of `rows`, panels of `panel` hidden columns; tiles of `m` rows, of `n` columns and `k` values of depth of
    an up product, `down_n` and `down_k` of the down product, finished in strips (of
    `up_strip` and `strip` rows). Cycles and bytes as in `MatmulPlan`.
    """

    rows: int
    panel: int
    m: int
    n: int
    k: int
    down_n: int
    down_k: int
    up_strip: int
    strip: int
    rest: Rest
    cycles: int = 0
    array: int = 0
    channel: int = 0
    vector: int = 0
    sram: int = 0
    acc: int = 0
    burden: int = 0

    @property
    def text(self) -> str:
        """One line for the plan dictionary."""
        return (
            f"rows {self.rows} panel {self.panel} up {self.m}x{self.n}x{self.k} down {self.m}x{self.down_n}x"
            f"{self.down_k} strip {self.strip} sums rest in {self.rest.label}: {self.cycles} cycles"
            f" (array {self.array}, dram {self.channel}, vector {self.vector}), sram {self.sram}, acc {self.acc}"
        )


@dataclass(frozen=True)
class FeedForwardDecision:
    """The tiling that was chosen, the best one with another panel or place of rest, and how many were feasible."""

    chosen: FeedForwardTiling
    runner_up: FeedForwardTiling | None
    candidates: int


@dataclass(frozen=True)
class _Candidates:
    rows: Column
    panel: Column
    m: Column
    n: Column
    k: Column
    down_n: Column
    down_k: Column
    rest: Column
    up_strip: Column
    strip: Column


@dataclass(frozen=True, eq=False)
class _Table:
    """Columns of what each candidate costs, and its bytes on chip with one and with two of each streamed buffer."""

    candidates: _Candidates
    array: Column
    channel: Column
    vector: Column
    serial: Column
    tiles: Column
    instructions: Column
    single: Column
    double: Column
    acc: Column


def _candidates(problem: FeedForwardProblem, rates: Rates) -> _Candidates:
    """All combinations of sizes whose accumulators and panels can fit."""
    rows = row_pieces(problem.rows, rates.least_rows)
    widths = [n for n in pieces(max(problem.hidden, problem.columns), rates.columns) if n <= WIDEST * rates.columns]
    depths = _depths(problem.depth, rates.depth(problem.up_mode))
    places = [int(place) for place, _ in problem.staged]
    sizes: list[tuple[int, ...]] = []
    for width in widths:
        n, down_n = min(width, problem.hidden), min(width, problem.columns)
        tall = [m for m in rows if m * max(n, down_n) * 4 <= rates.acc_bytes][:TALLEST]
        for m in tall or [rows[-1]] * (width == widths[-1]):
            for block in (block for block in rows if block == problem.rows or block % m == 0):
                room = rates.sram_bytes // (block * problem.bytes)
                panels = [panel for panel in _panels(problem.hidden, n) if panel <= room][:WIDEST_PANELS]
                for panel in panels:
                    resting = places if panel < problem.hidden else [int(Rest.NOWHERE)]
                    cuts = _depths(panel, rates.depth(problem.down_mode))
                    sizes += product((block,), (panel,), (m,), (n,), depths, (down_n,), cuts, resting)
    if not sizes:
        least = rates.least_rows * rates.columns * problem.bytes
        raise CapacityError("SRAM for the least panel of a feed-forward pair", least, rates.sram_bytes)
    block, panel, m, n, k, down_n, down_k, rest = np.array(sizes, dtype=np.int64).T
    stages = [problem.down, *(stage for _, three in problem.staged for stage in three)]
    each = max(stage.loaded + stage.stored + stage.kept for stage in stages)
    up_each = max(up.epilogue.loaded + up.epilogue.kept for up in problem.ups)
    strips = ceil(m * down_n * max(1, each), STRIP_BYTES), ceil(m * n * max(1, up_each), STRIP_BYTES)
    return _Candidates(block, panel, m, n, k, down_n, down_k, rest, ceil(m, strips[1]), ceil(m, strips[0]))


def _depths(extent: int, unit: int) -> list[int]:
    """Equal pieces of a depth, rounded up to what the array covers in one pass, and few enough to be written out."""
    found = {min(ceil(ceil(extent, part), unit) * unit, extent) for part in DEPTHS}
    return [size for size in found if ceil(extent, size) <= UNROLLED and size <= MAXIMUM_EXTENT] or [
        ceil(extent, UNROLLED)
    ]


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
    array = len(problem.ups) * total(rates.products(problem.up_mode), (rows, c.m), (hidden, c.n), (depth, c.k))
    array = array + total(rates.products(problem.down_mode), (rows, c.m), (columns, c.down_n), (hidden, c.down_k))
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
    one = _passed(problem.down, problem, rates, c)
    for place, (first, middle, last) in problem.staged:
        between = np.maximum(panels - 2, 0)
        several = _passed(first, problem, rates, c) + between * _passed(middle, problem, rates, c)
        one = where(c.rest == place, several + _passed(last, problem, rates, c), one)
    strips = tiles[1] * (ceil(c.m, c.strip) - 1)
    first = distinct(rates.copies(0, problem.ups[0].weight.bytes), c.k, c.n)[0]
    if not problem.left.resident:
        first = first + distinct(rates.copies(problem.left.pitch, problem.left.bytes), c.rows, c.k)[0]
    last = distinct(rates.vector, c.strip, c.down_n) + aligned(c.strip * c.down_n * problem.down.stored) // ALIGNMENT
    single, double = _sram(problem, c)
    return _Table(
        c,
        array,
        channel + one[0],
        vector + one[1],
        first + last + rates.start,
        tiles[0] + tiles[1],
        instructions + strips + one[2],
        single,
        double,
        aligned(c.m * np.maximum(c.n, c.down_n) * 4),
    )


def _passed(epilogue: Epilogue, problem: FeedForwardProblem, rates: Rates, c: _Candidates) -> Column:
    """Channel cycles, vector cycles and transfers of an epilogue over all of the result."""
    tiles = (problem.rows, c.strip), (problem.columns, c.down_n)
    channel = np.zeros_like(c.m)
    for size in (epilogue.loaded, epilogue.stored):
        if size:
            channel = channel + total(rates.copies(problem.columns, size), *tiles)[0]
    moves = ceil(problem.rows, c.strip) * ceil(problem.columns, c.down_n)
    transfers = moves * (bool(epilogue.loaded) + bool(epilogue.stored))
    return np.stack([channel, epilogue.passes * total(rates.vector, *tiles), transfers])


def _sram(problem: FeedForwardProblem, c: _Candidates) -> tuple[Column, Column]:
    """Bytes of SRAM with one and with two of every buffer whose content changes while the kernel runs."""
    held = aligned(c.rows * c.panel * problem.bytes)
    left = problem.left
    if not left.resident or left.prepared:
        raw = where(bool(left.prepared) and not left.resident, aligned(c.rows * c.k * left.bytes), 0)
        held = held + aligned(c.rows * c.k * (left.prepared or left.bytes)) * ceil(problem.depth, c.k) + raw
    held = held + where(c.rest == Rest.CHIP, aligned(c.rows * problem.columns * problem.rest), 0)
    held = held + aligned(c.panel * sum(up.epilogue.rows for up in problem.ups))
    for up in problem.ups:
        tile = up.epilogue.kept + (problem.bytes if up is not problem.ups[-1] else 0)
        held = held + aligned(c.m * c.n * tile)
    several = c.m < c.rows
    single, double = np.zeros_like(held), np.zeros_like(held)
    up_weights = ((up.weight, c.k, c.n, ceil(problem.depth, c.k)) for up in problem.ups)
    for weight, k, n, count in (*up_weights, (problem.weight, c.down_k, c.down_n, ceil(c.panel, c.down_k))):
        if weight.resident and not weight.prepared:
            continue
        chunk = aligned(k * n * (weight.prepared or weight.bytes))
        raw = aligned(k * n * weight.bytes * bool(weight.prepared))
        tile = where(several, chunk * count, chunk)
        single = np.maximum(single, tile + raw)
        double = np.maximum(double, tile + chunk + 2 * raw)
    moved_single, moved_double = np.zeros_like(held), np.zeros_like(held)
    for place, three in ((Rest.NOWHERE, (problem.down,)), *problem.staged):
        here = c.rest == place
        single_bytes, double_bytes = _moved(three, c)
        moved_single = where(here, single_bytes, moved_single)
        moved_double = where(here, double_bytes, moved_double)
    return held + single + moved_single, held + double + moved_double


def _moved(epilogues: Sequence[Epilogue], c: _Candidates) -> tuple[Column, Column]:
    """Bytes of what the most demanding of several epilogues loads, stores and keeps with a strip: one and two of it."""
    single, double = np.zeros_like(c.m), np.zeros_like(c.m)
    strip = c.strip * c.down_n
    for epilogue in epilogues:
        tile = aligned(strip * epilogue.loaded) + aligned(strip * epilogue.stored)
        kept = aligned(strip * epilogue.kept) + 2 * aligned(c.down_n * epilogue.rows)
        single, double = np.maximum(single, tile + kept), np.maximum(double, 2 * tile + kept)
    return single, double


@lru_cache(maxsize=1024)
def search_feed_forward(problem: FeedForwardProblem, rates: Rates, sram: int, acc: int) -> FeedForwardDecision:
    """The cheapest tiling of `problem` in `sram` and `acc` bytes. Raises CapacityError where no tile fits."""
    table = _evaluated(problem, rates)
    feasible = (table.single <= sram) & (table.acc <= acc)
    if not np.any(feasible):
        raise CapacityError(
            f"SRAM for the least panel of a {problem.rows}x{problem.depth}x{problem.hidden}x{problem.columns} pair",
            need=int(np.min(table.single)),
            limit=sram,
            levers=("fuse_feed_forward = false",),
        )
    array = table.array + where(2 * table.acc <= acc, 0, table.vector + table.tiles * rates.fill)
    doubled = table.double <= sram
    bound = np.maximum(np.maximum(array, table.channel), table.vector)
    cycles = where(doubled, bound, array + table.channel + table.vector) + table.serial
    burden = CHANNEL_SHARE * table.channel + INSTRUCTION_CYCLES * table.instructions
    score = np.where(feasible, cycles + burden, np.inf)
    best = int(np.argmin(score))
    c = table.candidates
    others = np.where((c.panel == c.panel[best]) & (c.rest == c.rest[best]), np.inf, score)
    second = int(np.argmin(others))

    def tiling(index: int) -> FeedForwardTiling:
        sizes = (c.rows, c.panel, c.m, c.n, c.k, c.down_n, c.down_k, c.up_strip, c.strip)
        return FeedForwardTiling(
            *(int(size[index]) for size in sizes),
            rest=Rest(int(c.rest[index])),
            cycles=int(cycles[index]),
            array=int(table.array[index]),
            channel=int(table.channel[index]),
            vector=int(table.vector[index]),
            sram=int((table.double if doubled[index] else table.single)[index]),
            acc=int(table.acc[index]) * (1 + (2 * int(table.acc[index]) <= acc)),
            burden=int(burden[index]),
        )

    return FeedForwardDecision(
        tiling(best), tiling(second) if np.isfinite(others[second]) else None, int(feasible.sum())
    )
