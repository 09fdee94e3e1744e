"""Cost laws of the matrix engine: cycles and port traffic of one product on an array of PEs.

`pipelined_ws` is weight-stationary with double-buffered weights: a tile takes as long as its rows of A,
padded to the array, while the next weights load. `plain_ws` and `plain_os` are the un-overlapped systolic
arrays of the literature (the analytical runtimes of SCALE-Sim, Samajdar et al., ISPASS 2020): a fold takes
2 R + C + T - 2 cycles on R x C PEs, T being the length streamed through.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .columns import Column, ceiling, larger
from .frozen import frozen
from .machine import MatrixEngine


@frozen
class ProductTraffic:
    """Cycles of a product, and how many elements pass the operand and accumulator ports."""

    busy: Column
    fill: Column
    a_elements: Column
    b_elements: Column
    acc_reads: Column
    acc_writes: Column


Law = Callable[[MatrixEngine, Column, Column, Column, Column, Column], ProductTraffic]


def _pipelined_ws(
    engine: MatrixEngine, m: Column, n: Column, k: Column, depth: Column, accumulate: Column
) -> ProductTraffic:
    k_tiles, n_tiles = ceiling(k, depth), ceiling(n, engine.columns)
    return ProductTraffic(
        busy=k_tiles * n_tiles * larger(m, engine.rows),
        fill=engine.fill_cycles + engine.drain_cycles,
        a_elements=m * k * n_tiles,
        b_elements=k * n,
        acc_reads=m * n * (k_tiles - 1 + accumulate),
        acc_writes=m * n * k_tiles,
    )


def _plain_ws(
    engine: MatrixEngine, m: Column, n: Column, k: Column, depth: Column, accumulate: Column
) -> ProductTraffic:
    k_tiles, n_tiles = ceiling(k, depth), ceiling(n, engine.columns)
    return ProductTraffic(
        busy=k_tiles * n_tiles * (2 * engine.rows + engine.columns + m - 2),
        fill=0,
        a_elements=m * k * n_tiles,
        b_elements=k * n,
        acc_reads=m * n * (k_tiles - 1 + accumulate),
        acc_writes=m * n * k_tiles,
    )


def _plain_os(
    engine: MatrixEngine, m: Column, n: Column, k: Column, depth: Column, accumulate: Column
) -> ProductTraffic:
    m_tiles, n_tiles = ceiling(m, engine.rows), ceiling(n, engine.columns)
    # A PE takes rate values of K a cycle, so K streams through in k * rows / depth cycles.
    streamed = ceiling(k * engine.rows, depth)
    return ProductTraffic(
        busy=m_tiles * n_tiles * (2 * engine.rows + engine.columns + streamed - 2),
        fill=0,
        a_elements=m * k * n_tiles,
        b_elements=k * n * m_tiles,
        acc_reads=m * n * accumulate,
        acc_writes=m * n,
    )


LAWS: Mapping[str, Law] = {"pipelined_ws": _pipelined_ws, "plain_ws": _plain_ws, "plain_os": _plain_os}
"""Laws by the name in machine files: (engine, m, n, k, depth of a tile in K, accumulate 0 or 1)."""
