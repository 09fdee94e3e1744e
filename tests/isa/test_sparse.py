"""The sparse engine and masked products where their definitions are finest: ties, NaN, what a mask hides, counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnc.isa.errors import Fault
from attnc.isa.fields import ACC_BIT
from attnc.isa.formats import Format
from attnc.isa.instructions import MaskedProduct, Pack, Top
from attnc.isa.machine import load_machine
from attnc.isa.matrix import MatrixMode
from attnc.isa.row_packing import RowPacking
from attnc.isa.state import State

EDGE = load_machine("edge")


@pytest.fixture
def state():
    return State(EDGE, np.zeros(0, np.uint8))


def top(state, values, keep):
    """The kept columns of one row."""
    stored = np.asarray(values)
    state.sram[: stored.nbytes] = stored.view(np.uint8)
    form = Format.of_dtype(stored.dtype).code
    Top(values=0, format=form, mask=4096, rows=1, columns=len(stored), keep=keep).perform(state)
    return np.flatnonzero(np.unpackbits(state.sram[4096:4128], bitorder="little")).tolist()


def test_of_equal_values_lower_columns_come_first(state):
    assert top(state, np.float32([1, 2, 2, 2, 0]), 2) == [1, 2]
    assert top(state, np.float32([-0.0, 0.0, -1]), 1) == [0]


def test_a_nan_comes_after_every_number(state):
    assert top(state, np.float32([np.nan, -np.inf, 3, np.nan]), 3) == [0, 1, 2]
    assert top(state, np.float32([np.nan, -np.inf, 3, np.nan]), 2) == [1, 2]


def test_extreme_integers_are_ranked(state):
    assert top(state, np.int32([-(2**31), 0, 2**31 - 1, -1]), 2) == [1, 2]


def test_more_than_there_are_keep_all(state):
    assert top(state, np.float32([3, 1]), 9) == [0, 1]


def test_rows_are_cut_within_windows():
    mask = np.array([[1, 1, 1, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0]], np.bool_)
    # Windows of four: three kept and one kept, in parts of two.
    assert RowPacking(4, 2).count(mask) == 2 + 1
    assert RowPacking(7, 32).count(mask) == 1


def test_rows_of_a_mask_share_rows_of_the_array_where_a_machine_can():
    mask = np.array([[1, 1, 1, 0, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1]], np.bool_)
    # Strips of two rows: four and one kept, then none and one.
    assert RowPacking(4, 2, 2).count(mask) == (2 + 1) + (0 + 1)
    assert RowPacking(4, 2, 3).count(mask) == 2 + 1


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.integers(1, 5))
def test_a_mask_that_keeps_all_packs_into_the_most_rows(rows, columns, window, width, height):
    packing = RowPacking(window, width, height)
    assert packing.count(np.ones((rows, columns), np.bool_)) == packing.most(rows, columns)


def masked(packed, **fields):
    shape = {"m": 2, "n": 3, "k": 2, "a_stride": 8, "b_stride": 12, "acc_stride": 12, "mask_stride": 1}
    fixed = {"mode": MatrixMode.F32.code, "acc": ACC_BIT, "a": 0, "b": 64}
    fixed |= {"mask": 128, "window": 128, "width": 32}
    return MaskedProduct(**{**shape, **fixed, "packed": packed, **fields})


def filled(state, mask):
    a, b = np.float32([[1, 2], [3, 4]]), np.float32([[1, 2, 3], [4, 5, 6]])
    state.sram[:16], state.sram[64:88] = a.ravel().view(np.uint8), b.ravel().view(np.uint8)
    state.sram[128:130] = mask
    state.acc[:24] = np.full(6, 100, np.float32).view(np.uint8)
    return a @ b


def test_results_that_a_mask_hides_are_zero_or_keep_their_old_sum(state):
    whole = filled(state, [0b101, 0b000])
    masked(1).perform(state)
    result = state.acc[:24].view(np.float32).reshape(2, 3)
    np.testing.assert_array_equal(result, [[whole[0, 0], 0, whole[0, 2]], [0, 0, 0]])
    filled(state, [0b101, 0b000])
    masked(1, accumulate=1).perform(state)
    result = state.acc[:24].view(np.float32).reshape(2, 3)
    np.testing.assert_array_equal(result, [[100 + whole[0, 0], 100, 100 + whole[0, 2]], [100, 100, 100]])


def test_nothing_packed_still_writes_zeros(state):
    filled(state, [0, 0])
    masked(0).perform(state)
    assert not state.acc[:24].any()


def test_a_value_that_a_mask_hides_counts_as_zero_even_where_it_is_infinite(state):
    filled(state, [0b01, 0b10])
    state.sram[4:8] = np.float32([np.inf]).view(np.uint8)
    masked(2, masked=1, width=4).perform(state)
    np.testing.assert_array_equal(state.acc[:24].view(np.float32), [1, 2, 3, 16, 20, 24])


def test_fewer_rows_than_the_mask_packs_into_are_a_fault(state):
    filled(state, [0b101, 0b001])
    with pytest.raises(Fault, match="the mask packs into 2 rows, and 1 are taken"):
        masked(1).perform(state)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (masked(2, width=31), "the width is not that of the array"),
        (masked(2, window=129), "a window has 1 to 128 columns"),
        (masked(2, height=2), "a window has 1 to 1 rows"),
        (masked(2, mask=ACC_BIT), "the mask stands in ACC"),
        (Pack(mask=0, count=64, rows=1, columns=1, window=1, width=0), "the width is 0"),
        (Top(values=0, format=Format.I8.code, mask=64, rows=1, columns=1, keep=1), "ranked as f32 or i32"),
    ],
    ids=lambda item: item if isinstance(item, str) else item.mnemonic,
)
def test_fields_that_make_no_sense_are_faults(wrong, reason):
    assert any(condition and reason in text for condition, text in wrong.faults(EDGE))
