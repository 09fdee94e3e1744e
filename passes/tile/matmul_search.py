"""Tile sizes and loop order of a matrix product, by the instruction records' own costs.

Of each candidate are known the busy cycles of the array, the DRAM channel, the vector engine and the copies, and
the bytes it needs on chip. Engines run side by side, so the estimate is the largest of them, plus what cannot
overlap: the first loads, the last epilogue, and all that a single buffer serializes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any

import numpy as np

from ...isa.errors import CapacityError
from .rates import Column, Rates, TileCost
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

SPLITS = (2, 3, 4, 6, 8)
"""Into how many panels the depth of a product is tried to be split."""

PARTIAL_BYTES = 4
"""Bytes of a sum that is not finished."""

STRIP_BYTES = 16384
"""A finished tile goes through the vector engine in strips of rows for which the epilogue keeps at most so many bytes,
so that a large accumulator tile needs no large buffers beside it."""

UNROLLED = 16
"""Up to so many pieces of K are written out one by one, each with a buffer of its own; more become a loop, which no
panel can be held for."""


class Order(IntEnum):
    """Which operand stays on chip while the other passes by; SPLIT is left-stationary in panels of depth: all rows by a
    piece of K stay, and sums that are not finished go to DRAM and back."""

    LEFT = 0
    RIGHT = 1
    OUTPUT = 2
    SPLIT = 3

    @property
    def label(self) -> str:
        """Its name in plans and recipes."""
        return ("left-stationary", "right-stationary", "output-stationary", "split-depth")[self]


@dataclass(frozen=True)
class Operand:
    """How one operand of a product comes on chip.

    bytes: of an element as stored. resident: it lies in SRAM already. pitch: elements between its rows in DRAM (0:
    every tile is one run, as packed weights are). turned: the array wants its rows across the stored ones, so that a
    copy moves single elements. prepared: bytes of an element after `passes` vector passes that convert it on chip
    (0: it is used as it comes).
    """

    bytes: int
    resident: bool = False
    pitch: int = 0
    turned: bool = False
    prepared: int = 0
    passes: int = 0


@dataclass(frozen=True)
class Epilogue:
    """What happens to a finished tile: vector passes, bytes an element loaded (from DRAM), stored, and kept between
    passes; `rows` bytes a column that are loaded with it."""

    passes: int = 1
    loaded: int = 0
    stored: int = 0
    kept: int = 0
    rows: int = 0


@dataclass(frozen=True)
class MatmulProblem:
    """A product to be tiled: `batch` independent [m, k] by [k, n]."""

    batch: int
    m: int
    n: int
    k: int
    mode: str
    left: Operand
    right: Operand
    epilogue: Epilogue


@dataclass(frozen=True)
class MatmulPlan:
    """A tiling: panels of `panel` rows (left-stationary), columns (right-stationary) or values of K (split) stay; tiles
    are m x n x k, and are finished in strips of `strip` rows.

    Cycles are the estimate and its parts; `sram` and `acc` are bytes, with two of each streamed buffer if `doubled`;
    `burden` is what counted beside the cycles.
    """

    order: Order
    panel: int
    m: int
    n: int
    k: int
    strip: int
    cycles: int
    array: int
    channel: int
    vector: int
    sram: int
    acc: int
    doubled: bool
    burden: int = 0

    @property
    def text(self) -> str:
        """One line for the plan dictionary."""
        return (
            f"{self.order.label} panel {self.panel} tile {self.m}x{self.n}x{self.k} strip {self.strip}:"
            f" {self.cycles} cycles (array {self.array}, dram {self.channel}, vector {self.vector}),"
            f" sram {self.sram}, acc {self.acc}"
        )


@dataclass(frozen=True)
class Decision:
    """The plan that was chosen, the best one of another order (None if none is feasible), and how many were."""

    chosen: MatmulPlan
    runner_up: MatmulPlan | None
    candidates: int


@dataclass(frozen=True)
class _Candidates:
    """Columns of candidates: the order, the panel, the tile, and the rows of a strip."""

    order: Column
    panel: Column
    m: Column
    n: Column
    k: Column
    strip: Column


def _candidates(problem: MatmulProblem, rates: Rates, fine: bool) -> _Candidates:
    """All combinations of order, panel and tile sizes whose accumulators fit; `fine` ones go below the array's size."""
    rows = row_pieces(problem.m, 1 if fine else rates.least_rows)
    columns = pieces(problem.n, 1 if fine else rates.columns)
    depths = pieces(problem.k, 1 if fine else rates.depth(problem.mode))
    m, n, k = (axis.ravel() for axis in np.meshgrid(*map(np.array, (rows, columns, depths)), indexing="ij"))
    fits = m * n * 4 <= rates.acc_bytes
    if not np.any(fits):
        fits = (m * n) == np.min(m * n)
    m, n, k = m[fits], n[fits], k[fits]
    found: list[Column] = [np.stack([np.full_like(m, Order.OUTPUT), m, m, n, k])]
    for tile, extent, order in ((m, problem.m, Order.LEFT), (n, problem.n, Order.RIGHT)):
        whole = ceil(extent, tile)
        for part in PARTS[:8]:
            panel = ceil(whole, part) * tile
            useful = (panel > tile) | (whole == 1) | (part == 8)
            found.append(np.stack([np.full_like(m, order), panel, m, n, k])[:, useful])
        found.append(np.stack([np.full_like(m, order), tile, m, n, k]))
    if not problem.left.resident:
        for part in SPLITS:
            panel = ceil(ceil(problem.k, part), k) * k
            split = (panel < problem.k) & (panel * (part - 1) < problem.k)
            found.append(np.stack([np.full_like(m, Order.SPLIT), panel, m, n, k])[:, split])
    table = np.concatenate(found, axis=1)
    table = table[:, (table[0] == Order.OUTPUT) | (ceil(problem.k, table[4]) <= UNROLLED)]
    order, panel, m, n, k = np.unique(table, axis=1).astype(np.int64)
    epilogue = problem.epilogue
    bytes_each = max(1, epilogue.loaded + epilogue.stored + epilogue.kept) + where(
        order == Order.SPLIT, PARTIAL_BYTES, 0
    )
    strips = ceil(m * n * bytes_each, STRIP_BYTES)
    return _Candidates(order, panel, m, n, k, ceil(m, strips))


