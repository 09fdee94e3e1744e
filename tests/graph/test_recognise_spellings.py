from itertools import product
from math import pi, sqrt

import numpy as np
import pytest
from xdsl.dialects.builtin import f16, f32

from attnc.dialects import nn
from attnc.dialects.elements import tensor


def names(operations):
    return [op.function.data if isinstance(op, nn.MapOp) else op.name for op in operations]


@pytest.mark.parametrize("order", range(6))
@pytest.mark.parametrize("form", ["erf", "tanh"])
def test_gelu_in_any_order(graph, same_values, order, form):
    made = graph(tensor(f32, 4, 64), tensor(f32, 64))
    x = made.map("add", *made.inputs)
    if form == "erf":
        inner = made.map("div", x, sqrt(2.0)) if order % 2 else made.map("mul", sqrt(0.5), x)
    else:
        cube = made.map("pow", x, 3.0) if order % 2 else made.map("mul", made.map("mul", x, x), x)
        inner = made.map("mul", made.map("add", x, made.map("mul", cube, 0.044715)), sqrt(2 / pi))
    t = made.map(form, inner)
    one = made.map("add", t, 1.0)
    result = {
        0: lambda: made.map("mul", made.map("mul", x, 0.5), one),
        1: lambda: made.map("mul", x, made.map("mul", one, 0.5)),
        2: lambda: made.map("mul", 0.5, made.map("mul", x, one)),
        3: lambda: made.map("div", made.map("mul", one, x), 2.0),
        4: lambda: made.map("mul", x, made.map("add", made.map("mul", t, 0.5), 0.5)),
        5: lambda: made.map("add", made.map("mul", x, 0.5), made.map("mul", t, made.map("mul", x, 0.5))),
    }[order]()
    made.done(result)
    assert names(same_values(made)) == ["add", "gelu" if form == "erf" else "gelu_tanh"]


def test_silu_in_its_spellings(graph, same_values):
    made = graph(tensor(f32, 4, 64))
    (x,) = made.inputs
    first = made.map("mul", made.map("sigmoid", x), x)
    second = made.map("div", first, made.map("add", made.map("exp", made.map("neg", first)), 1.0))
    made.done(
        made.map(
            "mul",
            second,
            made.map("reciprocal", made.map("add", 1.0, made.map("exp", made.map("neg", second)))),
        )
    )
    assert names(same_values(made)) == ["silu"] * 3


def test_a_value_that_is_read_twice_is_kept(graph, same_values):
    made = graph(tensor(f32, 4, 64))
    (x,) = made.inputs
    t = made.map("erf", made.map("mul", x, sqrt(0.5)))
    made.done(made.map("mul", made.map("mul", x, 0.5), made.map("add", t, 1.0)), t)
    assert "gelu" not in names(same_values(made))


@pytest.mark.parametrize(
    ("square", "root", "scaled"),
    [
        spelling
        for spelling in product(
            ["pow", "mul"], ["div", "reciprocal", "rsqrt", "pow"], ["after", "numerator", "root", "never"]
        )
        if spelling[1:] != ("div", "root")
    ],
)
@pytest.mark.parametrize("centred", [False, True])
def test_norms_in_their_spellings(graph, same_values, square, root, scaled, centred):
    made = graph(tensor(f32, 2, 17, 64))
    (x,) = made.inputs
    generator = np.random.default_rng(0)
    scale = made.constant(generator.random(64) + 0.5)
    y = made.map("sub", x, made.add(nn.ReduceOp("mean", x, (-1,)))) if centred else x
    squares = made.map("pow", y, 2.0) if square == "pow" else made.map("mul", y, y)
    total = made.map("add", made.add(nn.ReduceOp("mean", squares, (-1,))), 1e-5)
    top = made.map("mul", scale, y) if scaled == "numerator" else y
    if root == "div":
        result = made.map("div", top, made.map("sqrt", total))
    else:
        inverse = {
            "reciprocal": lambda: made.map("reciprocal", made.map("sqrt", total)),
            "rsqrt": lambda: made.map("rsqrt", total),
            "pow": lambda: made.map("pow", total, -0.5),
        }[root]()
        result = made.map("mul", top, made.map("mul", inverse, scale) if scaled == "root" else inverse)
    if scaled == "after":
        result = made.map("mul", scale, result)
    if centred:
        result = made.map("add", result, made.constant(generator.random((1, 1, 64))))
    made.done(result)
    (norm,) = same_values(made)
    assert isinstance(norm, nn.LayerNormOp if centred else nn.RmsNormOp)
    assert (norm.scale is None) == (scaled == "never")


def test_a_norm_over_the_batch_is_none(graph, same_values):
    made = graph(tensor(f32, 8, 64))
    (x,) = made.inputs
    squares = made.add(nn.ReduceOp("mean", made.map("mul", x, x), (0,)))
    made.done(made.map("div", x, made.map("sqrt", made.map("add", squares, 1e-5))))
    assert not any(isinstance(op, nn.RmsNormOp) for op in same_values(made))


def test_half_precision_norm_reads_and_rounds_itself(graph, same_values):
    made = graph(tensor(f16, 2, 64))
    wide = made.add(nn.CastOp(made.inputs[0], f32))
    total = made.map("add", made.add(nn.ReduceOp("mean", made.map("mul", wide, wide), (-1,))), 1e-5)
    result = made.add(nn.CastOp(made.map("mul", wide, made.map("rsqrt", total)), f16))
    made.done(made.map("mul", result, made.constant(np.linspace(0.5, 2, 64), np.float16)))
    (norm,) = same_values(made, tolerance=1e-3)
    assert isinstance(norm, nn.RmsNormOp)


@pytest.mark.parametrize("guard", ["plain", "negated"])
def test_a_guarded_softmax_gives_zeros(graph, same_values, guard):
    made = graph(tensor(f32, 3, 5))
    weights = made.add(nn.SoftmaxOp(made.inputs[0], 1))
    nan = made.map("is_nan", weights)
    if guard == "plain":
        made.done(made.map("select", nan, 0.0, weights))
    else:
        made.done(made.map("select", made.map("not", nan), weights, 0.0))
    inputs = made.random_inputs()
    inputs[0][1] = -np.inf
    (softmax,) = same_values(made, inputs)
    assert isinstance(softmax, nn.SoftmaxOp)
    assert softmax.empty_row.data == nn.EmptyRow.ZERO


def test_rotary_halves_give_the_same_bits(graph, same_values):
    made = graph(tensor(f32, 1, 4, 5, 16))
    (x,) = made.inputs
    angles = np.random.default_rng(0).random((5, 16))
    low = made.add(nn.SliceOp(x, (0, 0, 0, 0), (1, 4, 5, 8)))
    high = made.add(nn.SliceOp(x, (0, 0, 0, 8), (1, 4, 5, 8)))
    turned = made.add(nn.ConcatOp((made.map("neg", high), low), 3))
    made.done(
        made.map(
            "add",
            made.map("mul", x, made.constant(np.cos(angles))),
            made.map("mul", made.constant(np.sin(angles)), turned),
        )
    )
    operations = same_values(made, tolerance=0.0)
    assert "neg" not in names(operations)
