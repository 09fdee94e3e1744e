import ml_dtypes
import numpy as np
import pytest
from xdsl.dialects.builtin import bf16, f16, f32, i1, i8, i32
from xdsl.utils.test_value import create_ssa_value

from attnc.dialects import nn
from attnc.dialects.constants import ConstantStore
from attnc.dialects.elements import element_of_dtype, tensor, ui8
from attnc.dialects.interpret.function import evaluate
from attnc.isa.errors import InputError

X = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)


def value(array):
    return create_ssa_value(tensor(element_of_dtype(array.dtype), *array.shape))


def run(make, *arrays):
    """The results of the operation that `make` makes of values of these arrays; their types are checked."""
    given = {value(array): array for array in arrays}
    operation = make(*given)
    operation.verify()
    results = evaluate(operation, [given[operand] for operand in operation.operands], ConstantStore())
    for result, made in zip(operation.results, results, strict=True):
        assert result.type == tensor(element_of_dtype(made.dtype), *made.shape)
    return results if len(results) > 1 else results[0]


def test_maps_compute_in_float32_and_round_once():
    a = np.array([1.0, 2048.0], np.float16)
    b = np.array([0.0004883, 1.0], np.float16)
    assert run(lambda x, y: nn.MapOp("add", (x, y)), a, b).dtype == np.float16
    wide = run(lambda x, y: nn.MapOp("add", (x, y), f32), a, b)
    assert wide[1] == 2049.0
    assert run(lambda x, y: nn.MapOp("lt", (x, y)), a, b).dtype == np.bool_


def test_small_integers_wrap():
    a = np.array([250, 3], np.uint8)
    assert list(run(lambda x: nn.MapOp("add", (x, x)), a)) == [244, 6]
    assert list(run(lambda x: nn.MapOp("neg", (x,)), np.array([-128], np.int8))) == [-128]


@pytest.mark.parametrize(
    ("array", "element", "expected"),
    [
        (np.array([1e9, -3.7, np.nan], np.float32), i8, [127, -3, 0]),
        (np.array([300, -1], np.int32), ui8, [44, 255]),
        (np.array([2, 0], np.int32), i1, [True, False]),
        (np.array([True, False]), f32, [1.0, 0.0]),
        (np.array([1.00390625], np.float32), bf16, [1.0]),
    ],
)
def test_casts(array, element, expected):
    assert run(lambda x: nn.CastOp(x, element), array).tolist() == expected


@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 2), (0, 1, 2)])
def test_reductions_keep_their_axes(axes):
    for kind, function in (
        ("sum", np.sum),
        ("max", np.max),
        ("min", np.min),
        ("mean", np.mean),
        ("variance", np.var),
    ):
        found = run(lambda x, kind=kind: nn.ReduceOp(kind, x, axes), X)
        assert np.allclose(found, function(X, axis=axes, keepdims=True), rtol=1e-5, atol=1e-6)


def test_variance_is_two_pass():
    shifted = (X * 1e-3 + 1000).astype(np.float32)
    found = run(lambda x: nn.ReduceOp("variance", x, (2,)), shifted)
    assert np.allclose(found, np.var(shifted.astype(np.float64), axis=2, keepdims=True), rtol=1e-2)


def test_truth_values_are_counted():
    assert run(lambda x: nn.ReduceOp("sum", x, (0,)), np.array([True, True, False])).tolist() == [2]


def test_softmax_of_a_hidden_row():
    x = X.copy()
    x[0, 0] = -np.inf
    assert np.isnan(run(lambda v: nn.SoftmaxOp(v, 2), x)[0, 0]).all()
    zeros = run(lambda v: nn.SoftmaxOp(v, 2, nn.EmptyRow.ZERO), x)
    assert not zeros[0, 0].any()
    assert np.allclose(zeros[1].sum(-1), 1)


def test_norms():
    row = np.linspace(1, 2, 4, dtype=np.float32)
    centred = X - X.mean(-1, keepdims=True)
    expected = centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-5) * row
    assert np.allclose(run(lambda x, r: nn.LayerNormOp(x, r, r, -1, 1e-5), X, row), expected + row, atol=1e-5)
    assert np.allclose(run(lambda x, r: nn.LayerNormOp(x, None, r, -1, 1e-5), X, row), expected / row + row, atol=1e-5)
    expected = X / np.sqrt((X * X).mean((1, 2), keepdims=True) + 1e-6)
    assert np.allclose(run(lambda x: nn.RmsNormOp(x, None, 1, 1e-6), X), expected, atol=1e-5)


def test_integer_products_are_exact_at_the_extremes():
    low, high = np.full((1, 4096), -128, np.int8), np.full((4096, 1), -128, np.int8)
    assert run(lambda a, b: nn.MatmulOp(a, b), low, high).item() == 4096 * 128 * 128
    assert run(lambda a, b: nn.MatmulOp(a, b, True), low, low).item() == 4096 * 128 * 128


def test_products_stretch_their_leading_axes():
    a = X[:, None]
    b = np.random.default_rng(1).standard_normal((5, 4, 6)).astype(np.float32)
    assert np.allclose(run(lambda x, y: nn.MatmulOp(x, y), a, b), a @ b, atol=1e-5)
    assert run(lambda x, y: nn.MatmulOp(x, y, element=f16), a, b).dtype == np.float16


