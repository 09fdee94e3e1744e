"""Edges: the first and last columns of a product, done in row blocks, so that rows come and go one block after another.

A block of rows is worked through all columns of the edge before the next, from weights that stay; between the edges
the product is tiled as is best for it alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...isa.frozen import frozen
from .loop_order import UNROLLED
from .matmul_candidates import Candidates
from .matmul_problem import MatmulProblem
from .rates import Column, Rates
from .search import INSTRUCTION_CYCLES, ceil

MOST_BLOCKS = 8
"""The rows of the columns at a kernel's ends are cut into at most so many blocks."""

EDGE_WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16)
"""How many of the array's widths the columns at an end are tried with."""


@frozen(eq=False)
class Edge:
    """Columns at a kernel's end that are done in row blocks: their number, bytes of their weights, and what the array
    waits for at each end then."""

    columns: int
    bytes: float
    arrival: float
    departure: float


@frozen(eq=False)
class Edges:
    """What can be done in blocks of `block` rows at a kernel's ends."""

    block: int = 0
    choices: tuple[Edge, ...] = ()


@frozen(eq=False)
class Bodies:
    """What edges are added to, as columns: `rows` of the first tile, array cycles of those `following` it, the bytes on
    chip of the `others` than the right operand; of instructions those that a column takes (`per_column`), and of an
    edge those that a block of rows takes (`per_block`) and the `loads`. Tiles are finished in strips of
    `strip` rows."""

    candidates: Candidates
    rows: Column
    following: NDArray[np.float64]
    others: Column
    per_column: NDArray[np.float64]
    per_block: Column
    loads: Column
    strip: Column


def possible_edges(problem: MatmulProblem, rates: Rates) -> Edges:
    """The columns that can be done in blocks of rows at a product's ends."""
    seam = problem.seam
    blocks = min(problem.m // rates.least_rows, MOST_BLOCKS)
    if blocks < 2 or not (seam.arrival or seam.departure) or problem.n % problem.output_grain:
        return Edges()
    block = ceil(problem.m, blocks)
    # Where more than half of the columns would be an edge, blocks of rows are the tiles of the whole product.
    widths = rates.columns * np.array(EDGE_WIDTHS)
    widths = widths[(2 * block * widths * 4 <= rates.acc_bytes) & (2 * widths <= problem.n)]
    widths = widths[widths % problem.output_grain == 0]
    if not len(widths):
        return Edges()
    work = rates.product(
        problem.mode, np.array(block), widths, np.array(problem.k), problem.left_values, problem.structure
    )
    found: list[Edge] = []
    for width, cycles in zip(widths.tolist(), work.tolist(), strict=True):
        waits = [max(block * pace, problem.m * pace - (blocks - 1) * cycles) for pace in (seam.arrival, seam.departure)]
        size = 0 if problem.right.lies_ready else width * problem.k * (problem.right.prepared or problem.right.bytes)
        found.append(Edge(width, size, *waits))
    return Edges(block, tuple(found))


@frozen(eq=False)
class Ends:
    """For every candidate, the columns of the best edge at one end, and what it costs in waiting and beside that."""

    columns: Column
    wait: NDArray[np.float64]
    burden: NDArray[np.float64]


def best_ends(problem: MatmulProblem, rates: Rates, bodies: Bodies, edges: Edges, sram: int, arriving: bool) -> Ends:
    """The best edge at one end of every candidate, if any fits in `sram` bytes and pays."""
    # The first product of an edge waits for a piece of the weights of all its columns.
    c = bodies.candidates
    loading = 0 if problem.right.lies_ready else problem.right.bytes * c.k[c.tile]
    pace = problem.seam.arrival if arriving else problem.seam.departure
    plain = np.maximum(bodies.rows * pace, problem.m * pace - bodies.following)
    columns, wait, burden = np.zeros_like(c.tile), plain, np.zeros_like(plain)
    if not np.any(plain):
        return Ends(columns, wait, burden)
    possible = np.array([way.has_edges for way in c.ways])[c.way] & (c.turns["k"][c.tile] <= UNROLLED)
    per_edge = ceil(problem.m, max(edges.block, 1)) * bodies.per_block + bodies.loads
    epilogue = problem.epilogue
    each = 2 * (epilogue.loaded + epilogue.stored) + epilogue.kept
    tile = c.n[c.tile]
    for edge in edges.choices:
        # The strips of an edge are wider than those of a tile.
        strips = (np.minimum(bodies.strip, edges.block) * edge.columns - bodies.strip * tile) * each
        wider = np.maximum(strips, 0) + np.maximum(edge.columns - tile, 0) * 2 * epilogue.rows
        more_loaded = np.maximum(edge.columns - c.n[c.tile], 0) * loading
        cycles = more_loaded / rates.machine.dram.bytes_per_cycle + (edge.arrival if arriving else edge.departure)
        more = INSTRUCTION_CYCLES * (per_edge - edge.columns * bodies.per_column)
        fits = possible & (bodies.others + edge.bytes + wider <= sram)
        better = fits & (cycles + more < wait + burden)
        columns = np.where(better, edge.columns, columns)
        wait, burden = np.where(better, cycles, wait), np.where(better, more, burden)
    return Ends(columns, wait, burden)