@dataclass(frozen=True, eq=False)
class _Table:
    """Columns of what each candidate costs, and its bytes on chip with one and with two of each streamed buffer."""

    candidates: _Candidates
    array: Column
    channel: Column
    vector: Column
    copies: Column
    serial: Column
    tiles: Column
    instructions: Column
    single: Column
    double: Column
    acc: Column


def _fetch(rates: Rates, operand: Operand) -> TileCost:
    """(channel cycles, busy cycles) of loading a tile of rows x columns of an operand, as two columns."""

    if not operand.resident and not operand.turned:
        return rates.copies(operand.pitch, operand.bytes)
    turned = rates.copies(operand.pitch, operand.bytes, turned=True)

    def cost(*sizes: Column) -> Column:
        rows, columns = sizes
        return np.zeros((2, len(rows)), dtype=np.int64) if operand.resident else turned(columns, rows)

    return cost


@lru_cache(maxsize=256)
def _evaluated(problem: MatmulProblem, rates: Rates, fine: bool) -> _Table:
    c = _candidates(problem, rates, fine)
    m, n, k = problem.m, problem.n, problem.k
    left, right, epilogue = problem.left, problem.right, problem.epilogue
    is_left, is_right, is_split = c.order == Order.LEFT, c.order == Order.RIGHT, c.order == Order.SPLIT
    m_tiles, n_tiles, k_tiles = ceil(m, c.m), ceil(n, c.n), ceil(k, c.k)
    # How often each operand passes by, and the extents of one load of it.
    left_times = where(is_left | is_split, 1, where(is_right, ceil(n, c.panel), n_tiles))
    right_times = where(is_right | is_split, 1, where(is_left, ceil(m, c.panel), m_tiles))
    left_rows = np.minimum(where(is_left, c.panel, where(is_split, m, c.m)), m)
    # Unfinished sums: written by every panel of the depth but the last, read by every one but the first.
    unfinished = where(is_split, ceil(k, c.panel) - 1, 0)
    right_columns = np.minimum(where(is_right, c.panel, c.n), n)
    fetch_left, fetch_right = _fetch(rates, left), _fetch(rates, right)
    loads = left_times * total(fetch_left, (m, left_rows), (k, c.k))
    loads = loads + right_times * total(fetch_right, (k, c.k), (n, right_columns))
    stores = np.zeros_like(loads)
    for size, moved in ((epilogue.loaded, loads), (epilogue.stored, stores)):
        if size:
            moved += total(rates.copies(n, size), (m, c.m), (n, c.n))
    if np.any(unfinished):
        partial = total(rates.copies(n, PARTIAL_BYTES), (m, c.m), (n, c.n))
        loads, stores = loads + unfinished * partial, stores + unfinished * partial
    vector = (epilogue.passes + unfinished) * total(rates.vector, (m, c.strip), (n, c.n))
    if left.passes:
        vector = vector + left.passes * left_times * total(rates.vector, (m, left_rows), (k, c.k))
    if right.passes:
        vector = vector + right.passes * right_times * total(rates.vector, (k, c.k), (n, right_columns))
    first = distinct(fetch_left, left_rows, c.k)[0] + distinct(fetch_right, c.k, right_columns)[0]
    last = epilogue.passes * distinct(rates.vector, c.strip, c.n) + aligned(c.m * c.n * epilogue.stored) // ALIGNMENT
    strips = m_tiles * ceil(c.m, c.strip) * n_tiles
    instructions = strips * (epilogue.passes + bool(epilogue.stored) + bool(epilogue.loaded) + 3 * unfinished)
    instructions = instructions + m_tiles * n_tiles * k_tiles
    if not left.resident:
        instructions = instructions + left_times * ceil(m, left_rows) * k_tiles * (1 + left.passes)
    if not right.resident:
        instructions = instructions + right_times * ceil(n, right_columns) * k_tiles * (1 + right.passes)
    single, double = _sram(problem, c, left_rows, right_columns)
    return _Table(
        c,
        problem.batch * total(rates.products(problem.mode), (m, c.m), (n, c.n), (k, c.k)),
        problem.batch * (loads[0] + stores[0]),
        problem.batch * vector,
        problem.batch * np.maximum(loads[1], stores[1]),
        first + last + rates.start,
        problem.batch * m_tiles * n_tiles,
        problem.batch * instructions,
        single,
        double,
        aligned(c.m * c.n * 4),
    )