def test_layout():
    assert np.array_equal(run(lambda x: nn.TransposeOp(x, (2, 0, 1)), X), X.transpose(2, 0, 1))
    assert np.array_equal(run(lambda x: nn.ReshapeOp(x, (6, 4)), X), X.reshape(6, 4))
    assert np.array_equal(run(lambda x: nn.BroadcastOp(x, (5, 2, 3, 4)), X), np.broadcast_to(X, (5, 2, 3, 4)))
    assert np.array_equal(run(lambda x: nn.SliceOp(x, (1, 2, 0), (1, 3, 2), (1, -1, 3)), X), X[1:2, ::-1, ::3])
    assert np.array_equal(run(lambda x: nn.SliceOp(x, (0, 0, 0), (2, 0, 4)), X), X[:, :0])
    assert np.array_equal(run(lambda x: nn.ConcatOp((x, x), 1), X), np.concatenate((X, X), 1))
    padded = run(lambda x, f: nn.PadOp(x, f, (0, 1, 0), (0, 0, 2)), X, np.array(7, np.float32))
    assert np.array_equal(padded, np.pad(X, ((0, 0), (1, 0), (0, 2)), constant_values=7))


def test_windows_are_every_place_of_the_kernel():
    image = np.arange(2 * 7 * 6, dtype=np.float32).reshape(1, 2, 7, 6)
    found = run(lambda x: nn.WindowsOp(x, (3, 2), (2, 1), (2, 3)), image)
    assert found.shape == (1, 2, 2, 3, 3, 2)
    for i, j, k, m in np.ndindex(2, 3, 3, 2):
        assert np.array_equal(found[0, :, i, j, k, m], image[0, :, 2 * i + 2 * k, j + 3 * m])


def test_rows_are_gathered_and_ids_checked():
    table = X.reshape(6, 4)
    ids = np.array([[5, 0], [2, 2]], np.int32)
    assert np.array_equal(run(lambda t, i: nn.GatherRowsOp(t, i), table, ids), table[ids])
    for wrong in (6, -1):
        with pytest.raises(InputError, match=f"id {wrong} is outside 0..6"):
            run(lambda t, i: nn.GatherRowsOp(t, i), table, np.array([wrong], np.int32))


def test_iota_counts_along_its_axis():
    assert np.array_equal(run(lambda: nn.IotaOp((2, 3), 1)), np.broadcast_to(np.arange(3), (2, 3)))


@pytest.mark.parametrize(
    ("exclusive", "reverse", "expected"),
    [(0, 0, [1, 3, 6]), (1, 0, [0, 1, 3]), (0, 1, [6, 5, 3]), (1, 1, [5, 3, 0])],
)
def test_running_sums(exclusive, reverse, expected):
    x = np.array([1, 2, 3], np.int32)
    assert run(lambda v: nn.CumsumOp(v, 0, bool(exclusive), bool(reverse)), x).tolist() == expected


def test_quantization_rounds_half_to_even_and_saturates():
    x = np.array([0.5, 1.5, 2.5, -1e9, 1e9, np.nan], np.float32)
    one = np.array(1, np.float32)
    assert run(lambda v, s: nn.QuantizeOp(v, s, None), x, one).tolist() == [0, 2, 2, -128, 127, 0]
    zero = np.array(3, np.uint8)
    found = run(lambda v, s, z: nn.QuantizeOp(v, s, z), x, one, zero)
    assert found.tolist()[:5] == [3, 5, 5, 0, 255]


def test_scales_along_an_axis():
    scale, zero = np.array([0.5, 2], np.float32), np.array([1, -1], np.int8)
    x = np.array([[1, 2], [3, 4]], np.int8)
    found = run(lambda v, s, z: nn.DequantizeOp(v, s, z, 0), x, scale, zero)
    assert found.tolist() == [[0.0, 0.5], [8.0, 10.0]]
    assert np.array_equal(run(lambda v, s, z: nn.QuantizeOp(v, s, z, 0), found, scale, zero), x)
    assert run(lambda v, s: nn.DequantizeOp(v, s, None, 1, bf16), x, scale).dtype == ml_dtypes.bfloat16


def test_dynamic_quantization_is_that_of_onnx():
    x = np.array([0, 2, -3, -2.5, 1.34, 0.5], np.float32)
    levels, scale, zero = run(nn.DynamicQuantizeOp, x)
    assert levels.tolist() == [153, 255, 0, 26, 221, 179]
    assert scale == pytest.approx(0.0196078438)
    assert zero == 153
    levels, scale, zero = run(nn.DynamicQuantizeOp, np.zeros(3, np.float32))
    assert levels.tolist() == [0, 0, 0]
    assert zero == 0


def test_every_operation_of_the_dialects_has_a_value():
    from attnc.dialects.bnn import Bnn
    from attnc.dialects.interpret.function import SEMANTICS
    from attnc.dialects.sattn import Sattn

    assert set(SEMANTICS) == {*nn.Nn.operations, *Bnn.operations, *Sattn.operations}


def test_elements_that_no_tensor_has_are_refused():
    with pytest.raises(Exception, match="int64"):
        element_of_dtype(np.dtype(np.int64))
    assert element_of_dtype(np.dtype(np.int32)) == i32
