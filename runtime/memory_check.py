"""The memory check: in file order, no instruction reads a byte that nothing wrote, or leaves its memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..isa.blocks import Block, Space
from ..isa.machine import Machine
from .accesses import Accesses


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
    for row in range(len(accesses)):
        touched = accesses.of_row(row)
        outside = [reason for block, _ in touched if (reason := _outside(block, sizes))]
        if outside:
            yield MemoryFinding(row, outside[0])
            continue
        for block, writes in touched:
            if not writes:
                reason = _unwritten(block, written[Space(block.space)])
                if reason:
                    yield MemoryFinding(row, reason)
        for block, writes in touched:
            if writes:
                for first, last in block.intervals(1).tolist():
                    written[Space(block.space)][first:last] = True


def _outside(block: Block, sizes: dict[Space, int]) -> str:
    low, high = block.bounds()
    size = sizes[Space(block.space)]
    if low >= 0 and high <= size:
        return ""
    return f"bytes {low} to {high - 1} of {Space(block.space).text} are outside its {size} bytes"


def _unwritten(block: Block, written: NDArray[np.bool_]) -> str:
    for first, last in block.intervals(1).tolist():
        here = written[first:last]
        if not here.all():
            place = first + int(np.argmin(here))
            missing = int((~here).sum())
            where = f"{Space(block.space).text}+{place:#x}"
            return f"reads {missing} bytes that nothing has written, from {where} on"
    return ""
