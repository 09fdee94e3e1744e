"""What the instructions of each kernel took together: those that the source map gives the same ONNX nodes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..isa.columns import Int64Array
from ..isa.matrix import MODE_NAMES
from ..isa.program import Program
from .costs import ProgramCosts
from .report import KernelRow
from .timing import Timeline


def kernel_rows(
    program: Program, costs: ProgramCosts, timeline: Timeline, energy_pj: NDArray[np.float64]
) -> tuple[KernelRow, ...]:
    """One row a kernel, in the order of their first instructions; none for a program that names no nodes."""
    kernel, nodes = kernels_of(program)
    if not nodes:
        return ()
    count = len(nodes)
    sums: list[list[float]] = [
        np.bincount(kernel, weights=values, minlength=count).tolist()
        for values in (costs.macs, costs.elements, costs.dram_read + costs.dram_write, energy_pj)
    ]
    instructions: list[int] = np.bincount(kernel, minlength=count).tolist()
    modes = _modes(kernel, costs, count)
    cycles = _working(kernel, timeline, count)
    rows: list[KernelRow] = []
    for index, places in enumerate(nodes):
        macs, elements, moved, energy = (column[index] for column in sums)
        rows.append(
            KernelRow(
                nodes=tuple(program.nodes[place].name for place in places),
                path=program.nodes[places[0]].path if places else "",
                mode=modes[index],
                instructions=instructions[index],
                macs=round(macs),
                elements=round(elements),
                dram_bytes=round(moved),
                cycles=cycles[index],
                energy_pj=energy,
            )
        )
    return tuple(rows)


def kernels_of(program: Program) -> tuple[Int64Array, list[tuple[int, ...]]]:
    """The number of each row's kernel, and for each kernel its nodes, as places in the program's list of them."""
    if not len(program.source_offsets):
        return np.zeros(len(program.table), dtype=np.int64), []
    numbers: dict[tuple[int, ...], int] = {}
    offsets: list[int] = program.source_offsets.tolist()
    nodes: list[int] = program.source_nodes.tolist()
    found = [numbers.setdefault(tuple(nodes[first:last]), len(numbers)) for first, last in pairwise(offsets)]
    return np.array(found, dtype=np.int64), list(numbers)


def _modes(kernel: Int64Array, costs: ProgramCosts, count: int) -> list[str]:
    """The number mode of most of each kernel's multiply-accumulates, "" where it has none."""
    place = np.maximum(costs.mode, 0) * count + kernel
    macs = np.bincount(place, weights=costs.macs, minlength=len(MODE_NAMES) * count).reshape(-1, count)
    most: list[int] = macs.argmax(axis=0).tolist()
    return [MODE_NAMES[mode] if macs[mode, index] else "" for index, mode in enumerate(most)]


def _working(kernel: Int64Array, timeline: Timeline, count: int) -> list[int]:
    """For each kernel the cycles in which an instruction of it is at work: the union of their spans."""
    order = np.lexsort((timeline.start, kernel))
    own, start, end = kernel[order], timeline.start[order], timeline.end[order]
    # Kernels are laid out one behind the other, so that one running maximum serves all.
    stride = timeline.cycles + 1
    reach = np.maximum.accumulate(end + own * stride)
    begin = start + own * stride
    covered = np.append(0, reach[:-1])
    fresh = np.maximum(reach - np.maximum(begin, covered), 0)
    return np.bincount(own, weights=fresh, minlength=count).astype(np.int64).tolist()
