import numpy as np
import pytest
from xdsl.dialects.builtin import f32, i1, i8, i32
from xdsl.utils.test_value import create_ssa_value

from attnc.dialects import bnn
from attnc.dialects.bnn_types import bipolar, int2, int4, ternary, uint2, uint4, unipolar
from attnc.dialects.constants import ConstantStore
from attnc.dialects.elements import PACKED, format_of, range_of, tensor, ui8
from attnc.dialects.interpret.function import evaluate
from attnc.isa.formats import narrow, widen

GENERATOR = np.random.default_rng(0)


def run(operation, *arrays):
    operation.verify()
    return evaluate(operation, arrays, ConstantStore())[0]


def values(element, *shape):
    """Random values of an element type, extremes among them."""
    if element in (i8, ui8):
        return GENERATOR.integers(*((-128, 128) if element == i8 else (0, 256)), shape).astype(
            np.int8 if element == i8 else np.uint8
        )
    low, high = range_of(element)
    drawn = GENERATOR.integers(low, high + 1, shape)
    return np.where(drawn == 0, 1, drawn).astype(np.int8) if element == bipolar else drawn.astype(np.int8)


def operand(element, array):
    return create_ssa_value(tensor(element, *array.shape))


@pytest.mark.parametrize("right", [bipolar, unipolar, ternary, int2, int4, uint4])
@pytest.mark.parametrize("left", [*PACKED, i8, ui8])
def test_products_of_every_pairing_are_those_of_integers(left, right):
    a, b = values(left, 2, 5, 19), values(right, 3, 19)
    found = run(bnn.MatmulOp(operand(left, a), operand(right, b)), a, b)
    assert found.dtype == np.int32
    assert np.array_equal(found, a.astype(np.int64) @ b.T.astype(np.int64))


@pytest.mark.parametrize("element", PACKED)
def test_packing_and_unpacking_give_the_values_back(element):
    packed = values(element, 3, 11)
    for kind, dtype in ((f32, np.float32), (i32, np.int32), (i8, np.int8)):
        x = packed.astype(dtype)
        assert np.array_equal(run(bnn.PackOp(operand(kind, x), element), x), packed)
        assert np.array_equal(run(bnn.UnpackOp(operand(element, packed), kind), packed), x)


@pytest.mark.parametrize("element", [uint2, uint4, int2, int4, ternary])
def test_packing_any_float_is_what_the_vector_engine_stores(element):
    x = np.array([np.nan, np.inf, -np.inf, -3.7, -0.0, 0.2, 1.9, 7.5, 20], np.float32)
    stored = format_of(element)
    expected = widen(narrow(x, stored), stored)[: x.size]
    assert np.array_equal(run(bnn.PackOp(operand(f32, x), element), x), expected)


def test_truth_values_become_the_upper_and_the_lower_bit():
    truth = np.array([True, False])
    assert run(bnn.PackOp(operand(i1, truth), bipolar), truth).tolist() == [1, -1]
    assert run(bnn.PackOp(operand(i1, truth), unipolar), truth).tolist() == [1, 0]


def test_thresholds_say_what_becomes_of_a_tie_and_of_nan():
    x = np.array([[-0.0, 0.0, 1.0, np.nan], [2.0, -2.0, 1.0, 0.5]], np.float32)
    t, flip = np.array([0, 0, 1, 0], np.float32), np.array([False, True, False, False])
    x_value, t_value, flip_value = operand(f32, x), operand(f32, t), operand(i1, flip)
    assert run(bnn.BinarizeOp(x_value, t_value), x, t).tolist() == [[1, 1, 1, -1], [1, -1, 1, 1]]
    assert run(bnn.BinarizeOp(x_value, t_value, "gt"), x, t).tolist() == [[-1, -1, -1, -1], [1, -1, -1, 1]]
    flipped = bnn.BinarizeOp(x_value, t_value, "ge", flip_value, unipolar)
    assert run(flipped, x, t, flip).tolist() == [[1, 0, 1, 0], [1, 1, 1, 1]]


def test_sums_are_of_the_values():
    x = values(bipolar, 3, 9)
    assert np.array_equal(run(bnn.SumOp(operand(bipolar, x)), x), x.sum(-1, keepdims=True))
