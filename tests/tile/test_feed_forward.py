"""Feed-forward pairs: values for any shape, format, epilogue and tiling, and when two products become one kernel."""

import numpy as np
import pytest
from xdsl.dialects.builtin import bf16, f32, i8, i32

from attnc.dialects import bnn, nn
from attnc.dialects.bnn_types import bipolar, unipolar
from attnc.passes.tile import feed_forward, feed_forward_pairs
from attnc.passes.tile.feed_forward_problem import FeedForwardDecision, FeedForwardTiling
from attnc.passes.tile.feed_forward_sums import Rest


def weight(depth, columns, element=f32, seed=1):
    random = np.random.default_rng(seed)
    if element is i8:
        return nn.ConstantOp(random.integers(-128, 128, (depth, columns)).astype(np.int8)).result
    made = nn.ConstantOp((random.standard_normal((depth, columns)) / depth**0.5).astype(np.float32)).result
    return made if element is f32 else nn.CastOp(made, element).result


def number(value):
    return nn.ConstantOp(np.float32(value)).result


def row(columns, seed, scale=1.0):
    return nn.ConstantOp((scale * np.random.default_rng(seed).standard_normal(columns)).astype(np.float32)).result


def apply(function, *operands, element=None):
    return nn.MapOp(function, operands, element).result


def quantized(value, scale):
    return nn.CastOp(apply("rint", apply("mul", value, number(scale))), i8).result


def floats(depth, hidden, columns, element=f32):
    """Products of floats with biases, GELU and residual."""

    def body(x, residual):
        up = apply("add", nn.MatmulOp(x, weight(depth, hidden, element)).result, row(hidden, 2))
        down = nn.MatmulOp(nn.CastOp(apply("gelu", up), element).result, weight(hidden, columns, element, 3)).result
        return [apply("add", residual, apply("add", down, row(columns, 4)))]

    return body


def integers(depth, hidden, columns, result=f32):
    """int8 products: scales, bias, GELU and requantization; then scales, bias and residual, or integers."""

    def body(x, residual):
        up = nn.CastOp(nn.MatmulOp(x, weight(depth, hidden, i8)).result, f32).result
        up = apply("add", apply("mul", up, row(hidden, 2, 1e-3)), row(hidden, 3))
        sums = nn.MatmulOp(quantized(apply("gelu", up), 20.0), weight(hidden, columns, i8, 4)).result
        if result is i32:
            return [apply("add", sums, residual)]
        down = apply("add", apply("mul", nn.CastOp(sums, f32).result, row(columns, 5, 1e-4)), row(columns, 6))
        if result is i8:
            return [quantized(apply("add", residual, down), 10.0)]
        return [apply("add", residual, down, element=result)]

    return body


@pytest.fixture
def always(monkeypatch):
    """Every pair that can be one kernel becomes one."""
    monkeypatch.setattr(feed_forward_pairs, "_pays", lambda *_: True)


def kinds(kernels):
    return [kernel.label.data.rpartition("_")[0] for kernel in kernels]


def forced(**sizes):
    """A search that always answers with this tiling."""
    return lambda *_: FeedForwardDecision(FeedForwardTiling(**sizes), None, 1)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("element", [f32, bf16])
@pytest.mark.parametrize("shape", [(1, 1, 2, 1), (1, 30, 70, 20), (33, 7, 129, 65), (197, 65, 200, 33)])
def test_floats_of_any_shape(tiling, element, shape):
    rows, depth, hidden, columns = shape
    module = tiling.module([(element, (rows, depth)), (f32, (rows, columns))], floats(depth, hidden, columns, element))
    close = 1e-5 if element is f32 else 2e-2
    kernels = tiling.check(module, tiling.arrays(module), 60_000, rtol=close, atol=3 * close)
    assert kinds(kernels)[-1] == "feed_forward"


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("result", [f32, bf16, i8, i32])
@pytest.mark.parametrize("sram_bytes", [24_000, 40_000, 262_144])
def test_integers_of_any_result(tiling, result, sram_bytes):
    rows, depth, hidden, columns = 67, 50, 190, 70
    residual = i32 if result is i32 else f32
    module = tiling.module([(i8, (rows, depth)), (residual, (rows, columns))], integers(depth, hidden, columns, result))
    # Sums that rest as bf16 between panels are rounded each time, at magnitudes up to 30.
    close, rounding = (2e-2, 30 / 256) if result is bf16 else (1e-5, 1e-5)
    kernels = tiling.check(module, tiling.arrays(module), sram_bytes, rtol=close, atol=rounding)
    assert kinds(kernels)[-1] == "feed_forward"


