import ml_dtypes
import numpy as np
import pytest

from attnc.isa.formats import narrow
from attnc.isa.kernels import WorkingMemory
from attnc.isa.matrix import (
    RIGHT_VALUES,
    MatrixMode,
    Values,
    multiply,
    operand_values,
)
from attnc.isa.packed_product import packed_product


@pytest.mark.parametrize(("left", "right"), [(-128, -128), (-128, 127), (127, -128), (127, 127)])
@pytest.mark.parametrize("depth", [1, 1023, 1024, 1025, 5000, 65535])
def test_int8_products_are_exact_at_the_extremes(left, right, depth):
    a = np.full((2, depth), left, np.int8)
    b = np.full((depth, 3), right, np.int8)
    # One value off the rest: an error of a single unit would be seen.
    a[0, 0] = 1
    wanted = a.astype(np.int64) @ b.astype(np.int64)
    got = multiply(a, b, MatrixMode.I8)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, wanted)


def test_int8_products_are_exact_on_random_values():
    rng = np.random.default_rng(1)
    a = rng.integers(-128, 128, (17, 3000)).astype(np.int8)
    b = rng.integers(-128, 128, (3000, 9)).astype(np.int8)
    np.testing.assert_array_equal(multiply(a, b, MatrixMode.I8), a.astype(np.int64) @ b.astype(np.int64))


@pytest.mark.parametrize(
    ("mode", "dtype"),
    [
        (MatrixMode.F32, np.float32),
        (MatrixMode.F16, np.float16),
        (MatrixMode.BF16, ml_dtypes.bfloat16),
    ],
)
def test_float_products_accumulate_in_float32(mode, dtype):
    # Half formats would lose the ones beside 2048 (256 in bfloat16); float32 keeps them.
    a = np.ones((1, 4097), dtype)
    a[0, 0] = 2048
    b = np.ones((4097, 1), dtype)
    got = multiply(a, b, mode)
    assert got.dtype == np.float32
    assert got.tolist() == [[6144.0]]


def test_strided_and_transposed_views_multiply_alike():
    rng = np.random.default_rng(2)
    a = rng.normal(size=(8, 40)).astype(np.float32)[:, ::2]
    b = rng.normal(size=(6, 20)).astype(np.float32).T
    np.testing.assert_allclose(multiply(a, b, MatrixMode.F32), a.astype(np.float64) @ b, rtol=1e-5, atol=1e-5)


def stored_values(rng, values, shape):
    """Random values of an operand and their packed rows."""
    if values.stored.kind == "bool":
        bits = rng.integers(0, 2, shape).astype(np.int32)
        return (2 * bits - 1 if values is Values.BIPOLAR else bits), narrow(bits, values.stored)
    low, high = values.stored.limits
    whole = rng.integers(low, high + 1, shape).astype(np.int32)
    # The least value throughout a row: sums reach their greatest size.
    whole[0] = low if low else high
    return whole, narrow(whole, values.stored).view(np.uint8)


PAIRINGS = [
    (mode, left, operand_values(mode, right.code))
    for mode, allowed in RIGHT_VALUES.items()
    for left in Values
    if left is not Values.OWN
    for right in allowed[1:]
]


@pytest.mark.parametrize(("mode", "left", "right"), PAIRINGS, ids=lambda item: getattr(item, "label", None))
@pytest.mark.parametrize(("m", "n", "k"), [(1, 1, 1), (3, 5, 17), (2, 1, 64), (1, 4, 100), (4, 3, 9001)])
def test_every_packed_pairing_equals_the_product_of_integers(mode, left, right, m, n, k):
    rng = np.random.default_rng(m * n * k)
    a, stored_a = stored_values(rng, left, (m, k))
    b, stored_b = stored_values(rng, right, (n, k))
    old = rng.integers(-9, 10, (m, n)).astype(np.int32)
    for accumulate in (False, True):
        acc = old.copy()
        packed_product(m, n, k, (left, right), accumulate, WorkingMemory())(stored_a, stored_b, acc)
        wanted = a.astype(np.int64) @ b.T.astype(np.int64) + (old if accumulate else 0)
        np.testing.assert_array_equal(acc, wanted)


def test_bits_behind_the_last_value_of_k_do_not_count():
    a, b = np.array([[0b11111101]], np.uint8), np.array([[0b00000011]], np.uint8)
    acc = np.zeros((1, 1), np.int32)
    packed_product(1, 1, 2, (Values.BIPOLAR, Values.BIPOLAR), False, WorkingMemory())(a, b, acc)
    assert acc.item() == 0
