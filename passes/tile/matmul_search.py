"""The tiling of a matrix product, chosen by the instruction records' own costs.

Of each candidate are known the busy cycles of the array, the DRAM channel, the vector engine and the copies, and
the bytes it needs on chip. Engines run side by side, so the estimate is the largest of them, plus what cannot
overlap: the first loads, the last epilogue, all that a single buffer serializes, and what the array waits for at
both ends of the kernel while rows come from, and go to, what is done row by row.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import ceil as whole
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from ...isa.errors import CapacityError
from ...isa.frozen import frozen
from ..tile_rules import FREE, TileChoice
from .comparison import EXPECTED
from .matmul_candidates import Candidates, candidates
from .matmul_edges import Bodies, Edges, best_ends, possible_edges
from .matmul_memory import PARTIAL_BYTES, Panels, acc_bytes, panels_of, parts_bytes, sram_bytes
from .matmul_plan import Decision, MatmulPlan, Rest
from .matmul_problem import MatmulProblem, Operand, Seam
from .rates import Column, Rates, TileCost
from .search import CHANNEL_SHARE, INSTRUCTION_CYCLES, ceil, distinct, total, where

COVERED = 0.75
"""So much of a crowded product's first loads and last passes hides behind what else runs."""

STRIP_BYTES = 16384
"""A finished tile goes through the vector engine in strips of rows for which the epilogue keeps at most so many bytes,
so that a large accumulator tile needs no large buffers beside it."""


@frozen(eq=False)
class _Table:
    """Columns of what each candidate costs, and its bytes on chip with one and with two of each streamed buffer.

    `stall` is what the array waits for where ACC has room for one set of sums. `bodies` are what edges may be added to.
    Of candidates that are not `possible` the others mean nothing.
    """

    candidates: Candidates
    possible: NDArray[np.bool_]
    strip: Column
    array: Column
    channel: Column
    vector: Column
    copies: Column
    serial: Column
    stall: Column
    instructions: Column
    single: Column
    double: Column
    panels: tuple[Panels, Panels]
    acc: Column
    parts_in_acc: NDArray[np.bool_]
    bodies: Bodies


def _fetching(rates: Rates, operand: Operand) -> TileCost:
    """(channel cycles, busy cycles) of loading a tile of rows x columns of an operand, as two columns."""

    copies = rates.copies(operand.pitch, operand.bytes, operand.turned)

    def cost(*sizes: Column) -> Column:
        if operand.resident:
            return np.zeros((2, len(sizes[0])), dtype=np.int64)
        return copies(*(sizes[::-1] if operand.across or operand.turned else sizes))

    return cost


