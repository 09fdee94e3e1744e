"""The tiling of a matrix product, chosen by the instruction records' own costs.

Of each candidate are known the busy cycles of the array, the DRAM channel, the vector engine and the copies, and
the bytes it needs on chip. Engines run side by side, so the estimate is the largest of them, plus what cannot
overlap: the first loads, the last epilogue, all that a single buffer serializes, and what the array waits for at
both ends of the kernel while rows come from, and go to, what is done row by row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from ...isa.errors import CapacityError
from ..tile_rules import FREE, TileChoice
from .loop_order import UNROLLED
from .matmul_candidates import Candidates, candidates
from .matmul_plan import Decision, MatmulPlan, Rest
from .matmul_problem import MatmulProblem, Operand, Seam
from .rates import Column, Rates, TileCost
from .search import CHANNEL_SHARE, INSTRUCTION_CYCLES, aligned, ceil, distinct, total, where

PARTIAL_BYTES = 4
"""Bytes of a sum that is not finished."""

STRIP_BYTES = 16384
"""A finished tile goes through the vector engine in strips of rows for which the epilogue keeps at most so many bytes,
so that a large accumulator tile needs no large buffers beside it."""

MOST_BLOCKS = 8
"""The rows of the columns at a kernel's ends are cut into at most so many blocks."""

EDGE_WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16)
"""How many of the array's widths the columns at an end are tried with."""


@dataclass(frozen=True, eq=False)
class _Edge:
    """Columns at a kernel's end that are done in row blocks: their number, bytes of their weights, and what the array
    waits for at each end then."""

    columns: int
    bytes: int
    arrival: float
    departure: float


@dataclass(frozen=True, eq=False)
class _Panels:
    """What an operand has on chip at once, as columns of bytes: `held` of what it is used from, `raw` of what is still
    to be prepared, `chunk` of one buffer of either; and `wait`, the cycles for which the array waits if there is no
    room for the next panel beside the one at hand. `steady`: it is loaded once."""

    held: Column
    raw: Column
    chunk: Column
    wait: Column
    steady: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Table:
    """Columns of what each candidate costs, and its bytes on chip with one and with two of each streamed buffer.

    `arrival` and `departure` are what the array waits for at the ends without edges, `stall` for the epilogues where
    ACC has room for one set of sums; `per_column` the instructions that a column takes, `per_edge` those of an edge;
    `block` is the rows of `edges`.
    """

    candidates: Candidates
    strip: Column
    array: Column
    channel: Column
    vector: Column
    copies: Column
    serial: Column
    stall: Column
    arrival: NDArray[np.float64]
    departure: NDArray[np.float64]
    instructions: Column
    per_column: NDArray[np.float64]
    per_edge: Column
    single: Column
    double: Column
    panels: tuple[_Panels, _Panels]
    acc: Column
    has_edges: NDArray[np.bool_]
    block: int
    edges: tuple[_Edge, ...]


def _fetching(rates: Rates, operand: Operand) -> TileCost:
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
    c = candidates(problem, rates, fine)
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
    for size, moved in ((epilogue.loaded, loads), (epilogue.stored, stores)):
        if size:
            moved += batch * total(rates.copies(n, size), (m, c.m), (n, c.n))[:, tile]
    # Unfinished sums: written by every turn of k but the last, read by every one but the first.
    unfinished = where(moves, turns["k"] - 1, 0)
    if np.any(rest == Rest.DRAM):
        partial = batch * total(rates.copies(n, PARTIAL_BYTES), (m, c.m), (n, c.n))[:, tile]
        partial = partial * where(rest == Rest.DRAM, unfinished, 0)
        loads, stores = loads + partial, stores + partial
    bytes_each = max(1, epilogue.loaded + epilogue.stored + epilogue.kept) + where(moves, PARTIAL_BYTES, 0)
    tile_m, tile_n = c.m[tile], c.n[tile]
    strip = ceil(tile_m, ceil(tile_m * tile_n * bytes_each, STRIP_BYTES))
    vector = batch * (epilogue.passes + unfinished) * total(rates.vector, (m, strip), (n, tile_n))
    if left.passes:
        vector = vector + left.passes * left_times * total(rates.vector, (m, c.m), (k, c.k))[tile]
    if right.passes:
        vector = vector + right.passes * right_times * total(rates.vector, (k, c.k), (n, c.n))[tile]
    first = distinct(_fetching(rates, left), c.m, c.k)[0] + distinct(_fetching(rates, right), c.k, c.n)[0]
    last = epilogue.passes * distinct(rates.vector, strip, tile_n)
    if epilogue.stored:
        last = last + distinct(rates.copies(n, epilogue.stored), strip, tile_n)[0]
    strips = ceil(tile_m, strip)
    finishing = strips * (epilogue.passes + bool(epilogue.stored) + bool(epilogue.loaded))
    finishing = finishing + strips * where(rest == Rest.DRAM, 3, 1) * unfinished
    instructions = batch * turns["i"] * turns["j"] * (finishing + turns["k"])
    for operand, times, across in ((left, left_times, turns["i"]), (right, right_times, turns["j"])):
        if not operand.resident:
            instructions = instructions + times * across * turns["k"] * (1 + operand.passes)
    array = batch * total(rates.products(problem.mode), (m, c.m), (n, c.n), (k, c.k))[tile]
    panels = (
        _panels(c, left, "i", m, left_times * left_once[0][tile], left_times, array / turns["j"]),
        _panels(c, right, "j", n, right_times * right_once[0][tile], right_times, array / turns["i"]),
    )
    single, double = _sram(problem, c, strip, rest, panels)
    acc, sets = _acc(c, rest, batch)
    # The array waits for the epilogue of every set of accumulators where there is room for one only.
    stall = where(rest == Rest.ACC, sets * (last + rates.fill), vector + sets * rates.fill)
    row_work = array / (turns["i"] * c.turned("b", [way.runs_inside("i", "b") for way in ways]))
    for axis in "jk":
        row_work = row_work / c.turned(axis, [not way.runs_inside(axis, "i") for way in ways])
    seam = problem.seam
    rows = np.minimum(tile_m, m)
    waits = [np.maximum(rows * pace, m * pace - (turns["i"] - 1) * row_work) for pace in (seam.arrival, seam.departure)]
    loading = 0 if right.resident else 1 + right.passes
    per_column = turns["i"] * (finishing + turns["k"]) + turns["k"] * loading
    block, edges = _edges(problem, rates)
    steps = epilogue.passes + bool(epilogue.stored) + bool(epilogue.loaded)
    return _Table(
        candidates=c,
        strip=strip,
        array=array,
        channel=loads[0] + stores[0],
        vector=vector,
        copies=np.maximum(loads[1], stores[1]),
        serial=first[tile] + last + rates.start,
        stall=stall,
        arrival=waits[0],
        departure=waits[1],
        instructions=instructions,
        per_column=per_column / tile_n,
        per_edge=ceil(m, max(block, 1)) * (steps + turns["k"]) + turns["k"] * loading,
        single=single,
        double=double,
        panels=panels,
        acc=acc,
        has_edges=np.array([way.has_edges for way in ways])[c.way] & (turns["k"] <= UNROLLED),
        block=block,
        edges=edges,
    )