def holds_panel(order: Any, panel: Any, tile: Any, mine: Order, other: Order) -> Any:
    """Whether an operand is on chip over its whole depth: the one that stays, and the one that passes by it in tiles
    when the panel has several. Numbers and columns alike."""
    return (order == mine) | ((order == other) & (panel > tile))


def _sram(problem: MatmulProblem, c: _Candidates, left_rows: Column, right_columns: Column) -> tuple[Column, Column]:
    """Bytes of SRAM with one and with two of every buffer whose content changes while the kernel runs."""
    single, double = np.zeros_like(c.m), np.zeros_like(c.m)
    once = problem.batch == 1
    is_split = c.order == Order.SPLIT
    left_whole = holds_panel(c.order, c.panel, c.n, Order.LEFT, Order.RIGHT) | is_split
    right_whole = holds_panel(c.order, c.panel, c.m, Order.RIGHT, Order.LEFT) | (is_split & (c.m < problem.m))
    left_steady = (c.order == Order.LEFT) & (c.panel >= problem.m) & once
    right_steady = (c.order == Order.RIGHT) & (c.panel >= problem.n) & once
    depth = where(is_split, c.panel, problem.k)
    for operand, extent, whole, steady in (
        (problem.left, left_rows, left_whole, left_steady),
        (problem.right, right_columns, right_whole, right_steady),
    ):
        if operand.resident and not operand.prepared:
            continue
        chunk = aligned(extent * c.k * (operand.prepared or operand.bytes))
        held = where(whole, chunk * ceil(depth, c.k), chunk)
        fetched = bool(operand.prepared) and not operand.resident
        raw = aligned(extent * c.k * operand.bytes * fetched)
        single = single + held + raw
        # A panel is held as one buffer a chunk of its depth: the next panel's first chunk needs room of its own.
        double = double + where(steady, held, held + chunk) + 2 * raw
    epilogue = problem.epilogue
    strip = c.strip * c.n
    for size in (epilogue.loaded, epilogue.stored):
        if size:
            single = single + aligned(strip * size)
            double = double + 2 * aligned(strip * size)
    partial = where(is_split, aligned(strip * PARTIAL_BYTES), 0)
    single, double = single + 2 * partial, double + 3 * partial
    kept = aligned(strip * epilogue.kept) + 2 * aligned(c.n * epilogue.rows)
    return single + kept, double + kept


