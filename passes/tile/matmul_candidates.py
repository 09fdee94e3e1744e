"""The tilings of a matrix product that are worth a look: sizes of tiles, and ways to walk over them.

A way is a loop order with what is held and where unfinished sums rest. Orders that differ in nothing but where loops
of one turn stand are the same way; a batch of which no operand is shared is always walked outermost.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from math import lcm
from typing import Any

import numpy as np

from ...isa.frozen import frozen
from ..tile_rules import FREE
from .loop_order import AXES, ORDERS, UNROLLED, Fetch, canonical, fetch, inside
from .matmul_plan import Rest
from .matmul_problem import MatmulProblem
from .rates import Column, Rates
from .search import ceil, pieces, row_pieces


@frozen
class Way:
    """A canonical order, whose loops over `single` turn once, with what it holds and where its sums rest."""

    order: str
    single: str
    left: Fetch
    right: Fetch
    holds: frozenset[str]
    rest: Rest

    def runs_inside(self, axis: str, outer: str) -> bool:
        """Whether the loop over `axis` turns more than once inside of the loop over `outer`."""
        return axis in inside(self.order, outer) and axis not in self.single

    @cached_property
    def has_edges(self) -> bool:
        """Whether its first and last columns can be done apart: all rows of a column tile before the next."""
        rows_inside = "i" in self.single or self.order.index("j") < self.order.index("i")
        return "b" in self.single and not self.rest and rows_inside


@frozen(eq=False)
class Candidates:
    """Distinct tiles m x n x k, with the turns of their loops over rows, columns and depth; and candidates as pairs of
    a tile (`tile`) and a way of `ways` (`way`)."""

    m: Column
    n: Column
    k: Column
    turns: dict[str, Column]
    ways: tuple[Way, ...]
    tile: Column
    way: Column

    def of_way(self, values: list[Any]) -> Column:
        """A column of a value that each way has."""
        return np.array(values, dtype=np.int64)[self.way]

    def turned(self, axis: str, flags: list[bool]) -> Column:
        """The turns of the loop over `axis` where a way's flag says so, else 1."""
        return np.where(np.array(flags)[self.way], self.turns[axis][self.tile], 1)


def _sizes(problem: MatmulProblem, rates: Rates, fine: bool) -> tuple[Column, Column, Column]:
    """All tiles whose accumulators fit; `fine` ones go below the array's size."""
    choice = problem.choice
    rows = row_pieces(problem.m, 1 if fine else rates.least_rows)
    columns = pieces(problem.n, problem.output_grain if fine else lcm(rates.columns, problem.output_grain))
    depth = rates.depth(problem.mode, problem.left_values, problem.structure)
    depths = pieces(problem.k, problem.grain if fine else lcm(depth, problem.grain))
    axes = [
        np.array((min(ceil(forced, grain) * grain, extent),) if forced else found)
        for forced, extent, found, grain in (
            (choice.rows, problem.m, rows, 1),
            (choice.columns, problem.n, columns, problem.output_grain),
            (choice.depth, problem.k, depths, problem.grain),
        )
    ]
    m, n, k = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    fits = m * n * 4 <= rates.acc_bytes
    if problem.comparison is not None:
        fits &= m * k <= problem.comparison.largest
    if not np.any(fits):
        fits = (m * n) == np.min(m * n)
    return m[fits], n[fits], k[fits]


@lru_cache(maxsize=1024)
def _ways(order: str | None, single: str, holdable: tuple[bool, bool], shared: tuple[bool, bool]) -> tuple[Way, ...]:
    """The ways to walk over tiles where the loops of `single` turn once; for left and right operand, whether it may be
    held and whether a batch shares it."""
    orders = dict.fromkeys(canonical(o, single) for o in (ORDERS if order is None else (order,)))
    found: list[Way] = []
    for name in orders:
        active = name[len(single) :]
        if order is None and "b" in active[1:] and not any(shared):
            continue
        split = "k" in active[:-1]
        rests = (Rest.ACC, Rest.SRAM, Rest.DRAM) if split else (Rest.NOWHERE,)
        sides: list[list[tuple[bool, Fetch]]] = []
        for axes, across, may_hold, is_shared in zip(("bik", "bkj"), "ji", holdable, shared, strict=True):
            indexes = axes.replace("b", "") if is_shared else axes
            passing = fetch(name, indexes, across, held=False)
            options = [(False, passing)]
            if across in active and name.index(across) < passing.level and may_hold:
                options.append((True, fetch(name, indexes, across, held=True)))
            sides.append([(held, option) for held, option in options if "b" in single or "b" not in option.whole])
        for left_held, left in sides[0]:
            for right_held, right in sides[1]:
                holds = frozenset(side for side, held in (("left", left_held), ("right", right_held)) if held)
                found += [Way(name, single, left, right, holds, rest) for rest in rests]
    return tuple(found)


def candidates(problem: MatmulProblem, rates: Rates, fine: bool) -> Candidates:
    """All combinations of tiles and ways."""
    m, n, k = _sizes(problem, rates, fine)
    turns = {
        "b": np.full_like(m, problem.batch),
        "i": ceil(problem.m, m),
        "j": ceil(problem.n, n),
        "k": ceil(problem.k, k),
    }
    left, right = problem.left, problem.right
    holdable = (problem.hold and not left.lies_ready, problem.hold and not right.lies_ready)
    pattern = sum((turns[axis] == 1).astype(np.int64) << bit for bit, axis in enumerate(AXES))
    ways: list[Way] = []
    tiles: list[Column] = []
    numbers: list[Column] = []
    for code in np.flatnonzero(np.bincount(pattern)).tolist():
        single = "".join(axis for bit, axis in enumerate(AXES) if code >> bit & 1)
        here = np.flatnonzero(pattern == code)
        few = here[turns["k"][here] <= UNROLLED]
        for way in _ways(problem.choice.order, single, holdable, (left.shared, right.shared)):
            # Sums that go away and come back pay only in few parts.
            few_parts = "k" in way.left.whole + way.right.whole or (way.rest and problem.choice == FREE)
            chosen = few if few_parts else here
            tiles.append(chosen)
            numbers.append(np.full_like(chosen, len(ways)))
            ways.append(way)
    return Candidates(m, n, k, turns, tuple(ways), np.concatenate(tiles), np.concatenate(numbers))