@lru_cache(maxsize=256)
def _evaluated(problem: MatmulProblem, rates: Rates, fine: bool, gathered: int) -> _Table:
    c = candidates(problem, rates, fine)
    possible = np.full(len(c.tile), True)
    if gathered:
        within = np.array(["k" in way.single or not way.runs_inside("j", "k") for way in c.ways])[c.way]
        possible = within & (c.n[c.tile] < gathered) & (gathered % c.n[c.tile] == 0)
    batch, m, n, k = problem.batch, problem.m, problem.n, problem.k
    left, right, epilogue = problem.left, problem.right, problem.epilogue
    tile, ways = c.tile, c.ways
    turns = {axis: column[tile] for axis, column in c.turns.items()}
    rest = c.of_way([way.rest for way in ways])
    moves = rest > Rest.ACC
    # How often each operand is loaded as a whole.
    left_times = c.turned("j", ["j" in way.left.again for way in ways])
    right_times = c.turned("i", ["i" in way.right.again for way in ways])
    left_times = left_times * where(not left.shared or c.of_way(["b" in way.left.again for way in ways]), batch, 1)
    right_times = right_times * where(not right.shared or c.of_way(["b" in way.right.again for way in ways]), batch, 1)
    left_once = total(_fetching(rates, left), (m, c.m), (k, c.k))
    right_once = total(_fetching(rates, right), (k, c.k), (n, c.n))
    loads = left_times * left_once[:, tile] + right_times * right_once[:, tile]
    stores = np.zeros_like(loads)
    columns_stored = np.full_like(c.n, gathered) if gathered else c.n
    for size, moved, across in ((epilogue.loaded, loads, c.n), (epilogue.stored, stores, columns_stored)):
        if size:
            moved += batch * total(rates.copies(n, size), (m, c.m), (n, across))[:, tile]
    if epilogue.row_loads:
        times = batch * c.turned("i", [way.runs_inside("j", "i") for way in c.ways])
        times = times * c.turned("k", [way.runs_inside("j", "k") for way in c.ways])
        row = np.ones_like(c.n)
        loads = loads + times * total(rates.copies(0, epilogue.row_loads), (1, row), (n, c.n))[:, tile]
    # Unfinished sums: written by every turn of k but the last, read by every one but the first.
    unfinished = where(moves, turns["k"] - 1, 0)
    if np.any(rest == Rest.DRAM):
        partial = batch * total(rates.copies(n, PARTIAL_BYTES), (m, c.m), (n, c.n))[:, tile]
        partial = partial * where(rest == Rest.DRAM, unfinished, 0)
        loads, stores = loads + partial, stores + partial
    bytes_each = max(1, whole(epilogue.loaded + epilogue.stored + epilogue.kept)) + where(moves, PARTIAL_BYTES, 0)
    tile_m, tile_n = c.m[tile], c.n[tile]
    strip = ceil(tile_m, ceil(tile_m * tile_n * bytes_each, STRIP_BYTES))
    vector = batch * (epilogue.passes + unfinished) * total(rates.vector, (m, strip), (n, tile_n))
    if left.passes:
        vector = vector + left.passes * left_times * total(rates.vector, (m, c.m), (k, c.k))[tile]
    if right.passes:
        vector = vector + right.passes * right_times * total(rates.vector, (k, c.k), (n, c.n))[tile]
    first = distinct(_fetching(rates, left), c.m, c.k)[1] + distinct(_fetching(rates, right), c.k, c.n)[1]
    last = epilogue.passes * distinct(rates.vector, strip, tile_n)
    if epilogue.stored:
        last = last + distinct(rates.copies(n, epilogue.stored), strip, tile_n)[1]
    strips = ceil(tile_m, strip)
    finishing = strips * (epilogue.passes + bool(epilogue.stored) + bool(epilogue.loaded))
    finishing = finishing + strips * where(rest == Rest.DRAM, 3, 1) * unfinished
    instructions = batch * turns["i"] * turns["j"] * (finishing + turns["k"])
    for operand, times, across in ((left, left_times, turns["i"]), (right, right_times, turns["j"])):
        if not operand.resident:
            instructions = instructions + times * across * turns["k"] * (1 + operand.passes)
    comparison, copies = problem.comparison, np.maximum(loads[1], stores[1])
    if comparison is None:
        products = rates.products(problem.mode, problem.left_values, problem.structure)
    else:
        products = rates.masked(problem.mode, comparison.packing, EXPECTED)
        # What is kept of the left operand is found as often as it is walked over; the SX engine counts beside copies.
        vector = vector + left_times * total(rates.vector, (m, c.m), (k, c.k))[tile]
        copies = np.maximum(copies, left_times * total(rates.counting, (m, c.m), (k, c.k))[tile])
        first = first + distinct(rates.vector, c.m, c.k) + distinct(rates.counting, c.m, c.k)
        instructions = instructions + 3 * left_times * turns["i"] * turns["k"]
    array = batch * total(products, (m, c.m), (n, c.n), (k, c.k))[tile]
    panels = (
        panels_of(c, left, "i", m, left_times * left_once[0][tile], left_times, array / turns["j"]),
        panels_of(c, right, "j", n, right_times * right_once[0][tile], right_times, array / turns["i"]),
    )
    single, double = sram_bytes(problem, c, strip, rest, panels, gathered)
    acc, sets = acc_bytes(c, rest, batch)
    parts = parts_bytes(problem, c)
    parts_in_acc = 2 * acc + parts <= rates.acc_bytes
    single, double = (size + where(parts_in_acc, 0, parts) for size in (single, double))
    # The array waits for the epilogue of every set of accumulators where there is room for one only.
    stall = where(rest == Rest.ACC, sets * (last + rates.fill), vector + sets * rates.fill)
    row_work = array / (turns["i"] * c.turned("b", [way.runs_inside("i", "b") for way in ways]))
    for axis in "jk":
        row_work = row_work / c.turned(axis, [not way.runs_inside(axis, "i") for way in ways])
    loading = 0 if right.resident else 1 + right.passes
    per_column = turns["i"] * (finishing + turns["k"]) + turns["k"] * loading
    steps = epilogue.passes + bool(epilogue.stored) + bool(epilogue.loaded)
    return _Table(
        candidates=c,
        possible=possible,
        strip=strip,
        array=array,
        channel=loads[0] + stores[0],
        vector=vector,
        copies=copies,
        serial=first[tile] + last + rates.start,
        stall=stall,
        instructions=instructions,
        single=single,
        double=double,
        panels=panels,
        acc=acc,
        parts_in_acc=parts_in_acc,
        bodies=Bodies(
            candidates=c,
            rows=np.minimum(tile_m, m),
            following=(turns["i"] - 1) * row_work,
            others=double - panels[1].held,
            per_column=per_column / tile_n,
            per_block=steps + turns["k"],
            loads=turns["k"] * loading,
            strip=strip,
        ),
    )


