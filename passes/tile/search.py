"""Tile sizes and loop order of a matrix product, by the instruction records' own costs.

Every candidate is a column of a few numpy arrays, so that one call of a record's cost function answers for all.
Of each candidate are known the busy cycles of the array, the DRAM channel, the vector engine and the copies, and
the bytes it needs on chip. Engines run side by side, so the estimate is the largest of them, plus what cannot
overlap: the first loads, the last epilogue, and all that a single buffer serializes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...isa.errors import CapacityError
from ...isa.machine import Machine
from .rates import Rates

Column = NDArray[np.int64]

PARTS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096)
"""Into how many pieces an axis is tried to be cut."""

MAXIMUM_EXTENT = 65535
"""The largest extent that an instruction's 16-bit field holds."""

ALIGNMENT = 64
"""Buffers on chip start at multiples of this many bytes."""

CHANNEL_SHARE = 0.05
"""What a DRAM cycle that hides behind another engine still counts: other kernels' loads want the channel too."""

INSTRUCTION_CYCLES = 1
"""What an instruction counts beyond its cycles: of plans that are as fast, the shorter program is better."""


class Order(IntEnum):
    """Which operand stays on chip while the other passes by."""

    LEFT = 0
    RIGHT = 1
    OUTPUT = 2

    @property
    def label(self) -> str:
        """Its name in plans and recipes."""
        return ("left-stationary", "right-stationary", "output-stationary")[self]


@dataclass(frozen=True)
class Operand:
    """How one operand of a product comes on chip.

    bytes: of an element as stored. resident: it lies in SRAM already. run: elements that follow each other in DRAM in
    one row of a tile of any width (0: each tile is one run, as packed weights are). turned: rows of a tile run across
    the stored rows, so that a copy moves single elements. prepared: bytes of an element after `passes` vector passes
    that convert it on chip (0: it is used as it comes).
    """

    bytes: int
    resident: bool = False
    pitch: int = 0
    turned: bool = False
    prepared: int = 0
    passes: int = 0


@dataclass(frozen=True)
class Epilogue:
    """What happens to a finished tile: vector passes, and bytes an element loaded, stored and kept meanwhile."""

    passes: int = 1
    loaded: int = 0
    stored: int = 0
    kept: int = 0


@dataclass(frozen=True)
class MatmulProblem:
    """A product to be tiled: `batch` independent [m, k] by [k, n], with `budget` bytes of SRAM."""

    batch: int
    m: int
    n: int
    k: int
    mode: str
    left: Operand
    right: Operand
    epilogue: Epilogue
    budget: int


@dataclass(frozen=True)
class MatmulPlan:
    """A tiling: panels of `panel` rows (left-stationary) or columns (right-stationary) stay; tiles are m x n x k.

    Cycles are the estimate and its parts; `sram` and `acc` are bytes, as far as possible with two of each buffer.
    """

    order: Order
    panel: int
    m: int
    n: int
    k: int
    cycles: int
    array: int
    channel: int
    vector: int
    sram: int
    acc: int
    doubled: bool

    @property
    def text(self) -> str:
        """One line for the plan dictionary."""
        return (
            f"{self.order.label} panel {self.panel} tile {self.m}x{self.n}x{self.k}: {self.cycles} cycles"
            f" (array {self.array}, dram {self.channel}, vector {self.vector}), sram {self.sram}, acc {self.acc}"
        )


@dataclass(frozen=True)
class Decision:
    """The plan that was chosen and the best one of another kind (None where there was no other)."""

    chosen: MatmulPlan
    runner_up: MatmulPlan | None
    candidates: int


