"""On-chip bytes of an attention's tilings: what must lie there, and what must so that no engine waits for a buffer."""

from __future__ import annotations

import numpy as np

from ...isa.frozen import frozen
from .attention_plan import AT_ONCE, AttentionProblem, Candidates, ScoreForm
from .rates import Column
from .search import aligned, where


@frozen
class Memory:
    """SRAM and ACC bytes, each with one and with two of what changes while the kernel runs."""

    single: Column
    double: Column
    acc_single: Column
    acc_double: Column

    def of(self, index: int, doubled: bool) -> tuple[int, int]:
        """SRAM and ACC bytes of one candidate."""
        columns = (self.double, self.acc_double) if doubled else (self.single, self.acc_single)
        return int(columns[0][index]), int(columns[1][index])


def memory_of(problem: AttentionProblem, c: Candidates) -> Memory:
    """The memory of every candidate."""
    merged, by_rows, sweeps = (c.form == form for form in (ScoreForm.MERGED, ScoreForm.ROWS, ScoreForm.SWEEPS))
    held, panel = c.held == 1, c.rows * c.blocks
    several = problem.batches * problem.groups > 1
    more_panels = where((problem.heads > 1) | (panel < problem.queries), 2, 1)
    single, double = np.zeros_like(c.rows), np.zeros_like(c.rows)
    # The last product with the values of a head, or of a piece of keys, comes behind the next one's first scores.
    late = where(held, several, merged & (c.keys < problem.keys)) * problem.staggered
    for matrix, width, more in ((problem.key, problem.key_width, 0), (problem.value, problem.value_width, late)):
        if not matrix.resident:
            tile = aligned(matrix.size(where(held, problem.keys, c.keys), width))
            single = single + tile * (1 + more)
            double = double + tile * where(held, 1 + several, 2)
    if not problem.query.resident:
        query = aligned(problem.query.size(panel, problem.key_width))
        single, double = single + query, double + query * more_panels
    # A block's weights live on while those of the next are made.
    columns = where(merged | sweeps, c.keys, problem.keys)
    weights = aligned(problem.weight_size(c.rows, columns))
    single = single + weights * where(sweeps | (not problem.staggered), 1, 2)
    double = double + weights * 2
    kept = aligned(c.rows * c.keys * (np.choose(c.form, [passes.kept for passes in problem.passes]) + 4 * merged))
    kept = kept + where(by_rows, aligned(c.rows * problem.keys * (4 + problem.over_rows.kept)), 0)
    masks = aligned(c.rows * c.keys * problem.masked)
    single, double = single + kept + masks, double + kept + 2 * masks
    at_once = merged & (panel * problem.value_width * problem.stored <= AT_ONCE)
    tile = where(at_once, panel, c.rows) * problem.value_width
    out, stored = aligned(tile * (problem.finish.kept + problem.loaded)), aligned(tile * problem.stored)
    small = 8 * aligned(c.rows * 4)
    single, double = single + out + stored + small, double + out + 2 * stored + small
    # What pieces are merged into: the next panel begins while this one's output is finished.
    state = where(merged, aligned(panel * problem.value_width * 4) + 3 * aligned(panel * 4), 0)
    single, double = single + state, double + state * more_panels
    scores, results = aligned(c.rows * c.keys * 4), aligned(c.rows * problem.value_width * 4)
    return Memory(single, double, scores + results, 2 * scores + results)