def _acc(c: Candidates, rest: Column, batch: int) -> tuple[Column, Column]:
    """Bytes of ACC that the sums alive at once take, and how many such sets there are."""
    size, sets = c.m[c.tile] * c.n[c.tile], np.full_like(c.tile, batch)
    for axis in "ij":
        sets = sets * c.turns[axis][c.tile]
    for axis in "bij":
        alive = c.turned(axis, [way.rest is Rest.ACC and way.runs_inside(axis, "k") for way in c.ways])
        size, sets = size * alive, sets // alive
    return aligned(size * 4), sets


def _panels(
    c: Candidates, operand: Operand, axis: str, extent: int, loading: Column, times: Column, work: NDArray[np.float64]
) -> _Panels:
    """The panels of an operand along `axis` of the product, of `extent`: all loads take `loading` cycles, and while it
    is held each of them has to hide behind one turn of the loop that it is held across: `work` in all."""
    fetches = [way.left if axis == "i" else way.right for way in c.ways]
    nothing = np.zeros_like(c.tile)
    outside = [set(way.order[: one.level]) - set(way.single) for way, one in zip(c.ways, fetches, strict=True)]
    steady = c.of_way([not axes for axes in outside]) > 0
    if operand.lies_ready:
        return _Panels(nothing, nothing, nothing, nothing, steady)
    across = where(c.of_way([axis in one.whole for one in fetches]), extent, (c.m if axis == "i" else c.n)[c.tile])
    chunk = aligned(across * c.k[c.tile] * (operand.prepared or operand.bytes))
    raw = aligned(across * c.k[c.tile] * operand.bytes * (bool(operand.prepared) and not operand.resident))
    is_held = c.of_way([("left" if axis == "i" else "right") in way.holds for way in c.ways])
    return _Panels(
        held=chunk * c.turned("k", ["k" in one.whole for one in fetches]),
        raw=raw,
        chunk=chunk,
        wait=where(is_held, np.maximum(loading - times * work, 0), 0),
        steady=steady,
    )


def _sram(
    problem: MatmulProblem, c: Candidates, strip: Column, rest: Column, panels: tuple[_Panels, ...]
) -> tuple[Column, Column]:
    """Bytes of SRAM with one and with two of every buffer whose content changes while the kernel runs."""
    tile_m, tile_n = c.m[c.tile], c.n[c.tile]
    single, double, largest = np.zeros_like(tile_m), np.zeros_like(tile_m), np.zeros_like(tile_m)
    for one in panels:
        single = single + one.held + one.raw
        # A panel is held as one buffer a chunk of its depth: the next panel's first chunk needs room of its own.
        double = double + one.held + where(one.steady, 0, one.chunk) + 2 * one.raw
        largest = np.maximum(largest, where(one.steady, 0, one.chunk))
    epilogue = problem.epilogue
    size = strip * tile_n
    for moved in (epilogue.loaded, epilogue.stored):
        if moved:
            single, double = single + aligned(size * moved), double + 2 * aligned(size * moved)
    away = where(rest == Rest.DRAM, aligned(size * PARTIAL_BYTES), 0)
    resting = tile_m * tile_n * PARTIAL_BYTES
    for axis in "bij":
        resting = resting * c.turned(axis, [way.runs_inside(axis, "k") for way in c.ways])
    kept = aligned(size * epilogue.kept) + 2 * aligned(tile_n * epilogue.rows) + where(rest == Rest.SRAM, resting, 0)
    # Buffers of unlike sizes leave holes that no large one fits: what streams needs room for one more.
    return single + 2 * away + kept, double + 3 * away + kept + largest


