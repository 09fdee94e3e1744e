"""The memory check: in file order, no instruction reads a byte that nothing wrote, leaves its memory, or
overwrites a weight; and every byte of the outputs is written in the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..isa.blocks import Space
from ..isa.program import Program
from .accesses import Accesses, Place


@dataclass(frozen=True)
class MemoryFinding:
    """What is wrong with the accesses of `row`; None for what is wrong when all rows are done."""

    row: int | None
    reason: str


def find_memory_errors(program: Program, accesses: Accesses) -> Iterator[MemoryFinding]:
    """What is wrong, in file order. Extents in registers count with their declared maximum."""
    sizes = {space: program.machine.memory_bytes(space) for space in Space} | {Space.DRAM: program.dram_bytes}
    written = {space: np.zeros(size, dtype=np.bool_) for space, size in sizes.items()}
    weights = np.zeros(program.dram_bytes, dtype=np.bool_)
    for segment in program.segments:
        weights[segment.address : segment.address + segment.array.nbytes] = True
    written[Space.DRAM] |= weights
    for item in program.inputs:
        written[Space.DRAM][item.address : item.address + item.bytes] = True
    for row, touched in enumerate(accesses.by_row):
        outside = [reason for place, _ in touched if (reason := _outside(place, sizes))]
        if outside:
            yield MemoryFinding(row, outside[0])
            continue
        for place, writes in touched:
            if not writes:
                reason = _unwritten(place, written[place.space])
                if reason:
                    yield MemoryFinding(row, reason)
            elif place.space == Space.DRAM and place.view(weights).any():
                yield MemoryFinding(row, "overwrites a weight, which the next run needs")
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


def _unwritten(place: Place, written: NDArray[np.bool_]) -> str:
    here = place.view(written)
    if here.all():
        return ""
    block = place.block
    indices = np.argwhere(~here)
    lowest = int((block.address + indices @ np.array([*block.strides, 1])).min())
    return f"reads {len(indices)} bytes that nothing has written, from {place.space.text}+{lowest:#x} on"
