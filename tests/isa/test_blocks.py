import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc.isa.blocks import Block, Space, count_lines

dimensions = st.lists(st.tuples(st.integers(0, 5), st.integers(-70, 70)), max_size=3)


def runs(address, dims, run):
    for index in itertools.product(*(range(n) for n, _ in dims)):
        start = address + sum(i * s for i, (_, s) in zip(index, dims, strict=True))
        yield range(start, start + run)


@given(st.integers(500, 700), dimensions, st.integers(0, 40), st.sampled_from([4, 16, 64]))
@settings(deadline=None)
def test_intervals_are_the_lines_touched(address, dims, run, line):
    block = Block(Space.SRAM, address, tuple(n for n, _ in dims), tuple(s for _, s in dims), run)
    touched = {byte // line for piece in runs(address, dims, run) for byte in piece}
    intervals = block.intervals(line)
    assert {i for first, last in intervals.tolist() for i in range(first, last)} == touched
    assert all(a[1] < b[0] for a, b in itertools.pairwise(intervals.tolist()))


@given(st.integers(500, 700), dimensions, st.integers(1, 40), st.sampled_from([16, 64]))
@settings(deadline=None)
def test_line_counts_are_exact(address, dims, run, line):
    wanted = sum(len({byte // line for byte in piece}) for piece in runs(address, dims, run))
    extents, strides = [n for n, _ in dims], [s for _, s in dims]
    assert count_lines(address, extents, strides, run, line) == wanted
    columns = count_lines(np.array([address, address]), extents, strides, run, line)
    assert columns.tolist() == [wanted, wanted]


@given(st.integers(500, 700), dimensions, st.integers(0, 40))
@settings(deadline=None)
def test_merging_keeps_the_bytes(address, dims, run):
    block = Block(Space.SRAM, address, tuple(n for n, _ in dims), tuple(s for _, s in dims), run)
    merged = block.merged()
    touched = {byte for piece in runs(address, dims, run) for byte in piece}
    merged_dims = list(zip(merged.extents, merged.strides, strict=True))
    assert {byte for piece in runs(merged.address, merged_dims, merged.run) for byte in piece} == touched
    assert block.empty == (not touched)
    low, high = block.bounds()
    assert (low, high) == ((min(touched), max(touched) + 1) if touched else (0, 0))


def test_contiguous_rows_become_one_run():
    block = Block(Space.SRAM, 0, (4, 8, 16), (1024, 128, 8), 8).merged()
    assert (block.extents, block.run) == ((4, 1, 1), 1024) or (block.extents, block.run) == ((1, 1, 1), 4096)
