"""How an attention is tiled: rows of queries in a block, and what happens to a row of scores too long for ACC.

`whole`: a block's scores lie in ACC at once. `rows`: pieces of keys go through ACC one after the other, their scores
are kept in SRAM. `merged`: each piece of keys gives weights and an output by the greatest score so far, and what
earlier pieces gave is scaled to it. `sweeps`: scores are computed once for their maximum and again for the weights,
for weights that are rounded by a row's greatest score.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from ...isa.errors import CapacityError
from ...isa.instructions.masked_product import RESULT
from .arithmetic import Arithmetic
from .attention_memory import memory_of
from .attention_plan import AttentionDecision, AttentionPlan, AttentionProblem, Candidates, Matrix, ScoreForm
from .rates import Column, Rates, TileCost
from .search import CHANNEL_SHARE, INSTRUCTION_CYCLES, ceil, pieces, row_pieces, total, where

UNROLLED_BLOCKS = 8
"""At most so many blocks are written out one by one inside a loop, each one's scores before the values of the last."""

SPARE = 0.8
"""Merged steps overlap where two of everything take up to this part of the SRAM: the rest lets the next panel's
queries and keys come early."""

OWN = 0.75
"""Where passes outlast products, the array goes on with those of other kernels, if no more than this part of ACC is
taken."""


def _row_sizes(problem: AttentionProblem, rates: Rates) -> list[int]:
    queries = problem.queries
    sizes: set[int] = {ceil(queries, ceil(queries, size)) for size in row_pieces(queries, rates.least_rows)}
    small = min(rates.least_rows, queries)
    while small > 1:
        small = ceil(small, 2)
        sizes.add(small)
    return sorted(sizes, reverse=True)


def _choices(problem: AttentionProblem, rates: Rates) -> Iterator[tuple[ScoreForm, int, int, int]]:
    """(form, rows, blocks, keys) worth trying."""
    keys = [key for key in pieces(problem.keys, rates.columns) if key % problem.grain == 0 or key >= problem.keys]
    cut = [key for key in keys if key < problem.keys] or keys
    for rows in _row_sizes(problem, rates):
        count = ceil(problem.queries, rows)
        together = ceil(count, ceil(count, UNROLLED_BLOCKS))
        if ScoreForm.WHOLE in problem.forms:
            yield ScoreForm.WHOLE, rows, together, problem.keys
        for form, blocks in ((ScoreForm.ROWS, together), (ScoreForm.SWEEPS, 1)):
            for key in cut if form in problem.forms else ():
                yield form, rows, blocks, key
        if ScoreForm.MERGED in problem.forms:
            for blocks in sorted({ceil(count, ceil(count, most)) for most in range(1, UNROLLED_BLOCKS + 1)}):
                for key in (problem.key_block,) if problem.key_block else cut:
                    yield ScoreForm.MERGED, rows, blocks, key