def pieces(extent: int, unit: int, limit: int = MAXIMUM_EXTENT) -> tuple[int, ...]:
    """Sizes that cut `extent` into equal pieces, rounded up to `unit`, from the whole down to one unit."""
    sizes: dict[int, None] = {}
    for part in PARTS:
        size = -(-extent // part)
        rounded = -(-size // unit) * unit
        for candidate in (size, rounded):
            if candidate <= limit:
                sizes[min(candidate, extent)] = None
        if rounded <= unit:
            break
    if not sizes:
        sizes[min(limit // unit * unit, extent)] = None
    return tuple(sizes)


def _ceil(value: Any, by: Any) -> Any:
    return -(-value // by)


def _aligned(value: Column) -> Column:
    return _ceil(value, ALIGNMENT) * ALIGNMENT


def _tiles(extent: int, size: Column) -> tuple[tuple[Column, Column], ...]:
    """(count, size) of the whole pieces and of the last, shorter one (count 0 where there is none)."""
    rest = extent % size
    return (extent // size, size), (np.minimum(rest, 1), np.maximum(rest, 1))


def _total(cost: Callable[..., Column], *axes: tuple[int, Column]) -> Column:
    """`cost(sizes...)` summed over all tiles of the axes, each an extent and a column of tile sizes."""
    total: Any = 0
    for choice in product(*(_tiles(extent, size) for extent, size in axes)):
        count: Any = 1
        for number, _ in choice:
            count = count * number
        if np.any(count):
            total = total + count * cost(*(size for _, size in choice))
    return total


@dataclass(frozen=True)
class _Candidates:
    """Columns of candidates: the order, the panel and the tile."""

    order: Column
    panel: Column
    m: Column
    n: Column
    k: Column

    def kept(self, chosen: NDArray[np.bool_]) -> _Candidates:
        """Those candidates where `chosen` holds."""
        return _Candidates(
            self.order[chosen], self.panel[chosen], self.m[chosen], self.n[chosen], self.k[chosen]
        )


def _candidates(problem: MatmulProblem, rates: Rates) -> _Candidates:
    """All combinations of order, panel and tile sizes that the accumulators hold."""
    rows = pieces(problem.m, rates.least_rows, rates.maximum_rows)
    columns = pieces(problem.n, rates.columns)
    depths = pieces(problem.k, rates.depth(problem.mode))
    m, n, k = (axis.ravel() for axis in np.meshgrid(*map(np.array, (rows, columns, depths)), indexing="ij"))
    fits = m * n * 4 <= rates.acc_bytes
    if not np.any(fits):
        fits = (m * n) == np.min(m * n)
    m, n, k = m[fits], n[fits], k[fits]
    chosen: list[_Candidates] = []
    for count in PARTS[:16]:
        chosen.append(_Candidates(np.full_like(m, Order.LEFT), np.minimum(m * count, _ceil(problem.m, m) * m), m, n, k))
        chosen.append(_Candidates(np.full_like(m, Order.RIGHT), np.minimum(n * count, _ceil(problem.n, n) * n), m, n, k))
        if count * min(m.min(), n.min()) >= max(problem.m, problem.n):
            break
    for axis, extent, order in ((m, problem.m, Order.LEFT), (n, problem.n, Order.RIGHT)):
        chosen.append(_Candidates(np.full_like(m, order), _ceil(extent, axis) * axis, m, n, k))
    chosen.append(_Candidates(np.full_like(m, Order.OUTPUT), m, m, n, k))
    table = np.unique(np.concatenate([np.stack([c.order, c.panel, c.m, c.n, c.k]) for c in chosen], axis=1), axis=1)
    return _Candidates(*table.astype(np.int64))


@dataclass(frozen=True)
class _Costs:
    """Columns of what each candidate costs."""

    array: Column
    channel: Column
    vector: Column
    copies: Column
    serial: Column
    instructions: Column
    single: Column
    double: Column
    acc: Column


def _fetch(rates: Rates, operand: Operand, rows: Column, columns: Column) -> tuple[Column, Column]:
    """(channel cycles, busy cycles) of loading a tile."""
    if operand.resident:
        nothing = np.zeros_like(rows)
        return nothing, nothing
    if operand.turned:
        return rates.copy(columns, rows, operand.pitch, operand.bytes, turned=True)
    return rates.copy(rows, columns, operand.pitch, operand.bytes)


def _costs(problem: MatmulProblem, rates: Rates, c: _Candidates) -> _Costs:
    m, n, k = problem.m, problem.n, problem.k
    left, right, epilogue = problem.left, problem.right, problem.epilogue
    is_left, is_right = c.order == Order.LEFT, c.order == Order.RIGHT
    # How often each operand passes by, and the extents of one load of it.
    left_times = np.where(is_left, 1, np.where(is_right, _ceil(n, c.panel), _ceil(n, c.n)))
    right_times = np.where(is_right, 1, np.where(is_left, _ceil(m, c.panel), _ceil(m, c.m)))
    left_rows = np.where(is_left, np.minimum(c.panel, m), c.m)
    right_columns = np.where(is_right, np.minimum(c.panel, n), c.n)

    def left_fetch(part: int) -> Column:
        return left_times * _total(lambda r, d: _fetch(rates, left, r, d)[part], (m, left_rows), (k, c.k))

    def right_fetch(part: int) -> Column:
        return right_times * _total(lambda d, w: _fetch(rates, right, d, w)[part], (k, c.k), (n, right_columns))

    def out(part: int, size: int) -> Column:
        if not size:
            return np.zeros_like(m_tiles)
        return _total(lambda r, w: rates.copy(r, w, n, size)[part], (m, c.m), (n, c.n))

    m_tiles, n_tiles, k_tiles = _ceil(m, c.m), _ceil(n, c.n), _ceil(k, c.k)
    tiles = m_tiles * n_tiles
    array = _total(lambda r, w, d: rates.product(problem.mode, r, w, d), (m, c.m), (n, c.n), (k, c.k))
    vector = epilogue.passes * _total(rates.vector, (m, c.m), (n, c.n))
    if left.passes:
        vector = vector + left.passes * left_times * _total(rates.vector, (m, left_rows), (k, c.k))
    if right.passes:
        vector = vector + right.passes * right_times * _total(rates.vector, (k, c.k), (n, right_columns))
    stored, loaded = out(0, epilogue.stored), out(0, epilogue.loaded)
    channel = left_fetch(0) + right_fetch(0) + stored + loaded
    copies = np.maximum(left_fetch(1) + right_fetch(1) + out(1, epilogue.loaded), out(1, epilogue.stored))
    single, double = _sram(problem, c, left_rows, right_columns)
    acc = _aligned(c.m * c.n * 4)
    first = _fetch(rates, left, np.minimum(left_rows, m), c.k)[0] + _fetch(rates, right, c.k, right_columns)[0]
    last = epilogue.passes * rates.vector(c.m, c.n)
    if epilogue.stored:
        last = last + rates.copy(c.m, c.n, n, epilogue.stored)[0]
    panels = np.where(is_left, _ceil(m, c.panel), np.where(is_right, _ceil(n, c.panel), 1))
    instructions = tiles * (k_tiles + epilogue.passes + (epilogue.stored > 0) + (epilogue.loaded > 0))
    instructions = instructions + (not left.resident) * left_times * _ceil(m, left_rows) * k_tiles
    instructions = instructions + (not right.resident) * right_times * _ceil(n, right_columns) * k_tiles
    return _Costs(
        array * problem.batch,
        channel * problem.batch,
        vector * problem.batch,
        copies * problem.batch,
        first + last + rates.start + (panels - 1) * 0,
        instructions * problem.batch,
        single,
        double,
        acc,
    )


def _sram(
    problem: MatmulProblem, c: _Candidates, left_rows: Column, right_columns: Column
) -> tuple[Column, Column]:
    """Bytes of SRAM with one and with two of every buffer whose content changes while the kernel runs."""
    m, n, k = problem.m, problem.n, problem.k
    is_left, is_right = c.order == Order.LEFT, c.order == Order.RIGHT
    single: Any = 0
    double: Any = 0
    once = problem.batch == 1
    left_whole = np.where(is_left, True, is_right & (c.panel > c.n))
    right_whole = np.where(is_right, True, is_left & (c.panel > c.m))
    left_depth, right_depth = np.where(left_whole, k, c.k), np.where(right_whole, k, c.k)
    left_steady = once & is_left & (c.panel >= m)
    right_steady = once & is_right & (c.panel >= n)
    for operand, rows, depth, steady, streamed in (
        (problem.left, left_rows, left_depth, left_steady, c.k),
        (problem.right, right_columns, right_depth, right_steady, c.k),
    ):
        if operand.resident and not operand.prepared:
            continue
        held = _aligned(rows * depth * (operand.prepared or operand.bytes))
        raw = _aligned(rows * streamed * operand.bytes) if operand.prepared and not operand.resident else 0
        single = single + held + raw
        double = double + np.where(steady, held, 2 * held) + 2 * raw
    tile = c.m * c.n
    for size in (problem.epilogue.loaded, problem.epilogue.stored):
        if size:
            single = single + _aligned(tile * size)
            double = double + 2 * _aligned(tile * size)
    kept = _aligned(tile * problem.epilogue.kept)
    return single + kept, double + kept


@lru_cache(maxsize=1024)
def search(problem: MatmulProblem, machine: Machine) -> Decision:
    """The cheapest tiling of `problem` on `machine`. Raises CapacityError where not even the least tile fits."""
    rates = Rates(machine)
    candidates = _candidates(problem, rates)
    costs = _costs(problem, rates, candidates)
    feasible = (costs.single <= problem.budget) & (costs.acc <= rates.acc_bytes)
    if not np.any(feasible):
        least = int(costs.single.min())
        raise CapacityError(
            f"SRAM for the least tile of a {problem.m}x{problem.n}x{problem.k} product",
            need=least,
            limit=problem.budget,
        )
    doubled = (costs.double <= problem.budget) & (2 * costs.acc <= rates.acc_bytes)
    bound = np.maximum(np.maximum(costs.array, costs.channel), np.maximum(costs.vector, costs.copies))
    everything = costs.array + costs.channel + costs.vector
    cycles = np.where(doubled, bound, everything) + costs.serial
    score = cycles + CHANNEL_SHARE * costs.channel + INSTRUCTION_CYCLES * costs.instructions
    score = np.where(feasible, score, np.inf)
    best = int(np.argmin(score))
    others = np.where(candidates.order == candidates.order[best], np.inf, score)
    if not np.isfinite(others.min()):
        others = score.copy()
        others[best] = np.inf
    second = int(np.argmin(others))

    def plan(index: int) -> MatmulPlan:
        def pick(column: Column) -> int:
            return int(column[index])

        two = bool(doubled[index])
        return MatmulPlan(
            Order(pick(candidates.order)),
            pick(candidates.panel),
            pick(candidates.m),
            pick(candidates.n),
            pick(candidates.k),
            pick(cycles),
            pick(costs.array),
            pick(costs.channel),
            pick(costs.vector),
            pick(costs.double if two else costs.single),
            pick(costs.acc) * (1 + two),
            two,
        )

    runner_up = plan(second) if np.isfinite(others[second]) else None
    return Decision(plan(best), runner_up, int(feasible.sum()))
