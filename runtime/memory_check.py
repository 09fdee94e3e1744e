"""The memory check: in file order, no instruction reads a byte that nothing wrote, leaves its memory, or
overwrites a weight; and every byte of the outputs is written in the end."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..isa.blocks import Space
from ..isa.columns import Int64Array
from ..isa.frozen import frozen
from ..isa.program import Program
from .accesses import Accesses, Place


@frozen
class MemoryFinding:
    """What is wrong with the accesses of `row`; None for what is wrong when all rows are done."""

    row: int | None
    reason: str


def find_memory_errors(program: Program, accesses: Accesses) -> Iterator[MemoryFinding]:
    """What is wrong, in file order. Extents in registers count with their declared maximum."""
    sizes = {space: program.machine.memory_bytes(space) for space in Space} | {Space.DRAM: program.dram_bytes}
    written = {space: np.zeros(size, dtype=np.bool_) for space, size in sizes.items()}
    weights = np.array([(item.address, item.address + item.array.nbytes) for item in program.segments]).reshape(-1, 2)
    for first, last in weights.tolist():
        written[Space.DRAM][first:last] = True
    for item in program.inputs:
        written[Space.DRAM][item.address : item.address + item.bytes] = True
    # Bytes once written stay so: an access that was in order is so again.
    fine: set[tuple[Place, bool]] = set()
    for row, accesses_of_row in enumerate(accesses.by_row):
        touched = [access for access in accesses_of_row if access not in fine]
        outside = [reason for place, _ in touched if (reason := _outside(place, sizes))]
        if outside:
            yield MemoryFinding(row, outside[0])
            continue
        for place, writes in touched:
            if not writes:
                reason = _unwritten(place, written[place.space])
            elif place.space == Space.DRAM and _overlap(place, weights):
                reason = "overwrites a weight, which the next run needs"
            else:
                reason = ""
            if reason:
                yield MemoryFinding(row, reason)
            else:
                fine.add((place, writes))
        for place, writes in touched:
            if writes:
                place.view(written[place.space])[...] = True
    for item in program.outputs:
        missing = int((~written[Space.DRAM][item.address : item.address + item.bytes]).sum())
        if missing:
            yield MemoryFinding(None, f"output {item.name!r}: {missing} of its {item.bytes} bytes are never written")


def _outside(place: Place, sizes: dict[Space, int]) -> str:
    low, high = place.bounds
    size = sizes[place.space]
    if low >= 0 and high <= size:
        return ""
    return f"bytes {low} to {high - 1} of {place.space.text} are outside its {size} bytes"


def _overlap(place: Place, spans: Int64Array) -> bool:
    """Whether a block has bytes in any of `spans`, [count, 2] of first and one past last."""
    low, high = place.bounds
    near = spans[(spans[:, 0] < high) & (spans[:, 1] > low)]
    if not len(near):
        return False
    own = place.block.intervals(1)
    return bool(((near[:, :1] < own[:, 1]) & (near[:, 1:] > own[:, 0])).any())


def _unwritten(place: Place, written: NDArray[np.bool_]) -> str:
    here = place.view(written)
    if here.all():
        return ""
    block = place.block
    indices = np.argwhere(~here)
    lowest = int((block.address + indices @ np.array([*block.strides, 1])).min())
    return f"reads {len(indices)} bytes that nothing has written, from {place.space.text}+{lowest:#x} on"
