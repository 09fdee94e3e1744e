"""How an attention is tiled: rows of queries in a block, and what happens to a row of scores too long for ACC.

`whole`: a block's scores lie in ACC at once. `rows`: pieces of keys go through ACC one after the other, their scores
are kept in SRAM. `sweeps`: scores are computed once for their maximum and once more for the weights, nothing is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any

import numpy as np

from ...isa.errors import CapacityError
from .rates import Column, Rates
from .search import CHANNEL_SHARE, INSTRUCTION_CYCLES, aligned, pieces, row_pieces, total, where

UNROLLED_BLOCKS = 8
"""Up to so many blocks of a head are written out one by one, so that the last one's product with the values waits
behind the next head's first scores; more become a loop."""


class ScoreForm(IntEnum):
    """What happens to a row of scores."""

    WHOLE = 0
    ROWS = 1
    SWEEPS = 2

    @property
    def label(self) -> str:
        """Its name in plans."""
        return self.name.lower()


@dataclass(frozen=True)
class Passes:
    """Full vector passes over a tile, and bytes an element of what they keep in SRAM meanwhile."""

    count: int
    kept: int


@dataclass(frozen=True)
class Matrix:
    """An operand of the products: bytes of an element as stored, distance between its rows in elements, and whether
    it is read where it lies on chip."""

    bytes: int
    pitch: int
    resident: bool


@dataclass(frozen=True)
class AttentionProblem:
    """`batches` x `groups` key heads, each shared by `share` query heads.

    `passes` by form: over pieces of scores, over whole rows of them; `finish` over the output. `visible` is the number
    of keys that query 0 sees at most (None: every query may see all). `masked` bytes an element are loaded with each
    tile of scores; the output's are `loaded` and `stored`.
    """

    batches: int
    groups: int
    share: int
    queries: int
    keys: int
    key_width: int
    value_width: int
    score_mode: str
    value_mode: str
    query: Matrix
    key: Matrix
    value: Matrix
    weight_bytes: int
    whole: Passes
    pieces: Passes
    rows: Passes
    sweeps: tuple[Passes, ...]
    finish: Passes
    masked: int
    loaded: int
    stored: int
    visible: int | None


@dataclass(frozen=True)
class AttentionPlan:
    """Blocks of `rows` queries, pieces of `keys`; `held` where all keys and values of a head are on chip at once, and
    `unrolled` where a head's blocks are written out one by one. `burden` is what counted beside the cycles."""

    form: ScoreForm
    rows: int
    keys: int
    held: bool
    unrolled: bool
    cycles: int
    array: int
    channel: int
    vector: int
    sram: int
    acc: int
    burden: int = 0

    @property
    def text(self) -> str:
        """One line for the plan dictionary."""
        held = "held" if self.held else "streamed"
        return (
            f"{self.form.label} {self.rows} rows by {self.keys} keys, {held}: {self.cycles} cycles"
            f" (array {self.array}, dram {self.channel}, vector {self.vector}), sram {self.sram}, acc {self.acc}"
        )


@dataclass(frozen=True)
class AttentionDecision:
    """The plan that was chosen, and the best one of another form or block size."""

    chosen: AttentionPlan
    runner_up: AttentionPlan | None
    candidates: int


@dataclass(frozen=True)
class _Candidates:
    form: Column
    rows: Column
    keys: Column
    held: Column