def _candidates(problem: AttentionProblem, rates: Rates) -> Candidates:
    found = [(*choice, held) for choice in _choices(problem, rates) for held in (1, 0)]
    form, rows, blocks, keys, held = np.array(found, dtype=np.int64).T
    return Candidates(form, rows, blocks, keys, held)


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
    seen = _share_seen(problem, c.rows)
    steps = (
        problem.heads
        * ceil(problem.queries, c.rows)
        * where(c.form == ScoreForm.MERGED, np.maximum(1, np.ceil(seen * problem.keys / c.keys)), 1)
    )
    scores, values = _array(problem, rates, c, seen)
    softmax, finish = _vector(problem, rates, c, seen, steps)
    channel = _channel(problem, rates, c, seen) * problem.heads
    array, vector = scores + values, softmax + finish
    # Where a run of steps begins and ends, nothing else covers the vector passes of one block.
    lone = softmax // steps
    wait = np.maximum(lone - scores // steps, 0) + np.maximum(lone - values // steps, 0) + finish // steps + rates.fill
    idle = wait * _runs(problem, c)
    memory = memory_of(problem, c)
    room = np.where(c.form == ScoreForm.MERGED, SPARE, 1.0) * sram
    doubled = (memory.double <= room) & (memory.acc_double <= acc) & problem.staggered
    busy = np.maximum(np.maximum(array, vector), channel) + idle
    cycles = where(doubled, busy, array + vector + channel) + rates.start
    burden = CHANNEL_SHARE * channel + INSTRUCTION_CYCLES * _instructions(problem, c, steps)
    # What it would wait otherwise counts beside the kernel's own cycles.
    alone = (vector > array) & (memory.acc_double > OWN * acc)
    burden = burden + where(alone, vector - array, 0)
    feasible = (memory.single <= sram) & (memory.acc_single <= acc)
    if not np.any(feasible):
        least = int(np.argmin(memory.single))
        raise CapacityError(
            f"SRAM for the least tile of attention over {problem.keys} keys",
            need=int(memory.single[least]),
            limit=sram,
            levers=("a machine with more of it",),
        )
    score = np.where(feasible, cycles + burden, np.inf)
    best = int(np.argmin(score))
    others = np.where((c.form == c.form[best]) & (c.rows == c.rows[best]), np.inf, score)
    second = int(np.argmin(others))

    def plan(index: int) -> AttentionPlan:
        sram, acc = memory.of(index, bool(doubled[index]))
        return AttentionPlan(
            ScoreForm(int(c.form[index])),
            int(c.rows[index]),
            int(c.blocks[index]),
            int(c.keys[index]),
            bool(c.held[index]),
            *(int(column[index]) for column in (cycles, array, channel, vector, idle)),
            sram=sram,
            acc=acc,
            burden=int(burden[index]),
        )

    runner_up = plan(second) if np.isfinite(others[second]) else None
    return AttentionDecision(plan(best), runner_up, int(feasible.sum()))


def _array(problem: AttentionProblem, rates: Rates, c: Candidates, seen: Any) -> tuple[Column, Column]:
    """Array cycles of the scores and of the products with the values."""

    def made(arithmetic: Arithmetic) -> TileCost:
        return rates.products(arithmetic.mode.label, arithmetic.left)

    key_width, value_width = np.full_like(c.rows, problem.key_width), np.full_like(c.rows, problem.value_width)
    queries, keys = (problem.queries, c.rows), (problem.keys, c.keys)
    depth, across = (problem.key_width, key_width), (problem.value_width, value_width)
    scoring, valuing, predicted = made(problem.scoring), made(problem.valuing), np.zeros_like(c.rows)
    kept = problem.kept
    if kept is not None:
        valuing = rates.masked(problem.valuing.mode.label, kept.values, kept.share)
        if kept.scores is not None:
            first, *later = (mode.label for mode in kept.predicted)
            rounds = [rates.products(first), *(rates.masked(mode, kept.scores, kept.share, RESULT) for mode in later)]
            predicted = sum((total(cost, queries, keys, depth) for cost in rounds), predicted)
            scoring = rates.masked(problem.scoring.mode.label, kept.scores, kept.share, RESULT)
    scores = total(scoring, queries, keys, depth) * where(c.form == ScoreForm.SWEEPS, problem.sweeps, 1)
    values = total(valuing, queries, across, keys)
    scores, values = seen * (predicted + scores), seen * values
    return scores.astype(np.int64) * problem.heads, values.astype(np.int64) * problem.heads


def _vector(problem: AttentionProblem, rates: Rates, c: Candidates, seen: Any, steps: Column) -> tuple[Column, Column]:
    """Vector cycles between the scores and the product with the values, and behind it."""
    queries = (problem.queries, c.rows)
    piece = total(rates.vector, queries, (problem.keys, c.keys))
    row = total(rates.vector, queries, (problem.keys, np.full_like(c.keys, problem.keys)))
    softmax = piece * np.choose(c.form, [passes.count for passes in problem.passes])
    softmax = softmax + row * where(c.form == ScoreForm.ROWS, problem.over_rows.count, 0)
    width = np.full_like(c.rows, problem.value_width)
    output = total(rates.vector, queries, (problem.value_width, width)) * problem.heads
    merged = c.form == ScoreForm.MERGED
    merges = where(merged, rates.vector(c.rows, width) * steps, 0)
    columns = where(merged, rates.vector(np.ones_like(c.rows), c.rows) * steps, 0)
    return (seen * softmax).astype(np.int64) * problem.heads + columns, output * problem.finish.count + merges


def _runs(problem: AttentionProblem, c: Candidates) -> Column:
    """How often the array runs dry: the innermost loop of more than one iteration goes on without a break."""
    panels = c.panels(problem.queries)
    inner = where(c.form == ScoreForm.MERGED, ceil(problem.keys, c.keys), 1)
    runs = np.full_like(c.rows, problem.heads) * panels
    for extent in (problem.batches, problem.groups, problem.share):
        runs = where((inner == 1) & (panels == 1) & (extent > 1), problem.heads // extent, runs)
    return where((inner == 1) & (panels > 1), problem.heads, runs)


def _instructions(problem: AttentionProblem, c: Candidates, steps: Column) -> Column:
    cut = ceil(problem.keys, c.keys)
    merged = c.form == ScoreForm.MERGED
    passes = np.choose(c.form, [passes.count for passes in problem.passes])
    products = where(c.form == ScoreForm.SWEEPS, problem.sweeps + 1, 2)
    each = where(merged, products + passes + 2, cut * (products + passes) + problem.finish.count + 1)
    loads = where(merged | (c.held == 0), 2 * cut * c.panels(problem.queries), 2)
    return steps * (each + where(c.form == ScoreForm.ROWS, 1, 0)) + problem.heads * (loads + 1)


def _channel(problem: AttentionProblem, rates: Rates, c: Candidates, seen: Any) -> Column:
    """DRAM cycles of one query head."""

    def moved(matrix: Matrix, tokens: int, width: int, size: Column) -> Column:
        if matrix.resident:
            return np.zeros_like(size)
        rows, columns = matrix.lying((tokens, size), (width, np.full_like(size, width)))
        return total(rates.copies(matrix.pitch, matrix.form.width), rows, columns)[0]

    key = moved(problem.key, problem.keys, problem.key_width, c.keys)
    value = moved(problem.value, problem.keys, problem.value_width, c.keys)
    sweeps = where(c.form == ScoreForm.SWEEPS, problem.sweeps, 1)
    times = where(c.form == ScoreForm.MERGED, c.panels(problem.queries), ceil(problem.queries, c.rows))
    streamed = ((key * sweeps + value) * times * seen).astype(np.int64)
    result = where(c.held == 1, ceil(key + value, problem.share), streamed)
    result = result + moved(problem.query, problem.queries, problem.key_width, c.rows * c.blocks)
    if problem.masked:
        masks = total(rates.copies(problem.keys, problem.masked), (problem.queries, c.rows), (problem.keys, c.keys))
        result = result + (masks[0] * sweeps * seen).astype(np.int64)
    width = problem.value_width
    for size in (problem.loaded, problem.stored):
        if size:
            columns = np.full_like(c.rows, width)
            result = result + total(rates.copies(width, size), (problem.queries, c.rows), (width, columns))[0]
    return result
