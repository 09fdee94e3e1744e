"""The memory check: in file order, no instruction reads a byte that nothing wrote, or leaves its memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..isa.blocks import Space
from ..isa.machine import Machine
from .accesses import Accesses, Place


@dataclass(frozen=True)
class MemoryFinding:
    """What is wrong with the accesses of `row`."""

    row: int
    reason: str


def find_unwritten_reads(
    accesses: Accesses, machine: Machine, dram_bytes: int, given: Iterable[tuple[int, int]]
) -> Iterator[MemoryFinding]:
    """Reads of bytes that no earlier instruction wrote, and accesses out of range, in file order.

    `dram_bytes` is the size of the program's DRAM; `given` holds (first, one past last) bytes of it that
    stand there before the program starts: weights and inputs. Extents in registers count with their declared
    maximum.
    """
    sizes = {space: machine.memory_bytes(space) for space in Space} | {Space.DRAM: dram_bytes}
    written = {space: np.zeros(size, dtype=np.bool_) for space, size in sizes.items()}
    for first, last in given:
        written[Space.DRAM][first:last] = True
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
        for place, writes in touched:
            if writes:
                for first, last in place.intervals(1):
                    written[place.space][first:last] = True


def _outside(place: Place, sizes: dict[Space, int]) -> str:
    low, high = place.bounds
    size = sizes[place.space]
    if low >= 0 and high <= size:
        return ""
    return f"bytes {low} to {high - 1} of {place.space.text} are outside its {size} bytes"


def _unwritten(place: Place, written: NDArray[np.bool_]) -> str:
    for first, last in place.intervals(1):
        here = written[first:last]
        if not here.all():
            lowest = first + int(np.argmin(here))
            missing = int((~here).sum())
            where = f"{place.space.text}+{lowest:#x}"
            return f"reads {missing} bytes that nothing has written, from {where} on"
    return ""
