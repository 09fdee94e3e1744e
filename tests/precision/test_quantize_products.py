"""Post-training int8: what is quantized along which axis, by which range, and what comes out."""

import numpy as np
import pytest
from xdsl.dialects.builtin import bf16, f32, i8

from attnc.dialects import nn, sattn
from attnc.dialects.elements import element_type, shape_of
from attnc.dialects.nn import EmptyRow
from attnc.passes.precision.calibrate import calibrate
from attnc.passes.precision.quantize_products import QuantizeProducts

from .conftest import products

RANDOM = np.random.default_rng(3)


def random(*shape: int) -> np.ndarray:
    return RANDOM.normal(0, 2, shape).astype(np.float32)


def factors(array: np.ndarray, axis: int | None) -> np.ndarray:
    """What brings int8 levels back, one for each row along `axis`."""
    largest = np.abs(array).max(axis=axis, keepdims=axis is not None)
    smallest = np.finfo(np.float32).tiny * np.float32(127)
    return np.maximum(largest, smallest).astype(np.float32) * np.float32(1 / 127)


def quantized_levels(array: np.ndarray, axis: int) -> np.ndarray:
    return np.rint(array / factors(array, axis)).astype(np.int64)


def dynamic_product(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Rows of x and columns of w by their own greatest magnitudes, summed exactly."""
    total = (quantized_levels(x, -1) @ quantized_levels(w, -2)).astype(np.float32)
    return total * (factors(x, -1) * factors(w, -2))


ROUNDINGS = {"rtol": 3e-7, "atol": 0}
"""Factors are multiplied in one order or another; sums are exact."""


def linear(quantized, x: np.ndarray, w: np.ndarray, constant: bool = True, transposed: bool = False):
    graph = quantized(x) if constant else quantized(x, w)
    rhs = graph.typed(w) if constant else graph.inputs[1]
    graph.done(graph.matmul(graph.inputs[0], rhs, transposed))
    return graph


EXTREMES = {
    "random": random(4, 32),
    "all the same": np.full((4, 32), 3.5, np.float32),
    "all at the negative end": np.full((4, 32), -7.25, np.float32),
    "both ends": np.where(np.arange(32) % 2, 9, -9).astype(np.float32)[None].repeat(4, 0),
    "rows of zeros": np.where(np.arange(4)[:, None] % 2, random(4, 32), np.float32(0)),
    "tiny": random(4, 32) * np.float32(1e-38),
    "huge": random(4, 32) * np.float32(1e30),
}


@pytest.mark.parametrize("constant", [True, False], ids=["weights", "activations"])
@pytest.mark.parametrize("name", EXTREMES)
def test_dynamic_product_is_exact_between_its_roundings(quantized, name: str, constant: bool) -> None:
    x, w = EXTREMES[name], random(32, 8)
    graph = linear(quantized, x, w, constant)
    [found] = products(graph.apply(QuantizeProducts()))
    assert element_type(found.lhs) == element_type(found.rhs) == i8
    wanted = dynamic_product(x, w)
    np.testing.assert_allclose(graph.result(), wanted, **ROUNDINGS)
    np.testing.assert_allclose(graph.simulated(), wanted, **ROUNDINGS)


@pytest.mark.parametrize("constant", [True, False], ids=["weights", "activations"])
def test_transposed_right_side(quantized, constant: bool) -> None:
    x, w = random(2, 4, 32), random(2, 8, 32)
    graph = linear(quantized, x, w, constant, transposed=True)
    graph.apply(QuantizeProducts())
    wanted = dynamic_product(x, w.swapaxes(-1, -2))
    np.testing.assert_allclose(graph.result(), wanted, **ROUNDINGS)
    np.testing.assert_allclose(graph.simulated(), wanted, **ROUNDINGS)


def test_shared_operand_is_quantized_once(quantized) -> None:
    x = random(4, 32)
    graph = quantized(x)
    made = [graph.matmul(graph.inputs[0], graph.typed(random(32, 8))) for _ in range(3)]
    graph.done(graph.map("add", graph.map("add", made[0], made[1]), made[2]))
    operations = graph.apply(QuantizeProducts())
    assert len({product.lhs for product in products(operations)}) == 1


def test_weights_that_are_quantized_already_keep_their_levels(quantized) -> None:
    """Weight-only quantization, as a cast and a factor, as DequantizeLinear, and in uint8 around 128."""
    x, w = random(4, 16), RANDOM.integers(-128, 128, (16, 8)).astype(np.int8)
    scales = np.abs(random(1, 8))
    wanted = (quantized_levels(x, -1) @ w.astype(np.int64)).astype(np.float32) * (factors(x, -1) * scales)
    for spelling in ("cast", "operator", "unsigned"):
        graph = quantized(x)
        if spelling == "cast":
            rhs = graph.map("mul", graph.add(nn.CastOp(graph.typed(w), f32)), graph.typed(scales))
        elif spelling == "operator":
            rhs = graph.dequantize(graph.typed(w), graph.typed(scales[0]), graph.typed(np.zeros(8, np.int8)), 1)
        else:
            moved = (w.astype(np.int16) + 128).astype(np.uint8)
            zeros = graph.typed(np.full(8, 128, np.uint8))
            rhs = graph.dequantize(graph.typed(moved), graph.typed(scales[0]), zeros, 1)
        graph.done(graph.matmul(graph.inputs[0], rhs))
        graph.apply(QuantizeProducts())
        np.testing.assert_allclose(graph.result(), wanted, **ROUNDINGS, err_msg=spelling)


def test_static_product_saturates_beyond_its_range(quantized) -> None:
    samples, w = random(6, 32), random(32, 8)
    x = np.concatenate([samples[:3], 10 * samples[:1]])
    graph = linear(quantized, x, w)
    calibrate(graph.module, graph.context, [[samples[:4]], [samples[2:]]])
    operations = graph.apply(QuantizeProducts())
    assert not [op for op in operations if isinstance(op, nn.ReduceOp)]
    factor = factors(samples, None)
    levels = np.clip(np.rint(x * (np.float32(1) / factor)), -128, 127).astype(np.int64)
    total = (levels @ quantized_levels(w, -2)).astype(np.float32)
    wanted = total * (factor * factors(w, -2))
    np.testing.assert_allclose(graph.result(), wanted, **ROUNDINGS)
    np.testing.assert_allclose(graph.simulated(), wanted, **ROUNDINGS)


def test_static_ranges_of_two_activations(quantized) -> None:
    """Both sides have one factor, the right one transposed."""
    x, y = random(4, 32), random(8, 32)
    graph = linear(quantized, x, y, constant=False, transposed=True)
    calibrate(graph.module, graph.context, [[x, y]])
    graph.apply(QuantizeProducts())
    left, right = (np.rint(array * (np.float32(1) / factors(array, None))).astype(np.int64) for array in (x, y))
    wanted = (left @ right.T).astype(np.float32) * (factors(x, None) * factors(y, None))
    np.testing.assert_allclose(graph.result(), wanted, **ROUNDINGS)


def test_known_range_quantizes_where_the_value_is_made(quantized) -> None:
    x = random(1, 6, 8)
    graph = quantized(x)
    made = graph.map("mul", graph.inputs[0], 2.0)
    heads = graph.add(nn.TransposeOp(graph.add(nn.ReshapeOp(made, (1, 6, 2, 4))), (0, 2, 1, 3)))
    graph.done(graph.matmul(heads, graph.typed(random(4, 5))))
    calibrate(graph.module, graph.context, [[x]])
    operations = graph.apply(QuantizeProducts())
    layouts = [op for op in operations if isinstance(op, nn.ReshapeOp | nn.TransposeOp)]
    assert layouts
    assert all(element_type(op.results[0]) == i8 for op in layouts)


def test_calibration_leaves_out_what_is_not_finite(quantized) -> None:
    x = random(2, 8)
    graph = linear(quantized, x, random(8, 4))
    wild = x.copy()
    wild[0, 0], wild[1, 1] = np.nan, np.inf
    calibrate(graph.module, graph.context, [[wild]])
    graph.apply(QuantizeProducts())
    assert np.isfinite(graph.result()).all()


def attention(quantized, mask: np.ndarray | None = None, groups: int = 2, **options):
    q, k, v = random(1, 2, 6, 8), random(1, groups, 7, 8), random(1, groups, 7, 4)
    arguments = [q, k, v] if mask is None else [q, k, v, mask]
    graph = quantized(*arguments)
    op = sattn.AttentionOp(*graph.inputs, scale=8**-0.5, **options)
    graph.done(graph.add(op))
    return graph


def close(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether int8 attention is what float attention is, to its precision."""
    assert np.array_equal(np.isnan(found), np.isnan(wanted))
    given, true = (np.nan_to_num(array.astype(np.float64)).ravel() for array in (found, wanted))
    return float(given @ true / np.linalg.norm(given) / np.linalg.norm(true)) > 0.999


EMPTY = np.ones((1, 1, 6, 7), bool)
EMPTY[0, 0, 2] = False
ATTENTIONS = {
    "plain": {},
    "shared heads": {"groups": 1},
    "causal": {"causal": True, "causal_offset": 1},
    "soft cap": {"softcap": 3.0},
    "added mask": {"mask": np.where(EMPTY, 0, -3.4e38).astype(np.float32)},
    "empty row of NaN": {"mask": EMPTY, "empty_row": EmptyRow.NAN},
    "empty row of zeros": {"mask": EMPTY, "empty_row": EmptyRow.ZERO},
    "uniform empty row": {"mask": EMPTY, "empty_row": EmptyRow.UNIFORM, "fill": -3.4e38},
}


@pytest.mark.parametrize("static", [False, True], ids=["dynamic", "static"])
@pytest.mark.parametrize("name", ATTENTIONS)
def test_attention_keeps_its_meaning(quantized, name: str, static: bool) -> None:
    graph = attention(quantized, **ATTENTIONS[name])
    before = graph.result()
    if static:
        calibrate(graph.module, graph.context, [graph.arrays])
    [found] = products(graph.apply(QuantizeProducts()))
    assert {element_type(value) for value in (found.q, found.k, found.v)} == {i8}
    after = graph.result()
    assert close(after, before)
    simulated = graph.simulated()
    np.testing.assert_array_equal(np.isnan(simulated), np.isnan(after))
    np.testing.assert_allclose(simulated, after, rtol=1e-4, atol=1e-5)


def test_attention_scales_lie_along_kept_axes(quantized) -> None:
    graph = attention(quantized)
    [found] = products(graph.apply(QuantizeProducts()))
    assert shape_of(found.q_scale) == (1, 2, 6, 1)
    assert shape_of(found.k_scale) == (1, 2, 7, 1)
    assert shape_of(found.v_scale) == (1, 2, 1, 4)


def test_calibrated_values_have_a_range_for_each_channel_of_a_head(quantized) -> None:
    graph = attention(quantized)
    calibrate(graph.module, graph.context, [graph.arrays])
    [found] = products(graph.apply(QuantizeProducts()))
    assert [shape_of(scale) for scale in (found.q_scale, found.k_scale)] == [(1, 1, 1, 1)] * 2
    assert shape_of(found.v_scale) == (1, 2, 1, 4)


def test_narrow_results_stay_narrow(quantized) -> None:
    """A product in a bf16 model gives bf16, its factors are float32."""
    x, w = random(4, 16).astype(bf16_type()), random(16, 8).astype(bf16_type())
    graph = quantized(x, w)
    graph.done(graph.add(nn.MatmulOp(*graph.inputs)))
    [found] = products(graph.apply(QuantizeProducts()))
    assert element_type(found.lhs) == i8
    assert element_type(graph.block.last_op.operands[0]) == bf16
    wide = dynamic_product(x.astype(np.float32), w.astype(np.float32))
    np.testing.assert_allclose(graph.result().astype(np.float32), wide, rtol=2**-8)


def bf16_type() -> np.dtype:
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)