@lru_cache(maxsize=4096)
def search(problem: MatmulProblem, rates: Rates, sram: int, acc: int) -> Decision:
    """The cheapest tiling of `problem` in `sram` and `acc` bytes. Raises CapacityError where no tile fits."""
    table = _evaluated(problem, rates, False)
    feasible = (table.single <= sram) & (table.acc <= acc)
    if not np.any(feasible):
        table = _evaluated(problem, rates, True)
        feasible = (table.single <= sram) & (table.acc <= acc)
    if not np.any(feasible):
        least = int(np.argmin(table.single + table.acc))
        lacks_acc = bool(table.acc[least] > acc)
        raise CapacityError(
            f"{'ACC' if lacks_acc else 'SRAM'} for the least tile of a {problem.m}x{problem.n}x{problem.k} product",
            need=int((table.acc if lacks_acc else table.single)[least]),
            limit=acc if lacks_acc else sram,
            levers=("a machine with more of it",),
        )
    doubled = table.double <= sram
    # With one accumulator tile the array waits for every epilogue, and runs dry.
    array = table.array + where(2 * table.acc <= acc, 0, table.vector + table.tiles * rates.fill)
    bound = np.maximum(np.maximum(array, table.channel), np.maximum(table.vector, table.copies))
    cycles = where(doubled, bound, array + table.channel + table.vector) + table.serial
    burden = CHANNEL_SHARE * table.channel + INSTRUCTION_CYCLES * table.instructions
    score = np.where(feasible, cycles + burden, np.inf)
    best = int(np.argmin(score))
    others = np.where(table.candidates.order == table.candidates.order[best], np.inf, score)
    second = int(np.argmin(others))

    def plan(index: int) -> MatmulPlan:
        c = table.candidates
        two = bool(doubled[index])
        return MatmulPlan(
            Order(int(c.order[index])),
            *(int(column[index]) for column in (c.panel, c.m, c.n, c.k, c.strip)),
            *(int(column[index]) for column in (cycles, table.array, table.channel, table.vector)),
            sram=int((table.double if two else table.single)[index]),
            acc=int(table.acc[index]) * (1 + (2 * int(table.acc[index]) <= acc)),
            doubled=two,
            burden=int(burden[index]),
        )

    runner_up = plan(second) if np.isfinite(others[second]) else None
    return Decision(plan(best), runner_up, int(feasible.sum()))
