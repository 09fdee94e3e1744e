"""Products of packed values: pairs of sums in one float32 at the edge of what is exact, and bits counted by compiled
code."""

import numpy as np
import pytest

from attnc.isa import packed_product as module
from attnc.isa.formats import Format, narrow
from attnc.isa.kernels import WorkingMemory
from attnc.isa.matrix import Values
from attnc.isa.packed_product import PAIRED, packed_product

BITS = (Values.BIPOLAR, Values.UNIPOLAR)


def worth(bits, values):
    return 2 * bits - 1 if values is Values.BIPOLAR else bits


@pytest.mark.parametrize("left", [0, 1])
@pytest.mark.parametrize("right", [0, 1])
@pytest.mark.parametrize("k", [PAIRED, PAIRED + 1, 9001])
def test_two_sums_in_a_float_are_exact_at_the_extremes(left, right, k):
    a, b = np.full((2, k), left, np.int64), np.full((3, k), right, np.int64)
    # One value off the rest: an error of a single unit would be seen, and the pair's sums differ.
    b[2, 0] = 1 - right
    multiply = packed_product(2, 3, k, (Values.BIPOLAR, Values.BIPOLAR), False, WorkingMemory())
    acc = np.zeros((2, 3), np.int32)
    multiply(narrow(a, Format.B1), narrow(b, Format.B1), acc)
    np.testing.assert_array_equal(acc, (2 * a - 1) @ (2 * b.T - 1))


@pytest.mark.parametrize("left", BITS)
@pytest.mark.parametrize("right", BITS)
@pytest.mark.parametrize(("m", "n", "k"), [(1, 1, 1), (3, 5, 17), (2, 1, 64), (4, 7, 100), (5, 9, 191), (9, 33, 3001)])
def test_compiled_code_counts_the_same(left, right, m, n, k):
    pytest.importorskip("numba")
    rng = np.random.default_rng(m * n * k)
    # Longer rows than K fills, and whatever behind: neither counts.
    stored = [rng.integers(0, 256, (rows, k // 8 + 3), np.uint8) for rows in (m, n)]
    a, b = (item[:, : -(-k // 8)] for item in stored)
    bits = [np.unpackbits(item, axis=1, count=k, bitorder="little").astype(np.int64) for item in stored]
    wanted = worth(bits[0], left) @ worth(bits[1], right).T
    for accumulate in (False, True):
        old = rng.integers(-9, 10, (m, n + 2)).astype(np.int32)[:, :n]
        for compiled in (False, True):
            acc = old.copy()
            packed_product(m, n, k, (left, right), accumulate, WorkingMemory(), compiled)(a, b, acc)
            np.testing.assert_array_equal(acc, wanted + (old if accumulate else 0))


def test_without_the_compiler_bits_are_multiplied_as_ever(monkeypatch):
    monkeypatch.setattr(module, "_counting", lambda: None)
    a, b, acc = np.array([[0b101]], np.uint8), np.array([[0b110]], np.uint8), np.zeros((1, 1), np.int32)
    packed_product(1, 1, 3, (Values.BIPOLAR, Values.BIPOLAR), False, WorkingMemory(), compiled=True)(a, b, acc)
    assert acc.item() == -1