def _candidates(problem: AttentionProblem, rates: Rates) -> _Candidates:
    rows = set(row_pieces(problem.queries, rates.least_rows))
    small = min(rates.least_rows, problem.queries)
    while small > 1:
        small = -(-small // 2)
        rows.add(small)
    keys = pieces(problem.keys, rates.columns)
    found: list[tuple[int, int, int, int]] = []
    for row in sorted(rows, reverse=True):
        for held in (1, 0):
            found.append((ScoreForm.WHOLE, row, problem.keys, held))
            for key in keys:
                if key < problem.keys or len(keys) == 1:
                    found.append((ScoreForm.ROWS, row, key, held))
                    found.append((ScoreForm.SWEEPS, row, key, held))
    return _Candidates(*np.array(found, dtype=np.int64).T)


def _share_seen(problem: AttentionProblem, rows: Column) -> Any:
    """The part of all keys that blocks of `rows` queries look at on average."""
    if problem.visible is None:
        return np.ones(len(rows))
    result: list[float] = []
    for row in map(int, rows):
        ends = np.minimum(np.arange(1, -(-problem.queries // row) + 1) * row + problem.visible - 1, problem.keys)
        result.append(float(np.maximum(ends, 1).mean()) / problem.keys)
    return np.array(result)


@lru_cache(maxsize=1024)
def search_attention(problem: AttentionProblem, rates: Rates, sram: int, acc: int) -> AttentionDecision:
    """The cheapest tiling in `sram` and `acc` bytes. Raises CapacityError where none fits."""
    c = _candidates(problem, rates)
    heads = problem.batches * problem.groups * problem.share
    blocks = -(-problem.queries // c.rows)
    sweeps = where(c.form == ScoreForm.SWEEPS, len(problem.sweeps), 1)
    seen = _share_seen(problem, c.rows)
    key_width, value_width = np.full_like(c.rows, problem.key_width), np.full_like(c.rows, problem.value_width)
    queries, keys = (problem.queries, c.rows), (problem.keys, c.keys)
    array = total(rates.products(problem.score_mode), queries, keys, (problem.key_width, key_width))
    values = total(rates.products(problem.value_mode), queries, (problem.value_width, value_width), keys)
    array = (seen * (array * sweeps + values)).astype(np.int64) * heads
    piece = total(rates.vector, queries, keys)
    row = total(rates.vector, queries, (problem.keys, np.full_like(c.keys, problem.keys)))
    over_pieces = np.choose(
        c.form, [problem.whole.count, problem.pieces.count, sum(passes.count for passes in problem.sweeps)]
    )
    finish = problem.finish.count * total(rates.vector, queries, (problem.value_width, value_width))
    over_rows = where(c.form == ScoreForm.ROWS, problem.rows.count, 0)
    vector = ((seen * (piece * over_pieces + row * over_rows)).astype(np.int64) + finish) * heads
    channel = _channel(problem, rates, c, blocks, sweeps, seen) * heads
    single, double, acc_single, acc_double = _memory(problem, c, blocks)
    unrolled = (blocks <= UNROLLED_BLOCKS) & (c.form != ScoreForm.SWEEPS)
    doubled = (double <= sram) & (acc_double <= acc)
    stall = where(unrolled, 0, (vector // np.maximum(blocks, 1)))
    cycles = where(doubled, np.maximum(np.maximum(array, vector), channel) + stall, array + vector + channel)
    cycles = cycles + rates.start
    key_pieces = -(-problem.keys // c.keys)
    instructions = heads * blocks * (key_pieces * (sweeps + over_pieces + 1) + over_rows + problem.finish.count + 2)
    burden = CHANNEL_SHARE * channel + INSTRUCTION_CYCLES * instructions
    score = cycles + burden
    feasible = (single <= sram) & (acc_single <= acc)
    if not np.any(feasible):
        least = int(np.argmin(single))
        raise CapacityError(
            f"SRAM for the least tile of attention over {problem.keys} keys",
            need=int(single[least]),
            limit=sram,
            levers=("a machine with more of it",),
        )
    score = np.where(feasible, score, np.inf)
    best = int(np.argmin(score))
    others = np.where((c.form == c.form[best]) & (c.rows == c.rows[best]), np.inf, score)
    second = int(np.argmin(others))

    def plan(index: int) -> AttentionPlan:
        two = bool(doubled[index])
        return AttentionPlan(
            ScoreForm(int(c.form[index])),
            int(c.rows[index]),
            int(c.keys[index]),
            bool(c.held[index]),
            bool(unrolled[index]),
            *(int(column[index]) for column in (cycles, array, channel, vector)),
            sram=int((double if two else single)[index]),
            acc=int((acc_double if two else acc_single)[index]),
            burden=int(burden[index]),
        )

    runner_up = plan(second) if np.isfinite(others[second]) else None
    return AttentionDecision(plan(best), runner_up, int(feasible.sum()))


def _channel(
    problem: AttentionProblem, rates: Rates, c: _Candidates, blocks: Column, sweeps: Column, seen: Any
) -> Column:
    """DRAM cycles of one query head."""

    def moved(matrix: Matrix, rows: int, columns: int, size: Column) -> Column:
        if matrix.resident:
            return np.zeros_like(size)
        return total(rates.copies(matrix.pitch, matrix.bytes), (rows, size), (columns, np.full_like(size, columns)))[0]

    heads_on_chip = np.full_like(c.rows, problem.share)
    key = moved(problem.key, problem.keys, problem.key_width, c.keys)
    value = moved(problem.value, problem.keys, problem.value_width, c.keys)
    streamed = ((key * sweeps + value) * blocks * seen).astype(np.int64)
    result = where(c.held == 1, -(-(key + value) // heads_on_chip), streamed)
    result = result + moved(problem.query, problem.queries, problem.key_width, c.rows)
    if problem.masked:
        masks = total(rates.copies(problem.keys, problem.masked), (problem.queries, c.rows), (problem.keys, c.keys))
        result = result + (masks[0] * sweeps * seen).astype(np.int64)
    width = problem.value_width
    for size in (problem.loaded, problem.stored):
        if size:
            columns = np.full_like(c.rows, width)
            result = result + total(rates.copies(width, size), (problem.queries, c.rows), (width, columns))[0]
    return result


def _memory(problem: AttentionProblem, c: _Candidates, blocks: Column) -> tuple[Column, Column, Column, Column]:
    """SRAM and ACC bytes, each with one and with two of what changes while the kernel runs."""
    several = problem.batches * problem.groups > 1
    held = c.held == 1
    unrolled = (blocks <= UNROLLED_BLOCKS) & (c.form != ScoreForm.SWEEPS)
    single, double = np.zeros_like(c.rows), np.zeros_like(c.rows)
    # The last product with a head's values comes behind the next head's scores.
    kept_on = where(unrolled, several, 0)
    for matrix, width, late in ((problem.key, problem.key_width, 0), (problem.value, problem.value_width, kept_on)):
        if not matrix.resident:
            whole = aligned(np.full_like(c.keys, problem.keys * width * matrix.bytes))
            piece = aligned(c.keys * width * matrix.bytes)
            single = single + where(held, whole * (1 + late), piece)
            double = double + where(held, whole * (1 + several), 2 * piece)
    if not problem.query.resident:
        rows = where(unrolled, problem.queries, c.rows)
        query = aligned(rows * problem.key_width * problem.query.bytes)
        single, double = single + query, double + 2 * query
    by_rows = c.form == ScoreForm.ROWS
    columns = where(c.form == ScoreForm.SWEEPS, c.keys, problem.keys)
    weights = aligned(c.rows * columns * problem.weight_bytes)
    # A block's weights live on while those of the next are made, and the last ones of a head all through the next.
    alive = where(unrolled, np.minimum(blocks, 2) + (several or problem.share > 1), 2)
    alive = where(c.form == ScoreForm.SWEEPS, 1, alive)
    single, double = single + alive * weights, double + np.maximum(alive, 2) * weights
    piece_kept = np.choose(
        c.form, [problem.whole.kept, problem.pieces.kept, max((passes.kept for passes in problem.sweeps), default=0)]
    )
    kept = aligned(c.rows * c.keys * (piece_kept + problem.masked))
    kept = kept + where(by_rows, aligned(c.rows * problem.keys * (4 + problem.rows.kept)), 0)
    single, double = single + kept, double + kept + aligned(c.rows * c.keys * problem.masked)
    tile = c.rows * problem.value_width
    out = aligned(tile * (problem.finish.kept + problem.loaded)) + aligned(tile * problem.stored)
    small = 8 * aligned(c.rows * 4)
    single, double = single + out + small, double + 2 * out + 2 * small
    scores, results = aligned(c.rows * c.keys * 4), aligned(c.rows * problem.value_width * 4)
    return single, double, scores + results, 2 * scores + results
