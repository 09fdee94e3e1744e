import ml_dtypes
import numpy as np
import pytest

from attnc.isa.matrix import MatrixMode, multiply


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