def bits(depth, hidden, columns):
    """Products of one-bit operands: thresholds between them, then floats and a residual."""
    random = np.random.default_rng(3)

    def signs(rows, width):
        whole = nn.ConstantOp(random.choice(np.int8([-1, 1]), (rows, width))).result
        return bnn.PackOp(whole, bipolar).result

    def body(x, residual):
        sums = bnn.MatmulOp(bnn.PackOp(x, bipolar).result, signs(hidden, depth)).result
        level = nn.ConstantOp(random.integers(-9, 9, hidden).astype(np.int32)).result
        few = bnn.PackOp(apply("ge", sums, level), unipolar).result
        down = nn.CastOp(bnn.MatmulOp(few, signs(columns, hidden)).result, f32).result
        return [apply("add", residual, apply("mul", down, row(columns, 4)))]

    return body


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("sram_bytes", [24_000, 262_144])
def test_bits_keep_what_they_stand_for(tiling, sram_bytes):
    rows, depth, hidden, columns = 67, 48, 208, 24
    module = tiling.module([(i8, (rows, depth)), (f32, (rows, columns))], bits(depth, hidden, columns))
    x = np.random.default_rng(8).choice(np.int8([-1, 1]), (rows, depth))
    residual = np.random.default_rng(9).standard_normal((rows, columns)).astype(np.float32)
    kernels = tiling.check(module, [x, residual], sram_bytes)
    assert kinds(kernels)[-1] == "feed_forward"


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize(("result", "rest"), [(f32, Rest.RESULT), (f32, Rest.CHIP), (i32, Rest.CHIP), (i32, Rest.DRAM)])
@pytest.mark.parametrize("panel", [32, 64, 96])
@pytest.mark.parametrize(
    ("rows", "m", "n", "k", "down_n", "down_k", "strip"),
    [(67, 67, 32, 50, 32, 32, 67), (67, 33, 16, 20, 70, 17, 11), (22, 11, 32, 50, 9, 160, 5)],
)
def test_every_tiling(tiling, monkeypatch, result, rest, panel, rows, m, n, k, down_n, down_k, strip):
    sizes = {"rows": rows, "panel": panel, "m": m, "n": n, "k": k, "down_n": down_n, "down_k": down_k}
    search = forced(**sizes, up_strip=strip, strip=strip, rest=rest)
    monkeypatch.setattr(feed_forward, "search_feed_forward", search)
    residual = i32 if result is i32 else f32
    module = tiling.module([(i8, (67, 50)), (residual, (67, 70))], integers(50, 150, 70, result))
    kernels = tiling.check(module, tiling.arrays(module))
    assert kinds(kernels)[-1] == "feed_forward"


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("element", [f32, bf16])
@pytest.mark.parametrize("sram_bytes", [40_000, 262_144])
def test_gated(tiling, element, sram_bytes):
    depth, hidden = 48, 200

    def body(x):
        gate = apply("silu", nn.MatmulOp(x, weight(depth, hidden, element)).result)
        up = apply("mul", gate, nn.MatmulOp(x, weight(depth, hidden, element, 2)).result)
        return [nn.MatmulOp(nn.CastOp(up, element).result, weight(hidden, depth, element, 3)).result]

    module = tiling.module([(element, (35, depth))], body)
    close = 1e-5 if element is f32 else 2e-2
    kernels = tiling.check(module, tiling.arrays(module), sram_bytes, rtol=close, atol=5 * close)
    assert kinds(kernels)[-1] == "feed_forward"
    assert "matmul" not in kinds(kernels)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize(("lead", "tail"), [(1, 1), (2, 3), (9, 9)])
def test_edges_of_gated_pairs(tiling, monkeypatch, lead, tail):
    sizes = {"rows": 35, "panel": 64, "m": 35, "n": 32, "k": 24, "down_n": 16, "down_k": 32, "up_strip": 20, "strip": 9}
    search = forced(**sizes, rest=Rest.CHIP, edge=11, lead=lead, tail=tail)
    monkeypatch.setattr(feed_forward, "search_feed_forward", search)

    def body(x):
        gate = apply("silu", nn.MatmulOp(x, weight(48, 150)).result)
        up = apply("mul", gate, nn.MatmulOp(x, weight(48, 150, seed=2)).result)
        return [nn.MatmulOp(up, weight(150, 48, seed=3)).result]

    module = tiling.module([(f32, (35, 48))], body)
    assert kinds(tiling.check(module, tiling.arrays(module), atol=5e-5)) == ["feed_forward"]