@lru_cache(maxsize=4096)
def search(problem: MatmulProblem, rates: Rates, sram: int, acc: int) -> Decision:
    """The cheapest tiling of `problem` in `sram` and `acc` bytes. Raises CapacityError where no tile fits."""
    # Kernels that differ in their neighbours share all else.
    seamless = replace(problem, seam=Seam(), crowded=False)
    table = _evaluated(seamless, rates, False, 0)
    feasible = (table.single <= sram) & (table.acc <= acc)
    if not np.any(feasible):
        table = _evaluated(seamless, rates, True, 0)
        feasible = (table.single <= sram) & (table.acc <= acc)
    if not np.any(feasible):
        raise _no_room(problem, table, sram, acc)
    found = _cheapest(problem, rates, table, 0, sram, acc)
    columns = _columns_of_burst(problem, rates)
    if columns:
        # Rows of a packed result are so short that a tile's are less than what DRAM takes at once.
        table = _evaluated(seamless, rates, False, columns)
        if np.any(table.possible & (table.single <= sram) & (table.acc <= acc)):
            gathered = _cheapest(problem, rates, table, columns, sram, acc)
            if gathered.chosen.score < found.chosen.score:
                return gathered
    return found


def _columns_of_burst(problem: MatmulProblem, rates: Rates) -> int:
    """Columns of a packed result that are whole bursts of DRAM, if it can be cut into such; else 0."""
    width = problem.epilogue.stored
    if not 0 < width < 1 or problem.batch != 1:
        return 0
    columns = int(rates.machine.dram.burst_bytes / width)
    return columns if columns < problem.n and problem.n % columns == 0 else 0


