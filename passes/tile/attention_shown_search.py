"""How a part of an attention whose keys a pattern shows is tiled: what its blocks look at is counted, not averaged."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from ...isa.errors import CapacityError
from ...isa.frozen import frozen
from .attention_masked import MOST_KEPT, array_cycles
from .attention_masks import tiles_stay
from .attention_plan import AT_ONCE, AttentionDecision, AttentionPlan, AttentionProblem, Matrix, ScoreForm
from .attention_sight import Shown, tile_pitch
from .rates import Column, Rates, TileCost
from .search import ALIGNMENT, CHANNEL_SHARE, INSTRUCTION_CYCLES, ceil, pieces, row_pieces
from .tile_counts import Counted

MOST_BLOCKS = 8
"""The most blocks that a panel has."""

MOST_ROWS = 1024
"""The most rows of a block: what a pattern shows to so many is nearly all."""

RUNS = 2
"""The runs of panels of one head: its pattern looks alike between its ends."""


@frozen
class _Choice:
    form: ScoreForm
    rows: int
    blocks: int
    keys: int
    held: bool


@lru_cache(maxsize=MOST_KEPT)
def search_shown(
    problem: AttentionProblem, sight: Shown, heads: int, rates: Rates, sram: int, acc: int
) -> AttentionDecision:
    """The cheapest tiling in `sram` and `acc` bytes of what `sight` shows `heads` query heads (in all batches).

    Raises CapacityError where none fits.
    """
    plans: list[AttentionPlan] = []
    for small in (False, True):
        plans = [found.plan(sram, acc) for found in _evaluated(problem, sight, heads, rates, small)]
        fitting = [plan for plan in plans if plan.sram <= sram and plan.acc <= acc]
        if fitting:
            order = sorted(fitting, key=lambda plan: plan.cycles + plan.burden)
            best = order[0]
            others = (plan for plan in order if (plan.form, plan.rows) != (best.form, best.rows))
            return AttentionDecision(best, next(others, None), len(fitting))
    raise CapacityError(
        f"SRAM for the least tile of attention over {sight.runs.keys} keys, of which a pattern shows some",
        need=min(plan.sram for plan in plans),
        limit=sram,
        levers=("a machine with more of it",),
    )


@lru_cache(maxsize=64)
def _evaluated(
    problem: AttentionProblem, sight: Shown, heads: int, rates: Rates, small: bool
) -> tuple[_Evaluation, ...]:
    anywhere = problem.without_residents
    return tuple(
        _Evaluation(problem, sight, heads, rates, choice, _work(anywhere, sight, choice, rates))
        for choice in _choices(problem, sight, rates, small)
    )


def _row_sizes(count: int, least: int, small: bool) -> list[int]:
    """Rows of a block worth trying: pieces of all rows and those that meet a pattern's blocks, or few rows only."""
    if not small:
        sizes = {*row_pieces(count, least), 2 * least, least}
        return sorted(size for size in sizes if min(least, count) <= size <= min(count, MOST_ROWS))
    sizes = set[int]()
    rows = min(least, count)
    while rows > 1:
        rows = ceil(rows, 2)
        sizes.add(rows)
    return sorted(sizes or {1})


def _choices(problem: AttentionProblem, sight: Shown, rates: Rates, small: bool) -> Iterator[_Choice]:
    count = sight.last - sight.first
    for rows in _row_sizes(count, rates.least_rows, small):
        counts = _counted(sight, rows, 1)
        single = counts.most_stretches == 1
        widest = int(counts.stretches.columns.max())
        # Pieces of mask tiles begin at whole bytes.
        unit = math.lcm(problem.grain, 8)
        cut = [size for size in pieces(widest, rates.columns) if size < widest and size % unit == 0]
        for blocks in (1, 2, 4, MOST_BLOCKS):
            if rows * blocks >= 2 * count and blocks > 1:
                break
            for held in (True, False):
                if single:
                    yield _Choice(ScoreForm.WHOLE, rows, blocks, widest, held)
                for keys in (widest, *cut[:3]) if ScoreForm.ROWS in problem.forms else ():
                    yield _Choice(ScoreForm.ROWS, rows, blocks, keys, held)
                if blocks == 1:
                    for keys in cut or [widest]:
                        yield _Choice(problem.forms[-1], rows, 1, keys, held)


@frozen(eq=False)
class _Counts:
    """A layout in numbers: the stretches of blocks, the rows of blocks as wide as all their stretches, and the
    stretches of panels; the most stretches of a block, the most keys of a panel, and the bytes of all mask tiles."""

    stretches: Counted
    blocks: Counted
    panels: Counted
    most_stretches: int
    most_held: int
    tile_bytes: int


