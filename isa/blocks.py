"""Blocks of memory that instructions read and write, and exact counts of the lines that they touch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from functools import lru_cache

import numpy as np

from .columns import (
    Column,
    Int64Array,
    as_vector,
    both,
    choose,
    common_length,
    either,
    is_column,
    larger,
    smaller,
)
from .frozen import frozen


class Space(IntEnum):
    """An address space. REGISTER holds the extent registers, 4 bytes each, so that they order like memory."""

    DRAM = 0
    SRAM = 1
    ACC = 2
    REGISTER = 3

    @property
    def text(self) -> str:
        """Lower-case name, as text has it."""
        return self.name.lower()


@frozen
class Block:
    """`run` contiguous bytes at `address`, repeated over `extents` with byte `strides` (outer first, signed).

    Each field may be a number or a column. A block with run 0 or an extent 0 is empty.
    """

    space: Column
    address: Column
    extents: tuple[Column, ...]
    strides: tuple[Column, ...]
    run: Column

    @property
    def empty(self) -> Column:
        """Whether no byte is touched (bool or bool column)."""
        result = self.run == 0
        for extent in self.extents:
            result = either(result, extent == 0)
        return result

    @property
    def bytes(self) -> Column:
        """Bytes of all runs together (those that overlap count again)."""
        total = self.run
        for extent in self.extents:
            total = total * extent
        return total

    def bounds(self) -> tuple[Column, Column]:
        """The lowest byte address and one past the highest; (0, 0) where empty."""
        low, high = self.address, self.address + self.run
        for extent, stride in zip(self.extents, self.strides, strict=True):
            reach = (extent - 1) * stride
            low = low + smaller(reach, 0)
            high = high + larger(reach, 0)
        return choose(self.empty, 0, low), choose(self.empty, 0, high)

    def merged(self) -> Block:
        """The same bytes with inner dimensions joined into `run` where they follow on without a gap."""
        run, extents = self.run, list(self.extents)
        whole: Column = True
        for index in reversed(range(len(extents))):
            joins = both(whole, either(self.strides[index] == run, extents[index] == 1))
            run = choose(joins, run * extents[index], run)
            extents[index] = choose(joins, 1, extents[index])
            whole = joins
        return Block(self.space, self.address, tuple(extents), self.strides, run)

    def at(self, index: int) -> Block:
        """The block of one instruction of a block of columns."""

        def pick(value: Column) -> int:
            return int(value[index] if is_column(value) and value.ndim else value)

        return Block(
            pick(self.space),
            pick(self.address),
            tuple(pick(v) for v in self.extents),
            tuple(pick(v) for v in self.strides),
            pick(self.run),
        )

    def intervals(self, line_bytes: int) -> Int64Array:
        """Lines touched by a block of numbers: array [count, 2] of first and one past last line, ascending,
        disjoint and not adjacent."""
        return _intervals(self.address, tuple(zip(self.extents, self.strides, strict=True)), self.run, line_bytes)

    def runs(self) -> Int64Array:
        """The runs of all blocks of a block of columns, [count, 2] of first and one past last byte; those of
        one block that touch are joined where its dimensions nest."""
        size = common_length(self.address, self.run, *self.extents, *self.strides) or 1
        chosen = np.flatnonzero(~np.broadcast_to(np.asarray(self.empty), size))
        low, run = as_vector(self.bounds()[0], size)[chosen], as_vector(self.run, size)[chosen]
        extents = np.stack([as_vector(extent, size)[chosen] for extent in self.extents])
        strides = np.abs(np.stack([as_vector(stride, size)[chosen] for stride in self.strides]))
        order = np.argsort(np.where(extents > 1, strides, np.iinfo(np.int64).max), axis=0)
        joining = np.ones(len(chosen), dtype=np.bool_)
        owner = np.arange(len(chosen))
        starts = low
        for level in order:
            extent, stride = (side[level, np.arange(len(chosen))] for side in (extents, strides))
            joining &= (extent == 1) | (stride <= run)
            run = np.where(joining, run + (extent - 1) * stride, run)
            count: Int64Array = np.where(joining, 1, extent)[owner]
            index = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
            owner = np.repeat(owner, count)
            starts = np.repeat(starts, count) + index * stride[owner]
        return np.stack([starts, starts + run[owner]], axis=1)


def _intervals(address: int, dimensions: tuple[tuple[int, int], ...], run: int, line_bytes: int) -> Int64Array:
    if run == 0 or any(extent == 0 for extent, _ in dimensions):
        return np.zeros((0, 2), dtype=np.int64)
    # Join dimensions, nearest first, while their runs touch or overlap: then the span is one interval.
    rest: list[tuple[int, int]] = []
    low, span = address, run
    for stride, extent in sorted((abs(s), n) for n, s in dimensions if n > 1):
        if not rest and stride <= span:
            span += (extent - 1) * stride
        else:
            rest.append((extent, stride))
    low += sum(min(0, (extent - 1) * stride) for extent, stride in dimensions)
    starts = np.array([low], dtype=np.int64)
    for extent, stride in rest:
        starts = (starts[None, :] + (np.arange(extent, dtype=np.int64) * stride)[:, None]).ravel()
    starts.sort()
    first = starts // line_bytes
    last = (starts + span - 1) // line_bytes + 1
    if len(first) == 1:
        return np.stack([first, last], axis=1)
    reach = np.maximum.accumulate(last)
    breaks = np.flatnonzero(first[1:] > reach[:-1])
    return np.stack([first[np.r_[0, breaks + 1]], reach[np.r_[breaks, len(reach) - 1]]], axis=1)


def line_numbers(intervals: Int64Array) -> Iterator[int]:
    """Every line number of `intervals` of a block."""
    for first, last in intervals.tolist():
        yield from range(first, last)


@lru_cache(maxsize=1 << 16)
def _crossings(residue: int, dimensions: tuple[tuple[int, int], ...], threshold: int, line: int) -> int:
    """How many starts `residue + sum(i * stride)` modulo `line` are at or above `threshold`."""
    counts = np.zeros(line, dtype=np.int64)
    counts[residue] = 1
    for extent, stride in dimensions:
        steps = np.bincount(np.arange(min(extent, line)) * stride % line, minlength=line)
        if extent > line:
            # The residues of line consecutive steps repeat; whole rounds and a rest.
            rounds, left = divmod(extent, line)
            rest = np.bincount(np.arange(left) * stride % line, minlength=line)
            steps = steps * rounds + rest
        total = np.zeros(line, dtype=np.int64)
        for shift in np.flatnonzero(steps):
            total += steps[shift] * np.roll(counts, shift)
        counts = total
    return int(counts[threshold:].sum())


def count_lines(
    address: Column, extents: Sequence[Column], strides: Sequence[Column], run: Column, line: int
) -> Column:
    """Lines of `line` bytes touched, summed over the runs: each run counts every line it touches.

    A run of `run` >= 1 bytes from x touches (x % line + run - 1) // line + 1 lines. Exact for any strides.
    Arguments may be numbers or columns; runs of 0 bytes count nothing.
    """
    length = common_length(address, run, *extents, *strides)
    size = 1 if length is None else length
    x = as_vector(address, size) % line
    runs = as_vector(run, size)
    n = [as_vector(extent, size) for extent in extents]
    s = [as_vector(stride, size) % line for stride in strides]
    pieces = np.ones(size, dtype=np.int64)
    aligned = np.ones(size, dtype=np.bool_)
    for extent, stride in zip(n, s, strict=True):
        pieces = pieces * extent
        aligned &= (stride == 0) | (extent <= 1)
    remainder = (runs - 1) % line
    total = pieces * ((runs - 1) // line + 1)
    total += np.where(aligned, pieces * (x + remainder >= line), 0)
    total = np.where(runs > 0, total, 0)
    for index in np.flatnonzero(~aligned & (runs > 0) & (pieces > 0) & (remainder > 0)):
        dimensions = tuple(
            sorted(
                (int(extent[index]), int(stride[index]))
                for extent, stride in zip(n, s, strict=True)
                if extent[index] > 1
            )
        )
        total[index] += _crossings(int(x[index]), dimensions, line - int(remainder[index]), line)
    return total if length is not None else int(total[0])
