"""Products of dequantized tensors: exact integers, then the model's scales."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from xdsl.dialects.builtin import f32, i8

from attnc.dialects import nn
from attnc.dialects.elements import element_type
from attnc.passes.precision.integer_products import IntegerProducts
from attnc.passes.precision.unlowered import unlowered

from .conftest import products

ROWS, DEPTH, COLUMNS = 3, 5, 4
SCALES = (np.float32(0.013), np.float32(0.37))


@dataclass(frozen=True)
class Side:
    """How one operand is quantized: its type, zero points (None: not given) and whether it has one per row or
    column."""

    dtype: type
    zero: int | None
    per_axis: bool = False
    dynamic: bool = False

    def __str__(self) -> str:
        words = [np.dtype(self.dtype).name, "none" if self.zero is None else str(self.zero)]
        return "_".join(words + ["per_axis"] * self.per_axis + ["dynamic"] * self.dynamic)


SIDES = [
    Side(np.int8, None),
    Side(np.int8, 0),
    Side(np.int8, -128),
    Side(np.int8, 5, per_axis=True),
    Side(np.int8, 7, dynamic=True),
    Side(np.uint8, None),
    Side(np.uint8, 128),
    Side(np.uint8, 3),
    Side(np.uint8, 255, per_axis=True),
    Side(np.uint8, 131, dynamic=True),
    Side(np.uint8, 9, per_axis=True, dynamic=True),
]


def levels(side: Side, shape: tuple[int, ...], seed: int) -> np.ndarray:
    limits = np.iinfo(side.dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max, shape, endpoint=True).astype(side.dtype)


def parameters(side: Side, extent: int, scale: np.float32) -> tuple[np.ndarray, np.ndarray | None]:
    """Scales and zero points, one for each index where they are per axis."""
    count = np.arange(extent) if side.per_axis else np.zeros((), int)
    scales = (scale * (1 + count)).astype(np.float32)
    if side.zero is None:
        return scales, None
    step = -1 if side.zero > 64 else 1
    return scales, (side.zero + step * count).astype(side.dtype)


def expected(a, a_zero, a_scale, b, b_zero, b_scale) -> np.ndarray:
    """The exact bracket in float32, times the product of the scales; parameters broadcast as they are."""
    left = a.astype(np.int64) - (0 if a_zero is None else a_zero.astype(np.int64))
    right = b.astype(np.int64) - (0 if b_zero is None else b_zero.astype(np.int64))
    return (left @ right).astype(np.float32) * (a_scale * b_scale).astype(np.float32)


def column(array: np.ndarray | None) -> np.ndarray | None:
    """One value a row."""
    return array if array is None or array.ndim == 0 else array[:, None]


def build(quantized, left: Side, right: Side, a: np.ndarray, b: np.ndarray, transposed: bool, constant: bool):
    """A product of dequantized operands; gives the graph and the values it must have."""
    (a_scale, a_zero), (b_scale, b_zero) = parameters(left, ROWS, SCALES[0]), parameters(right, COLUMNS, SCALES[1])
    arguments = [a] if constant else [a, b]
    dynamic = {}
    for name, side, zero in (("left", left, a_zero), ("right", right, b_zero)):
        if side.dynamic:
            dynamic[name] = len(arguments)
            arguments.append(zero)
    graph = quantized(*arguments)

    def zero_of(name: str, zero):
        if name in dynamic:
            return graph.inputs[dynamic[name]]
        return None if zero is None else graph.typed(zero)

    lhs = graph.dequantize(graph.inputs[0], graph.typed(a_scale), zero_of("left", a_zero), 0 if left.per_axis else None)
    source = graph.typed(b) if constant else graph.inputs[1]
    axis = (0 if transposed else 1) if right.per_axis else None
    rhs = graph.dequantize(source, graph.typed(b_scale), zero_of("right", b_zero), axis)
    graph.done(graph.matmul(lhs, rhs, transposed))
    plain = b.T if transposed else b
    return graph, expected(a, column(a_zero), column(a_scale), plain, b_zero, b_scale)


@pytest.mark.parametrize("transposed", [False, True], ids=["plain", "transposed"])
@pytest.mark.parametrize(("left", "right"), list(product(SIDES, SIDES)), ids=str)
def test_every_pair_of_zero_points_is_exact(quantized, left: Side, right: Side, transposed: bool) -> None:
    a = levels(left, (ROWS, DEPTH), 1)
    b = levels(right, (COLUMNS, DEPTH) if transposed else (DEPTH, COLUMNS), 2)
    for constant in (False, True):
        graph, wanted = build(quantized, left, right, a, b, transposed, constant)
        [found] = products(graph.apply(IntegerProducts()))
        assert element_type(found.lhs) == element_type(found.rhs) == i8
        np.testing.assert_array_equal(graph.result(), wanted)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (SIDES[0], SIDES[3]),
        (SIDES[7], SIDES[3]),
        (SIDES[9], SIDES[5]),
        (SIDES[4], SIDES[8]),
        (SIDES[10], SIDES[1]),
    ],
    ids=str,
)
@pytest.mark.parametrize("machine", ["edge", "tiny", "server"])
def test_machines_give_the_same_bits(quantized, left: Side, right: Side, machine: str) -> None:
    a, b = levels(left, (ROWS, DEPTH), 3), levels(right, (DEPTH, COLUMNS), 4)
    graph, wanted = build(quantized, left, right, a, b, transposed=False, constant=True)
    graph.apply(IntegerProducts())
    np.testing.assert_array_equal(graph.simulated(machine), wanted)


@pytest.mark.parametrize("a_level", [-128, 127, 0, 255])
@pytest.mark.parametrize("b_level", [-128, 127, 0, 255])
def test_extreme_levels_are_exact_over_a_long_sum(quantized, a_level: int, b_level: int) -> None:
    depth = 3072
    left, right = (Side(np.uint8 if level == 255 else np.int8, None) for level in (a_level, b_level))
    a, b = np.full((2, depth), a_level, left.dtype), np.full((depth, 3), b_level, right.dtype)
    graph = quantized(a, b)
    scale = graph.typed(np.float32(1))
    lhs, rhs = graph.dequantize(graph.inputs[0], scale), graph.dequantize(graph.inputs[1], scale)
    graph.done(graph.matmul(lhs, rhs))
    graph.apply(IntegerProducts())
    wanted = np.full((2, 3), a_level * b_level * depth, np.float32)
    np.testing.assert_array_equal(graph.result(), wanted)
    np.testing.assert_array_equal(graph.simulated(), wanted)


def test_batches_broadcast(quantized) -> None:
    a = levels(Side(np.uint8, None), (2, 1, ROWS, DEPTH), 5)
    b = levels(Side(np.int8, None), (3, DEPTH, COLUMNS), 6)
    graph = quantized(a, b)
    lhs = graph.dequantize(graph.inputs[0], graph.typed(SCALES[0]), graph.typed(np.uint8(11)))
    rhs = graph.dequantize(graph.inputs[1], graph.typed(SCALES[1]), graph.typed(np.int8(-3)))
    graph.done(graph.matmul(lhs, rhs))
    graph.apply(IntegerProducts())
    wanted = expected(a, np.int64(11), SCALES[0], b, np.int64(-3), SCALES[1])
    np.testing.assert_array_equal(graph.result(), wanted)
    np.testing.assert_array_equal(graph.simulated(), wanted)


def test_scales_of_heads_move_out(quantized) -> None:
    """A scale along a batch axis is one the product keeps."""
    a, b = levels(Side(np.int8, None), (2, ROWS, DEPTH), 7), levels(Side(np.int8, None), (2, DEPTH, COLUMNS), 8)
    graph = quantized(a, b)
    a_scale, b_scale = np.float32([0.5, 0.25]), np.float32([0.1, 0.7])
    lhs = graph.dequantize(graph.inputs[0], graph.typed(a_scale), None, 0)
    rhs = graph.dequantize(graph.inputs[1], graph.typed(b_scale), graph.typed(np.int8([4, -4])), 0)
    graph.done(graph.matmul(lhs, rhs))
    graph.apply(IntegerProducts())
    heads = (slice(None), None, None)
    wanted = expected(a, None, a_scale[heads], b, np.int64([4, -4])[heads], b_scale[heads])
    np.testing.assert_array_equal(graph.result(), wanted)


def test_layout_between_quantizer_and_product(quantized) -> None:
    """Heads are split and transposed after the quantizer, in uint8 with a zero point, as exporters write it."""
    x = levels(Side(np.uint8, None), (1, 6, 8), 9)
    y = levels(Side(np.uint8, None), (1, 6, 8), 10)
    graph = quantized(x, y)
    left, right = (
        graph.dequantize(value, graph.typed(scale), graph.typed(np.uint8(zero)))
        for value, scale, zero in zip(graph.inputs, SCALES, (121, 3), strict=True)
    )
    heads = [graph.add(nn.ReshapeOp(value, (1, 6, 2, 4))) for value in (left, right)]
    q = graph.add(nn.TransposeOp(heads[0], (0, 2, 1, 3)))
    k = graph.add(nn.TransposeOp(heads[1], (0, 2, 3, 1)))
    graph.done(graph.matmul(q, k))
    [found] = products(graph.apply(IntegerProducts()))
    assert element_type(found.lhs) == i8
    split = [array.reshape(1, 6, 2, 4) for array in (x, y)]
    sides = split[0].transpose(0, 2, 1, 3), split[1].transpose(0, 2, 3, 1)
    wanted = expected(sides[0], np.int64(121), SCALES[0], sides[1], np.int64(3), SCALES[1])
    np.testing.assert_array_equal(graph.result(), wanted)
    np.testing.assert_array_equal(graph.simulated(), wanted)


@pytest.mark.parametrize("steps", ["slice", "broadcast", "reshape"])
def test_axis_of_scales_is_followed_through_layout(quantized, steps: str) -> None:
    x, w = levels(Side(np.int8, None), (4, 6), 11), levels(Side(np.int8, None), (6, 8), 12)
    scales = (np.arange(8) + 1).astype(np.float32)
    graph = quantized(x)
    rhs = graph.dequantize(graph.typed(w), graph.typed(scales), None, 1)
    weight = w
    if steps == "slice":
        rhs = graph.add(nn.SliceOp(rhs, (2, 0), (3, 8)))
        weight = w[2:5]
    elif steps == "broadcast":
        rhs = graph.add(nn.BroadcastOp(rhs, (2, 6, 8)))
        weight = np.broadcast_to(w, (2, 6, 8))
    else:
        rhs = graph.add(nn.ReshapeOp(rhs, (2, 3, 8)))
        weight = w.reshape(2, 3, 8)
    depth = weight.shape[-2]
    lhs = graph.dequantize(graph.inputs[0], graph.typed(np.float32(0.5)))
    lhs = graph.add(nn.SliceOp(lhs, (0, 0), (4, depth)))
    graph.done(graph.matmul(lhs, rhs))
    [found] = products(graph.apply(IntegerProducts()))
    assert element_type(found.lhs) == i8
    wanted = expected(x[:, :depth], None, np.float32(0.5), weight, None, scales)
    np.testing.assert_array_equal(graph.result(), wanted)


def test_convolution_of_a_padded_image(quantized) -> None:
    """A border of zeros is a border of the zero point, windows are only a view."""
    image = levels(Side(np.uint8, None), (1, 3, 6, 6), 13)
    kernels = levels(Side(np.int8, None), (4, 3, 3, 3), 14)
    scales = np.float32([0.1, 0.2, 0.3, 0.4])
    graph = quantized(image)
    value = graph.dequantize(graph.inputs[0], graph.typed(SCALES[0]), graph.typed(np.uint8(17)))
    padded = graph.add(nn.PadOp(value, graph.typed(np.float32(0)), (0, 0, 1, 1), (0, 0, 1, 1)))
    windows = graph.add(nn.WindowsOp(padded, (3, 3), (1, 1)))
    rows = graph.add(nn.ReshapeOp(graph.add(nn.TransposeOp(windows, (0, 2, 3, 1, 4, 5))), (1, 36, 27)))
    weights = graph.add(nn.ReshapeOp(graph.dequantize(graph.typed(kernels), graph.typed(scales), None, 0), (4, 27)))
    graph.done(graph.matmul(rows, weights, transposed=True))
    [found] = products(graph.apply(IntegerProducts()))
    assert element_type(found.lhs) == i8
    wide = np.pad(image.astype(np.int64) - 17, ((0, 0), (0, 0), (1, 1), (1, 1)))
    views = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), (2, 3))
    patches = views.transpose(0, 2, 3, 1, 4, 5).reshape(1, 36, 27)
    wanted = (patches @ kernels.reshape(4, 27).T.astype(np.int64)).astype(np.float32) * (SCALES[0] * scales)
    np.testing.assert_array_equal(graph.result(), wanted)
    np.testing.assert_array_equal(graph.simulated(), wanted)


def test_weights_scaled_by_a_product_count_as_quantized(quantized) -> None:
    """INT8 -> Cast -> Mul, the weight-only spelling, beside a quantized activation."""
    x, w = levels(Side(np.int8, None), (3, 16), 15), levels(Side(np.int8, None), (16, 8), 16)
    scales = (np.arange(8) + 1).astype(np.float32)[None]
    graph = quantized(x)
    lhs = graph.dequantize(graph.inputs[0], graph.typed(SCALES[0]))
    rhs = graph.map("mul", graph.add(nn.CastOp(graph.typed(w), f32)), graph.typed(scales))
    graph.done(graph.matmul(lhs, rhs))
    [found] = products(graph.apply(IntegerProducts()))
    assert element_type(found.rhs) == i8
    np.testing.assert_array_equal(graph.result(), expected(x, None, SCALES[0], w, None, scales))


def test_scales_along_the_sum_stay_and_are_reported(quantized) -> None:
    x, w = levels(Side(np.int8, None), (3, 16), 17), levels(Side(np.int8, None), (16, 8), 18)
    graph = quantized(x)
    lhs = graph.dequantize(graph.inputs[0], graph.typed(SCALES[0]))
    rhs = graph.dequantize(graph.typed(w), graph.typed(np.arange(1, 17).astype(np.float32)), None, 0)
    module = graph.done(graph.matmul(lhs, rhs))
    before = graph.result()
    [found] = products(graph.apply(IntegerProducts()))
    assert element_type(found.lhs) == f32
    np.testing.assert_array_equal(graph.result(), before)
    [report] = unlowered(module)
    assert report.node == "node2"
    assert "scale along the axis that is summed over" in report.reason


def test_borders_of_other_levels_per_channel_stay_float(quantized) -> None:
    image = levels(Side(np.uint8, None), (1, 2, 4, 4), 19)
    graph = quantized(image)
    zeros = graph.typed(np.uint8([3, 200]))
    value = graph.dequantize(graph.inputs[0], graph.typed(np.float32([1, 2])), zeros, 1)
    padded = graph.add(nn.PadOp(value, graph.typed(np.float32(0)), (0, 0, 1, 1), (0, 0, 1, 1)))
    other = graph.dequantize(graph.inputs[0], graph.typed(np.float32(1)))
    graph.done(graph.matmul(padded, graph.add(nn.PadOp(other, graph.typed(np.float32(0)), (0, 0, 1, 1), (0, 0, 1, 1)))))
    before = graph.result()
    graph.apply(IntegerProducts())
    np.testing.assert_array_equal(graph.result(), before)


def test_weight_only_is_reported_as_such(quantized) -> None:
    x, w = np.ones((3, 16), np.float32), levels(Side(np.int8, None), (16, 8), 20)
    graph = quantized(x)
    module = graph.done(graph.matmul(graph.inputs[0], graph.dequantize(graph.typed(w), graph.typed(SCALES[0]))))
    graph.apply(IntegerProducts())
    [report] = unlowered(module)
    assert report.reason == "the left operand not quantized: the right operand widened on chip"