@lru_cache(maxsize=MOST_KEPT)
def _counted(sight: Shown, rows: int, blocks: int) -> _Counts:
    layout = sight.layout(rows, blocks)
    heights = np.diff(layout.bounds)
    stretches, panels = layout.stretches, layout.panel_stretches
    fetched = panels.stops - panels.starts
    return _Counts(
        Counted.of(heights[stretches.rows], stretches.stops - stretches.starts),
        Counted.of(heights, stretches.counts),
        Counted.of(fetched, np.ones_like(fetched)),
        int(np.diff(stretches.first).max()),
        int(panels.counts.max()),
        layout.tile_bytes if blocks == 1 else _counted(sight, rows, 1).tile_bytes,
    )


@frozen(eq=False)
class _Work:
    """What a choice makes the engines do for one head, wherever operands lie: cycles of the array, of the vector engine
    before and behind the product with the values, and numbers of blocks and instructions."""

    array: int
    vector: int
    finish: int
    blocks: int
    instructions: int


@lru_cache(maxsize=MOST_KEPT)
def _work(problem: AttentionProblem, sight: Shown, choice: _Choice, rates: Rates) -> _Work:
    """The work of a choice; of `problem` it matters not what is resident."""
    counts = _counted(sight, choice.rows, choice.blocks)
    blocks, form = counts.blocks, choice.form
    tiles = counts.stretches.cut(choice.keys)
    sweeps = problem.sweeps if form is ScoreForm.SWEEPS else 1
    whole = choice.keys if form is not ScoreForm.MERGED else 0
    scores, values = array_cycles(problem.products, sight, choice.rows, rates, choice.keys, whole)

    def output(rows: Column, _: Column) -> Column:
        return rates.vector(rows, np.full_like(rows, problem.value_width))

    def column(rows: Column, _: Column) -> Column:
        return rates.vector(np.ones_like(rows), rows)

    softmax = tiles.total(rates.vector) * problem.passes[form].count
    if form is ScoreForm.ROWS:
        softmax += blocks.total(rates.vector) * problem.over_rows.count
    finish = blocks.total(output) * problem.finish.count
    if form is ScoreForm.MERGED:
        softmax, finish = softmax + tiles.total(column), finish + tiles.total(output)
    count = int(blocks.times.sum())
    instructions = int(tiles.times.sum()) * (sweeps + 1 + problem.passes[form].count)
    instructions += count * (problem.finish.count + 3) + int(counts.panels.times.sum()) * (0 if choice.held else 2)
    return _Work(scores * sweeps + values, softmax, finish, count, instructions)