@pytest.mark.usefixtures("always")
def test_weights_that_are_stored_as_integers(tiling):
    depth, hidden = 40, 120

    def body(x):
        weights = [
            nn.DequantizeOp(weight(a, b, i8, seed), row(b, seed, 1e-2), None, 1).result
            for a, b, seed in ((depth, hidden, 1), (hidden, depth, 2))
        ]
        return [nn.MatmulOp(apply("gelu", nn.MatmulOp(x, weights[0]).result), weights[1]).result]

    module = tiling.module([(f32, (33, depth))], body)
    assert kinds(tiling.check(module, tiling.arrays(module), 40_000, atol=1e-3)) == ["feed_forward"]


@pytest.mark.usefixtures("always")
def test_batches_of_rows_are_one_pair(tiling):
    module = tiling.module([(f32, (3, 11, 20)), (f32, (3, 11, 30))], floats(20, 64, 30))
    assert kinds(tiling.check(module, tiling.arrays(module), 60_000)) == ["feed_forward"]


@pytest.mark.usefixtures("always")
def test_hidden_that_others_read_is_stored(tiling):
    def body(x):
        hidden = apply("max", nn.MatmulOp(x, weight(20, 50)).result, number(0.0))
        return [nn.MatmulOp(hidden, weight(50, 20)).result, nn.ReduceOp(nn.Reduction.SUM, hidden, [1]).result]

    module = tiling.module([(f32, (33, 20))], body)
    assert "feed_forward" not in kinds(tiling.check(module, tiling.arrays(module), atol=1e-3))


@pytest.mark.usefixtures("always")
def test_hidden_that_is_an_output_is_stored(tiling):
    def body(x):
        hidden = apply("max", nn.MatmulOp(x, weight(20, 50)).result, number(0.0))
        return [hidden, nn.MatmulOp(hidden, weight(50, 20)).result]

    module = tiling.module([(f32, (33, 20))], body)
    assert "feed_forward" not in kinds(tiling.check(module, tiling.arrays(module), atol=1e-3))


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize(("element", "inherits"), [(i8, True), (f32, False)])
@pytest.mark.parametrize("sram_bytes", [30_000, 40_000, 262_144])
def test_a_result_that_does_not_hold_sums_takes_the_place_of_the_input(tiling, sram_bytes, element, inherits):
    rows, columns, hidden = 67, 70, 190

    def norm(value):
        return nn.LayerNormOp(value, row(columns, 7), None, 1, 1e-5).result

    def body(x):
        stream = norm(x) if element is f32 else quantized(norm(x), 20.0)
        residual = stream if element is f32 else apply("mul", nn.CastOp(stream, f32).result, number(0.05))
        pair = floats(columns, hidden, columns) if element is f32 else integers(columns, hidden, columns, i8)
        (made,) = pair(stream, residual)
        return [norm(made if element is f32 else nn.CastOp(made, f32).result)]

    module = tiling.module([(f32, (rows, columns))], body)
    kernels = tiling.check(module, tiling.arrays(module), sram_bytes, rtol=1e-4, atol=1e-4)
    pair = next(kernel for kernel in kernels if kernel.label.data.startswith("feed_forward"))
    made_before = {output for kernel in kernels[: kernels.index(pair)] for output in kernel.outputs}
    assert (set(pair.outputs) <= made_before) == inherits


@pytest.mark.parametrize(("sram_bytes", "fused"), [(262_144, False), (60_000, True)])
def test_a_pair_is_one_kernel_where_its_hidden_does_not_fit(tiling, sram_bytes, fused):
    rows, depth, hidden = 128, 64, 512
    module = tiling.module([(i8, (rows, depth)), (f32, (rows, depth))], integers(depth, hidden, depth))
    kernels = tiling.check(module, tiling.arrays(module), sram_bytes, rtol=1e-4, atol=1e-4)
    assert ("feed_forward" in kinds(kernels)) == fused
