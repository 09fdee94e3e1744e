"""Folds that reassociate floats: norms and softmaxes that are only compared are not made. Their flips are counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from xdsl.ir import SSAValue

import attnc
from attnc.compiler.recipe import Recipe
from attnc.dialects import bnn, nn, sattn
from attnc.dialects.interpret.function import flips
from attnc.passes.precision.fold_norms import FoldNorms
from attnc.passes.precision.fold_softmaxes import FoldSoftmaxes

from .conftest import Quantized

ROWS, WIDTH, EPSILON = 40, 24, 1e-5
RANDOM = np.random.default_rng(6)
VALUES = RANDOM.normal(0.3, 2, (1, ROWS, WIDTH)).astype(np.float32)
SCALE = RANDOM.normal(0.1, 1, WIDTH).astype(np.float32)
SCALE[[3, 7]] = 0
BIAS, SHIFT = RANDOM.normal(0, 0.5, (2, WIDTH)).astype(np.float32)
FOLDS = {"norm_thresholds": True, "softmax_thresholds": True}


def normal() -> np.ndarray:
    """The layer norm, in double precision."""
    wide = VALUES.astype(np.float64)
    centred = wide - wide.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON) * SCALE + BIAS


def graph(bit: Callable[[Quantized, SSAValue], SSAValue], values: np.ndarray = VALUES) -> Quantized:
    """A graph of bits of a layer norm."""
    made = Quantized(values)
    norm = nn.LayerNormOp(made.inputs[0], made.constant(SCALE), made.constant(BIAS), 2, EPSILON)
    made.done(bit(made, made.add(norm)))
    return made


BITS = {
    "shift": (lambda g, x: g.map("ge", g.map("sub", x, g.constant(SHIFT)), 0.0), lambda y: y >= SHIFT),
    "above": (lambda g, x: g.map("gt", g.map("mul", x, 0.3), 0.1), lambda y: y > 0.1 / 0.3),
    "below": (lambda g, x: g.map("lt", x, g.constant(SHIFT)), lambda y: y < SHIFT),
    "turned": (lambda g, x: g.map("ge", g.map("mul", x, -2.0), 0.5), lambda y: y <= -0.25),
    "never": (lambda g, x: g.map("ge", g.map("min", x, 1.0), 2.0), lambda y: y > np.inf),
}


@pytest.mark.parametrize("name", BITS)
def test_a_compared_norm_is_a_comparison_of_its_argument(name: str) -> None:
    write, expected = BITS[name]
    made = graph(write)
    [op] = made.apply(FoldNorms())
    assert isinstance(op, bnn.CompareNormOp)
    # No value lies within rounding of a tie but those of a scale of zero, which are the bias.
    np.testing.assert_array_equal(made.result(), expected(normal()))
    np.testing.assert_array_equal(made.simulated(), made.result())


def test_a_nan_is_on_no_side() -> None:
    values = VALUES.copy()
    values[0, 5, 2] = np.nan
    for name in ("shift", "below"):
        made = graph(BITS[name][0], values)
        made.apply(FoldNorms())
        assert not made.result()[0, 5].any()
        np.testing.assert_array_equal(made.simulated(), made.result())


@pytest.mark.parametrize(
    "bit",
    [
        lambda g, x: g.map("ge", x, g.constant(np.linspace(0, 1, ROWS, dtype=np.float32).reshape(1, ROWS, 1))),
        lambda g, x: g.map("ge", g.map("mul", x, g.constant(np.where(SHIFT < 0, -1, 1).astype(np.float32))), 0.0),
        lambda g, x: g.map("ge", x, g.inputs[0]),
    ],
    ids=["by row", "either way", "no constant"],
)
def test_other_comparisons_read_the_norm(bit) -> None:
    made = graph(bit)
    assert any(isinstance(op, nn.LayerNormOp) for op in made.apply(FoldNorms()))


def test_flips_of_a_norm_are_counted_at_equal_arguments() -> None:
    # Ties: each value's own norm, as the unfolded expression rounds it, is the threshold of its column.
    unfolded = graph(lambda g, x: x).result()
    made = graph(lambda g, x: g.map("ge", x, g.constant(unfolded[0, 9])))
    [op] = made.apply(FoldNorms())
    constants = [made.context.store.array(operand.owner.data) for operand in op.operands[1:]]
    flipped, bits = flips(op, [VALUES, *constants])
    assert bits == VALUES.size
    assert flipped == (made.result() != (unfolded >= unfolded[0, 9])).sum() > 0


def test_flips_of_a_softmax_are_counted_at_equal_scores() -> None:
    random = np.random.default_rng(2)
    q, k, v = (random.choice(np.int8([-1, 1]), (1, 2, 16, 16)) for _ in range(3))
    made = Quantized(q, k, v)
    factor = made.typed(np.ones((1, 1, 1, 1), np.float32))
    scores = (q.astype(np.float32) @ k.swapaxes(-1, -2).astype(np.float32)) * np.float32(0.25)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True, dtype=np.float32)
    # A threshold for each row that is one of its weights.
    attention = sattn.AttentionOp(
        *made.inputs,
        scale=0.25,
        q_scale=factor,
        k_scale=factor,
        v_scale=factor,
        p_thresholds=made.typed(weights[..., :1]),
        p_levels=1,
    )
    made.done(made.add(attention))
    arguments = [*made.arrays, *(made.context.store.array(value.owner.data) for value in attention.operands[3:])]
    assert flips(attention, arguments) is None
    made.apply(FoldSoftmaxes())
    assert attention.weights.data is sattn.Weights.LOG_SOFTMAX
    flipped, bits = flips(attention, arguments)
    assert bits == weights.size
    assert 0 < flipped <= weights.shape[1] * weights.shape[2] * weights.shape[3] // 4
    np.testing.assert_array_equal(made.simulated(), made.result())


def test_flips_of_the_binarized_digits_are_told() -> None:
    example = Path(__file__).parents[2] / "examples"
    images = np.load(example / "digits_vit" / "images.npz")["image"]
    model = example / "digits_bivit" / "model_plain.onnx"
    report = attnc.compare(model, {"image": images[:1]}, recipe=Recipe.of({"few_bits": FOLDS}))
    # Of each layer: inputs of queries, keys, values and the feed-forward pair, and the attention's weights.
    assert len(report.flips) == 4 * 5
    assert sum(item.flipped for item in report.flips) == 0
    assert report.to_dict()["flips"][0] == report.flips[0].to_dict()
    assert report.agrees
    assert not attnc.compare(model, {"image": images[:1]}).flips