class _Evaluation:
    """One choice: its cycles and its on-chip bytes."""

    def __init__(
        self, problem: AttentionProblem, sight: Shown, heads: int, rates: Rates, choice: _Choice, work: _Work
    ) -> None:
        self.problem = problem
        self.rates = rates
        self.choice = choice
        self.heads = heads
        self.counts = _counted(sight, choice.rows, choice.blocks)
        self.stretches, self.blocks, self.panels = self.counts.stretches, self.counts.blocks, self.counts.panels
        self.near = not choice.held and choice.form in (ScoreForm.WHOLE, ScoreForm.ROWS)
        self.widest = int(self.blocks.columns.max())
        self.piece = min(choice.keys, int(self.stretches.columns.max()))
        self.queries = sight.last - sight.first
        self.keys = sight.runs.keys
        self.sweeps = problem.sweeps if choice.form is ScoreForm.SWEEPS else 1
        self.busy = tuple(heads * part for part in (work.array, self._channel(), work.vector + work.finish))
        # Where a run of panels begins and ends, nothing else covers the vector passes of one block.
        self.idle = (work.vector // work.blocks + work.finish // work.blocks + rates.fill) * RUNS * heads
        self.burden = int(CHANNEL_SHARE * self.busy[1]) + INSTRUCTION_CYCLES * work.instructions * heads
        self.single, self.double = self._sram()

    def plan(self, sram: int, acc: int) -> AttentionPlan:
        """The plan; its bytes are those with two of what changes where these fit."""
        choice = self.choice
        results = choice.rows * self.problem.value_width * 4
        scores = choice.rows * self.piece * 4
        doubled = self.problem.staggered and self.double <= sram and 2 * scores + results <= acc
        cycles = (max(self.busy) + self.idle if doubled else sum(self.busy)) + self.rates.start
        return AttentionPlan(
            choice.form,
            choice.rows,
            choice.blocks,
            choice.keys,
            choice.held,
            cycles,
            *self.busy,
            idle=self.idle,
            sram=self.double if doubled else self.single,
            acc=(2 if doubled else 1) * scores + results,
            burden=self.burden,
            near=self.near,
        )

    def _channel(self) -> int:
        """DRAM cycles of one head."""
        problem, rates, choice = self.problem, self.rates, self.choice

        def moved(cost: TileCost, rows: Column, columns: int) -> Column:
            return cost(rows, np.full_like(rows, columns))[0]

        def read(matrix: Matrix, tokens: Column, width: int) -> Column:
            cost = rates.copies(matrix.pitch, matrix.form.width)
            return cost(*matrix.lying(tokens, np.full_like(tokens, width)))[0]

        total = 0
        for matrix, width, times in (
            (problem.key, problem.key_width, self.sweeps),
            (problem.value, problem.value_width, 1),
        ):
            if matrix.resident:
                continue
            if choice.held:
                total += ceil(int(read(matrix, np.array([self.keys]), width)[0]), problem.share)
            else:
                fetched = self.panels if self.near else self.stretches_by_keys
                total += times * int((fetched.times * read(matrix, fetched.rows, width)).sum())
        if not problem.query.resident:
            total += int(read(problem.query, np.array([self.queries]), problem.key_width)[0])
        if problem.masked:
            cost = rates.copies(self.keys, problem.masked)
            total += self.sweeps * self.stretches.total(lambda m, n: cost(m, n)[0])
        if not tiles_stay(self.counts.tile_bytes, rates.sram_bytes):
            total += self.sweeps * self.counts.tile_bytes // rates.machine.dram.bytes_per_cycle
        for size in (problem.loaded, problem.stored):
            if size:
                cost = rates.copies(problem.value_width, size)
                total += int(moved(cost, np.array([self.queries]), problem.value_width)[0])
        return int(total)

    @property
    def stretches_by_keys(self) -> Counted:
        """The stretches of blocks as rows of keys."""
        return Counted(self.stretches.times, self.stretches.columns, np.ones_like(self.stretches.columns))

    def _sram(self) -> tuple[int, int]:
        """Bytes with one and with two of what changes while the kernel runs."""
        problem, choice, tile_bytes = self.problem, self.choice, self.counts.tile_bytes
        held = self.counts.most_held if self.near else self.keys if choice.held else self.piece
        single = double = 0
        for matrix, width in ((problem.key, problem.key_width), (problem.value, problem.value_width)):
            if not matrix.resident:
                tile = _aligned(matrix.size(held, width))
                several = self.heads > 1 if choice.held else True
                # The last values of a panel, or of a piece, come behind the next one's first scores.
                late = problem.staggered and matrix is problem.value
                single, double = single + tile * (2 if late and several else 1), double + tile * (1 + several)
        panel = min(choice.rows * choice.blocks, self.queries)
        if not problem.query.resident:
            query = _aligned(problem.query.size(panel, problem.key_width))
            single, double = single + query, double + 2 * query
        merged, sweeps = choice.form is ScoreForm.MERGED, choice.form is ScoreForm.SWEEPS
        weights = _aligned(problem.weight_size(choice.rows, self.piece if merged or sweeps else self.widest))
        single, double = single + weights * (1 if sweeps else 2), double + 2 * weights
        kept = _aligned(choice.rows * self.piece * (problem.passes[choice.form].kept + 4 * merged))
        if choice.form is ScoreForm.ROWS:
            kept += _aligned(choice.rows * self.widest * (4 + problem.over_rows.kept))
        masks = _aligned(choice.rows * self.piece * problem.masked)
        if tiles_stay(tile_bytes, self.rates.sram_bytes):
            single, double = single + _aligned(tile_bytes), double + _aligned(tile_bytes)
        else:
            masks += _aligned(choice.rows * tile_pitch(self.piece) // 8)
        single, double = single + kept + masks, double + kept + 2 * masks
        at_once = merged and panel * problem.value_width * problem.stored <= AT_ONCE
        tile = (panel if at_once else choice.rows) * problem.value_width
        out, stored = _aligned(tile * (problem.finish.kept + problem.loaded)), _aligned(tile * problem.stored)
        small = 8 * _aligned(choice.rows * 4)
        single, double = single + out + stored + small, double + out + 2 * stored + small
        if merged:
            state = _aligned(panel * problem.value_width * 4) + 3 * _aligned(panel * 4)
            single, double = single + state, double + 2 * state
        return single, double


def _aligned(size: float) -> int:
    return int(ceil(size, ALIGNMENT) * ALIGNMENT)
