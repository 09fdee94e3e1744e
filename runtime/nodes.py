"""What each ONNX node took: rows' costs shared among the nodes that the source map names for them.

A row made from several nodes (a fused kernel) is shared equally among those that can have asked for its
engine's work: a matrix product among the nodes that contract (MatMul, Conv, ...) if it names any, a vector
pass among the others if it names any, everything else among all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..isa.columns import Int64Array
from ..isa.engines import Engine
from ..isa.machine import Machine
from ..isa.matrix import MODE_NAMES
from ..isa.program import Program
from .costs import ProgramCosts
from .report import NodeRow
from .stalls import RowStalls

CONTRACTIONS = frozenset(
    {
        "Attention", "Conv", "ConvInteger", "ConvTranspose", "Einsum", "FusedMatMul", "Gemm", "MatMul",
        "MatMulInteger", "MatMulNBits", "MultiHeadAttention", "GroupQueryAttention", "QLinearConv",
        "QLinearMatMul",
    }
)  # fmt: skip
"""Operators whose work is matrix products."""

_MOVERS = frozenset({Engine.LD, Engine.ST})

ProductExtents = tuple[Int64Array, Int64Array]
"""Rows of the program that are matrix products, and their (m, n, k): int64 [products, 3]."""

Shares = tuple[Int64Array, Int64Array, NDArray[np.float64]]


def node_rows(
    program: Program,
    costs: ProgramCosts,
    stalls: RowStalls,
    critical: Int64Array,
    energy_pj: NDArray[np.float64],
    extents: ProductExtents,
    machine: Machine,
) -> tuple[NodeRow, ...]:
    """One row per node of the model in the program's order, then nodes that only the list of folded ones
    names. By row of the program: its `costs`, `stalls`, cycles on the `critical` path and energy."""
    row, node, share = _shares(program, costs)
    count = len(program.nodes)

    def total(values: NDArray[np.float64] | Int64Array) -> NDArray[np.float64]:
        return np.bincount(node, weights=share * values[row], minlength=count).astype(np.float64)

    def by_kind(values: Int64Array, kind: Int64Array, kinds: int) -> NDArray[np.float64]:
        """Totals [kinds, nodes] of values of rows that are of a kind each."""
        place = kind[row] * count + node
        totals = np.bincount(place, weights=share * values[row], minlength=kinds * count)
        return totals.astype(np.float64).reshape(kinds, count)

    macs, cycles, energy, on_path = (total(values) for values in (costs.macs, costs.busy, energy_pj, critical))
    dependency, channel, fill = (total(values) for values in (stalls.dependency, stalls.channel, stalls.fill))
    dram = total(costs.dram_read + costs.dram_write)
    tiles = _tiles(row[share > 0], node[share > 0], extents)
    busy_on = by_kind(costs.busy, program.table.queue, len(machine.queues))
    in_mode = by_kind(costs.macs, np.maximum(costs.mode, 0), len(MODE_NAMES))
    reasons = {note.node: f"folded by {note.subject}: {note.reason}" for note in program.folded}
    rows = [
        NodeRow(
            node=item.name,
            op=item.operator,
            path=item.path,
            form=item.form or ("" if cycles[index] else reasons.get(item.name, "")),
            engine=_engine(busy_on[:, index].tolist(), machine),
            mode=MODE_NAMES[int(in_mode[:, index].argmax())] if macs[index] else "",
            tile=tiles[index][0] if index in tiles else "",
            products=tiles[index][1] if index in tiles else 0,
            macs=round(macs[index]),
            cycles=float(cycles[index]),
            critical_cycles=float(on_path[index]),
            stall_cycles=float(dependency[index] + channel[index] + fill[index]),
            dependency_cycles=float(dependency[index]),
            channel_cycles=float(channel[index]),
            fill_cycles=float(fill[index]),
            dram_bytes=float(dram[index]),
            energy_pj=float(energy[index]),
        )
        for index, item in enumerate(program.nodes)
    ]
    known = {item.name for item in program.nodes}
    rows.extend(NodeRow(name, form=reason) for name, reason in reasons.items() if name not in known)
    return tuple(rows)


def _engine(busy: Sequence[float], machine: Machine) -> str:
    """The engine that is busy longest, of those that compute if any does; "" if none is busy."""
    longest = max(
        machine.queues,
        key=lambda queue: (busy[queue.index] > 0 and queue.engine not in _MOVERS, busy[queue.index]),
    )
    return longest.name if busy[longest.index] else ""


def _tiles(row: Int64Array, node: Int64Array, extents: ProductExtents) -> dict[int, tuple[str, int]]:
    """For each node with matrix products the commonest extents "m x n x k" of one, and how many there are."""
    products, sizes = extents
    mine = np.flatnonzero(np.isin(row, products))
    found = np.column_stack([node[mine], sizes[np.searchsorted(products, row[mine])]])
    kinds, counts = np.unique(found, axis=0, return_counts=True)
    number = np.bincount(node[mine], minlength=1)
    # The commonest of each node comes last, and stays.
    ascending: list[list[int]] = kinds[np.argsort(counts, kind="stable")].tolist()
    return {index: (f"{m}x{n}x{k}", int(number[index])) for index, m, n, k in ascending}


def _shares(program: Program, costs: ProgramCosts) -> Shares:
    """For each pair of row and node that belong together: row, node, and the node's share of the row."""
    rows = len(program.table)
    if len(program.source_offsets) == 0:
        none = np.zeros(0, dtype=np.int64)
        return none, none, np.zeros(0)
    row = np.repeat(np.arange(rows), np.diff(program.source_offsets))
    node = program.source_nodes
    contracts = np.array([item.operator in CONTRACTIONS for item in program.nodes], dtype=np.bool_)[node]
    product, vector = costs.mode[row] >= 0, costs.elements[row] > 0
    eligible = np.where(product, contracts, np.where(vector, ~contracts, True))
    found = np.bincount(row, weights=eligible, minlength=rows)
    eligible |= found[row] == 0
    count = np.bincount(row, weights=eligible, minlength=rows)
    return row, node, eligible / count[row]