def _cheapest(problem: MatmulProblem, rates: Rates, table: _Table, gathered: int, sram: int, acc: int) -> Decision:
    """The cheapest candidate of `table`, of which one at least is feasible."""
    c = table.candidates
    feasible = table.possible & (table.single <= sram) & (table.acc <= acc)
    doubled = table.double <= sram
    # With one set of accumulators the array waits for every epilogue, and runs dry.
    array = table.array + where(2 * table.acc <= acc, 0, table.stall)
    edges = possible_edges(problem, rates)
    block = edges.block
    lead = best_ends(problem, rates, table.bodies, edges, sram, arriving=True)
    # Columns that are stored at once are whole bursts from the first on.
    edges = Edges() if gathered else edges
    tail = best_ends(problem, rates, table.bodies, edges, sram, arriving=False)
    seam = lead.wait + tail.wait
    # What is held is loaded in one turn of the loop across which it is, unless there is room for the next beside it.
    # While the first rows are awaited, that hides.
    need = table.double
    for panels in table.panels:
        need = need + where(panels.steady, 0, panels.held - panels.chunk)
        late = np.maximum(panels.wait - lead.wait, 0)
        array = array + where((need <= sram) & ~panels.steady, 0, late)
    bound = np.maximum(np.maximum(array, table.channel), np.maximum(table.vector, table.copies))
    cycles = where(doubled, bound, array + table.channel + table.vector) + table.serial + seam
    # What lies on chip keeps out the next kernel's first loads, as hidden DRAM cycles do.
    loaded = np.maximum(table.channel, table.copies) + table.double / rates.transfer
    burden = CHANNEL_SHARE * loaded + INSTRUCTION_CYCLES * table.instructions + lead.burden + tail.burden
    if problem.crowded:
        burden = burden - COVERED * table.serial
    score = np.where(feasible, cycles + burden, np.inf)
    best = int(np.argmin(score))
    # Of a forced order there is no other.
    orders = np.array([problem.choice.order or way.order for way in c.ways])
    others = np.where(orders[c.way] == orders[c.way[best]], np.inf, score)
    second = int(np.argmin(others))

    def plan(index: int) -> MatmulPlan:
        way, tile, two = c.ways[int(c.way[index])], int(c.tile[index]), bool(doubled[index])
        first = int(lead.columns[index])
        return MatmulPlan(
            way.order,
            *(int(column[tile]) for column in (c.m, c.n, c.k)),
            strip=int(table.strip[index]),
            holds=way.holds,
            rest=way.rest,
            lead=first,
            tail=min(int(tail.columns[index]), problem.n - first),
            block=block if lead.columns[index] or tail.columns[index] else 0,
            gathered=gathered,
            parts_in_acc=bool(table.parts_in_acc[index]),
            cycles=int(cycles[index]),
            array=int(table.array[index]),
            channel=int(table.channel[index]),
            vector=int(table.vector[index]),
            seam=int(seam[index]),
            sram=int((table.double if two else table.single)[index]),
            acc=int(table.acc[index]) * (1 + bool(2 * table.acc[index] <= acc)),
            doubled=two,
            burden=int(burden[index]),
        )

    runner_up = plan(second) if np.isfinite(others[second]) else None
    return Decision(plan(best), runner_up, int(feasible.sum()))


def unsearched(problem: MatmulProblem, rates: Rates, sram: int, acc: int) -> Decision:
    """A tiling without a search: output-stationary, nothing held, in the greatest square tiles that fit (of which ACC
    has two). Raises CapacityError where no tile fits."""
    plain = replace(problem, seam=Seam(), hold=False)
    unit = rates.columns
    for side in range(isqrt(acc // 8) // unit * unit, 0, -unit):
        try:
            return search(replace(plain, choice=TileChoice("bijk", side, side, side)), rates, sram, acc)
        except CapacityError:
            continue
    return search(replace(plain, choice=TileChoice("bijk")), rates, sram, acc)


def _no_room(problem: MatmulProblem, table: _Table, sram: int, acc: int) -> CapacityError:
    least = int(np.argmin(table.single + table.acc))
    lacks_acc = bool(table.acc[least] > acc)
    forced = problem.choice != FREE
    return CapacityError(
        f"{'ACC' if lacks_acc else 'SRAM'} for the {'forced' if forced else 'least'} tile of a"
        f" {problem.m}x{problem.n}x{problem.k} product",
        need=int((table.acc if lacks_acc else table.single)[least]),
        limit=acc if lacks_acc else sram,
        levers=(*(("smaller tiles in the recipe",) if forced else ()), "a machine with more of it"),
    )
