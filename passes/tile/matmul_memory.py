"""What the candidates of a matrix product take on chip: panels of its operands, sums in ACC, and what streams."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...isa.frozen import frozen
from .matmul_candidates import Candidates
from .matmul_plan import Rest
from .matmul_problem import MatmulProblem, Operand
from .rates import Column
from .search import aligned, ceil, where

PARTIAL_BYTES = 4
"""Bytes of a sum that is not finished."""


@frozen(eq=False)
class Panels:
    """What an operand has on chip at once, as columns of bytes: `held` of what it is used from, `raw` of what is still
    to be prepared, `chunk` of one buffer of either; and `wait`, the cycles for which the array waits if there is no
    room for the next panel beside the one at hand. `steady`: it is loaded once."""

    held: Column
    raw: Column
    chunk: Column
    wait: Column
    steady: NDArray[np.bool_]


def acc_bytes(c: Candidates, rest: Column, batch: int) -> tuple[Column, Column]:
    """Bytes of ACC that the sums alive at once take, and how many such sets there are."""
    size, sets = c.m[c.tile] * c.n[c.tile], np.full_like(c.tile, batch)
    for axis in "ij":
        sets = sets * c.turns[axis][c.tile]
    for axis in "bij":
        alive = c.turned(axis, [way.rest is Rest.ACC and way.runs_inside(axis, "k") for way in c.ways])
        size, sets = size * alive, sets // alive
    return aligned(size * 4), sets


def panels_of(
    c: Candidates, operand: Operand, axis: str, extent: int, loading: Column, times: Column, work: NDArray[np.float64]
) -> Panels:
    """The panels of an operand along `axis` of the product, of `extent`: all loads take `loading` cycles, and while it
    is held each of them has to hide behind one turn of the loop that it is held across: `work` in all."""
    fetches = [way.left if axis == "i" else way.right for way in c.ways]
    nothing = np.zeros_like(c.tile)
    outside = [set(way.order[: one.level]) - set(way.single) for way, one in zip(c.ways, fetches, strict=True)]
    steady = c.of_way([not axes for axes in outside]) > 0
    if operand.lies_ready:
        return Panels(nothing, nothing, nothing, nothing, steady)
    across = where(c.of_way([axis in one.whole for one in fetches]), extent, (c.m if axis == "i" else c.n)[c.tile])
    chunk = aligned(across * c.k[c.tile] * (operand.prepared or operand.bytes))
    raw = aligned(across * c.k[c.tile] * operand.bytes * (bool(operand.prepared) and not operand.resident))
    is_held = c.of_way([("left" if axis == "i" else "right") in way.holds for way in c.ways])
    return Panels(
        held=chunk * c.turned("k", ["k" in one.whole for one in fetches]),
        raw=raw,
        chunk=chunk,
        wait=where(is_held, np.maximum(loading - times * work, 0), 0),
        steady=steady,
    )


def parts_bytes(problem: MatmulProblem, c: Candidates) -> Column:
    """Bytes of the parts of rows' statistics, of which every tile of columns has one and edges may add two."""
    tiles = c.turns["j"][c.tile] + 2
    return aligned(tiles * problem.batch * problem.m * 4 * problem.epilogue.statistics)


def sram_bytes(
    problem: MatmulProblem, c: Candidates, strip: Column, rest: Column, panels: tuple[Panels, ...], gathered: int
) -> tuple[Column, Column]:
    """Bytes of SRAM with one and with two of every buffer whose content changes while the kernel runs; `gathered`
    columns of the result are stored at once (0: those of a tile)."""
    tile_m, tile_n = c.m[c.tile], c.n[c.tile]
    single, double, largest = np.zeros_like(tile_m), np.zeros_like(tile_m), np.zeros_like(tile_m)
    for one in panels:
        single = single + one.held + one.raw
        # A panel is held as one buffer a chunk of its depth: the next panel's first chunk needs room of its own.
        double = double + one.held + where(one.steady, 0, one.chunk) + 2 * one.raw
        largest = np.maximum(largest, where(one.steady, 0, one.chunk))
    epilogue = problem.epilogue
    if problem.comparison is not None:
        left = c.of_way(["i" in way.left.whole for way in c.ways])
        bits = where(left, problem.m, tile_m) * ceil(problem.k, 8)
        single, double = single + aligned(bits), double + 2 * aligned(bits)
    size = strip * tile_n
    stored = size
    if gathered:
        stored = where(c.of_way([way.runs_inside("i", "j") for way in c.ways]), problem.m, tile_m) * gathered
    for elements, moved in ((size, epilogue.loaded), (stored, epilogue.stored)):
        if moved:
            single, double = single + aligned(elements * moved), double + 2 * aligned(elements * moved)
    away = where(rest == Rest.DRAM, aligned(size * PARTIAL_BYTES), 0)
    resting = tile_m * tile_n * PARTIAL_BYTES
    for axis in "bij":
        resting = resting * c.turned(axis, [way.runs_inside(axis, "k") for way in c.ways])
    kept = aligned(size * epilogue.kept) + 2 * aligned(tile_n * epilogue.rows) + where(rest == Rest.SRAM, resting, 0)
    # Buffers of unlike sizes leave holes that no large one fits: what streams needs room for one more.
    return single + 2 * away + kept, double + 3 * away + kept + largest