def _edges(problem: MatmulProblem, rates: Rates) -> tuple[int, tuple[_Edge, ...]]:
    """The rows of a block at a kernel's ends, and the columns that can be done in such blocks there."""
    seam = problem.seam
    blocks = min(problem.m // rates.least_rows, MOST_BLOCKS)
    if blocks < 2 or not (seam.arrival or seam.departure):
        return 0, ()
    block = ceil(problem.m, blocks)
    # Where more than half of the columns would be an edge, blocks of rows are the tiles of the whole product.
    widths = rates.columns * np.array(EDGE_WIDTHS)
    widths = widths[(2 * block * widths * 4 <= rates.acc_bytes) & (2 * widths <= problem.n)]
    if not len(widths):
        return 0, ()
    work = rates.product(problem.mode, np.array(block), widths, np.array(problem.k))
    found: list[_Edge] = []
    for width, cycles in zip(widths.tolist(), work.tolist(), strict=True):
        waits = [max(block * pace, problem.m * pace - (blocks - 1) * cycles) for pace in (seam.arrival, seam.departure)]
        size = 0 if problem.right.lies_ready else width * problem.k * (problem.right.prepared or problem.right.bytes)
        found.append(_Edge(width, size, *waits))
    return block, tuple(found)


@dataclass(frozen=True, eq=False)
class _Ends:
    """For every candidate, the columns of the best edge at one end, and what it costs in waiting and beside that."""

    columns: Column
    wait: NDArray[np.float64]
    burden: NDArray[np.float64]


def _ends(problem: MatmulProblem, rates: Rates, table: _Table, sram: int, arriving: bool) -> _Ends:
    # The first products wait for the weights of all columns of an edge, later ones load while others are at work.
    c = table.candidates
    loading = 0 if problem.right.lies_ready or not arriving else problem.right.bytes * c.k[c.tile]
    plain = table.arrival if arriving else table.departure
    columns, wait, burden = np.zeros_like(table.array), plain, np.zeros_like(plain)
    if not np.any(plain):
        return _Ends(columns, wait, burden)
    for edge in table.edges:
        more_loaded = np.maximum(edge.columns - c.n[c.tile], 0) * loading
        cycles = more_loaded / rates.machine.dram.bytes_per_cycle + (edge.arrival if arriving else edge.departure)
        more = INSTRUCTION_CYCLES * (table.per_edge - edge.columns * table.per_column)
        fits = table.has_edges & (table.double - table.panels[1].held + edge.bytes <= sram)
        better = fits & (cycles + more < wait + burden)
        columns = np.where(better, edge.columns, columns)
        wait, burden = np.where(better, cycles, wait), np.where(better, more, burden)
    return _Ends(columns, wait, burden)


@lru_cache(maxsize=4096)
def search(problem: MatmulProblem, rates: Rates, sram: int, acc: int) -> Decision:
    """The cheapest tiling of `problem` in `sram` and `acc` bytes. Raises CapacityError where no tile fits."""
    table = _evaluated(problem, rates, False)
    feasible = (table.single <= sram) & (table.acc <= acc)
    if not np.any(feasible):
        table = _evaluated(problem, rates, True)
        feasible = (table.single <= sram) & (table.acc <= acc)
    if not np.any(feasible):
        raise _no_room(problem, table, sram, acc)
    c = table.candidates
    doubled = table.double <= sram
    # With one set of accumulators the array waits for every epilogue, and runs dry.
    array = table.array + where(2 * table.acc <= acc, 0, table.stall)
    # What is held is loaded in one turn of the loop across which it is, unless there is room for the next beside it.
    need = table.double
    for panels in table.panels:
        need = need + where(panels.steady, 0, panels.held - panels.chunk)
        array = array + where((need <= sram) & ~panels.steady, 0, panels.wait)
    bound = np.maximum(np.maximum(array, table.channel), np.maximum(table.vector, table.copies))
    lead, tail = (_ends(problem, rates, table, sram, arriving) for arriving in (True, False))
    seam = lead.wait + tail.wait
    cycles = where(doubled, bound, array + table.channel + table.vector) + table.serial + seam
    # What lies on chip keeps out the next kernel's first loads, as hidden DRAM cycles do.
    loaded = table.channel + table.double / rates.machine.dram.bytes_per_cycle
    burden = CHANNEL_SHARE * loaded + INSTRUCTION_CYCLES * table.instructions + lead.burden + tail.burden
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
            block=table.block if lead.columns[index] or tail.columns[index] else 0,
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
