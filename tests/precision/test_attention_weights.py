"""Attention whose weights have few levels, in the spellings of quantizers, as one operation: the same bits."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from xdsl.dialects.builtin import f32, i8
from xdsl.ir import SSAValue

from attnc.dialects import nn, sattn
from attnc.dialects.elements import element_type, ui8
from attnc.passes.graph.remove_unused import RemoveUnused
from attnc.passes.precision.bound_scores import BoundScores
from attnc.passes.precision.integer_attention import IntegerAttention
from attnc.passes.precision.integer_products import IntegerProducts
from attnc.passes.precision.recognize_levels import RecognizeLevels

from .conftest import Quantized, products

LEVELS = (RecognizeLevels(), RemoveUnused())
HEADS, QUERIES, KEYS, WIDTH = 2, 5, 9, 16
ALPHA, SHIFT = np.float32(0.13), np.float32(0.0271)
BY_HEAD = np.float32([0.05, 0.2]).reshape(1, HEADS, 1, 1)
MASK = np.where(np.random.default_rng(5).random((1, 1, 1, KEYS)) < 0.3, np.float32(-1e4), np.float32(0))


def rounded(graph: Quantized, p: SSAValue, most: float, shift: bool = False) -> SSAValue:
    """Sub / Div / Clip / Round, as an elastic binarizer or QONNX's Quant is lowered."""
    moved = graph.map("sub", p, SHIFT) if shift else p
    level = graph.map("div", moved, ALPHA)
    return graph.map("rint", graph.map("max", graph.map("min", level, most), 0.0))


def clipped_bytes(graph: Quantized, p: SSAValue) -> SSAValue:
    """QCDQ: quantized to unsigned bytes and clipped to four bits."""
    stored = graph.add(nn.QuantizeOp(p, graph.constant(ALPHA), graph.typed(np.uint8(0)), None, ui8))
    clipped = graph.add(nn.MapOp("min", [stored, graph.typed(np.uint8(15))]))
    return graph.dequantize(clipped, graph.constant(ALPHA), graph.typed(np.uint8(0)))


def half_up(graph: Quantized, p: SSAValue) -> SSAValue:
    """QONNX's HALF_UP between 0 and 2."""
    level = graph.map("add", graph.map("mul", p, 8.0), 0.5)
    return graph.map("floor", graph.map("max", graph.map("min", level, 2.0), 0.0))


def choice(graph: Quantized, condition: SSAValue, upper: float, lower: float) -> SSAValue:
    return graph.map("select", condition, graph.constant(upper), graph.constant(lower))


@dataclass(frozen=True)
class Spelling:
    """What makes weights of probabilities, or of scores where there is no softmax; and how many levels."""

    weights: Callable[[Quantized, SSAValue], SSAValue]
    levels: int
    softmax: bool = True
    by_scale: bool = False


SPELLINGS = {
    "elastic": Spelling(lambda g, p: g.map("mul", rounded(g, p, 1.0, shift=True), ALPHA), 1),
    "two bits": Spelling(lambda g, p: g.map("mul", rounded(g, p, 3.0), ALPHA), 3),
    "three bits": Spelling(lambda g, p: g.map("mul", rounded(g, p, 7.0), ALPHA), 7, by_scale=True),
    "clipped bytes": Spelling(clipped_bytes, 8, by_scale=True),
    "greater": Spelling(lambda g, p: choice(g, g.map("gt", p, 0.1), 0.5, 0.0), 1),
    "not less": Spelling(lambda g, p: choice(g, g.map("lt", p, 0.1), 0.0, 0.5), 1),
    "by head": Spelling(lambda g, p: choice(g, g.map("ge", p, g.constant(BY_HEAD)), 1.0, 0.0), 1),
    "half up": Spelling(half_up, 2),
    "boolean scores": Spelling(lambda g, s: choice(g, g.map("ge", s, 0.0), 1.0, 0.0), 1, softmax=False),
    "scores by head": Spelling(lambda g, s: choice(g, g.map("gt", s, g.constant(BY_HEAD)), 1.0, 0.0), 1, softmax=False),
    "signs of scores": Spelling(lambda g, s: g.map("max", g.map("sign", s), 0.0), 1, softmax=False),
}


def attention(
    quantized: type[Quantized],
    spelling: Spelling,
    keys: np.ndarray | None = None,
    mask: np.ndarray | None = MASK,
    factor: float = 0.3,
) -> Quantized:
    """Few-level weights of q k^T / 4 + mask, times v; the operands are bits of -1 and 1 in bytes, times `factor`."""
    random = np.random.default_rng(7)
    shapes = ((1, HEADS, QUERIES, WIDTH), (1, HEADS, KEYS, WIDTH), (1, HEADS, KEYS, WIDTH))
    bits = [random.choice(np.int8([-1, 1]), shape) for shape in shapes]
    graph = quantized(*bits)
    sources = [graph.inputs[0], graph.inputs[1] if keys is None else graph.typed(keys), graph.inputs[2]]
    wide = [graph.map("mul", graph.add(nn.CastOp(x, f32)), factor) for x in sources]
    scores = graph.map("mul", graph.matmul(wide[0], graph.add(nn.TransposeOp(wide[1], (0, 1, 3, 2)))), 0.25)
    scores = scores if mask is None else graph.map("add", scores, graph.constant(mask))
    weights = graph.add(nn.SoftmaxOp(scores, 3)) if spelling.softmax else scores
    graph.done(graph.matmul(spelling.weights(graph, weights), wide[2]))
    return graph


@pytest.mark.parametrize("name", SPELLINGS)
def test_bits_are_those_of_the_products(quantized, name: str) -> None:
    spelling = SPELLINGS[name]
    apart = attention(quantized, spelling)
    assert len(products(apart.apply(*LEVELS, IntegerProducts()))) == 2
    graph = attention(quantized, spelling)
    [found] = products(graph.apply(*LEVELS, IntegerAttention(), IntegerProducts()))
    assert isinstance(found, sattn.AttentionOp)
    assert {element_type(value) for value in (found.q, found.k, found.v)} == {i8}
    assert (found.p_levels.value.data, found.p_scale is not None) == (spelling.levels, spelling.by_scale)
    assert (found.weights.data is sattn.Weights.SOFTMAX) == spelling.softmax
    expected = apart.result()
    assert len(np.unique(expected)) > 2
    np.testing.assert_array_equal(graph.result(), expected)
    # Sums of the softmax in another order move no bit of these weights.
    np.testing.assert_array_equal(graph.simulated(), expected)


def test_a_level_of_undefined_weights_needs_scores_that_are_defined(quantized) -> None:
    # A row of -inf is NaN, which is not less: a level of 1, where a threshold gives 0.
    graph = attention(quantized, SPELLINGS["not less"], mask=np.full_like(MASK, -np.inf))
    assert len(products(graph.apply(*LEVELS, IntegerAttention(), IntegerProducts()))) == 2


@pytest.mark.parametrize(
    "weights",
    [
        lambda g, p: choice(g, g.map("ge", p, 0.1), 1.0, -1.0),
        lambda g, p: choice(g, g.map("ge", p, 0.1), 0.0, 1.0),
        lambda g, p: choice(g, g.map("ge", p, g.constant(np.linspace(0, 1, KEYS))), 1.0, 0.0),
    ],
    ids=["bipolar", "falling", "by key"],
)
def test_other_weights_stay_products(quantized, weights) -> None:
    graph = attention(quantized, Spelling(weights, 1))
    assert len(products(graph.apply(*LEVELS, IntegerAttention(), IntegerProducts()))) == 2


def test_a_binarized_feed_forward_pair_is_no_attention(quantized) -> None:
    keys = np.random.default_rng(3).choice(np.int8([-1, 1]), (1, HEADS, KEYS, WIDTH))
    graph = attention(quantized, SPELLINGS["boolean scores"], keys)
    assert len(products(graph.apply(*LEVELS, IntegerAttention(), IntegerProducts()))) == 2


def test_scores_longer_than_the_accumulator_memory_go_by_pieces(quantized) -> None:
    graph = attention(quantized, SPELLINGS["boolean scores"])
    graph.apply(*LEVELS, IntegerAttention(), IntegerProducts())
    np.testing.assert_array_equal(graph.simulated("tiny"), graph.result())


@pytest.mark.parametrize(
    ("mask", "factor", "bounded"),
    [(None, 0.02, True), (None, 0.3, False), (MASK, 0.02, False), (np.float32(-np.inf), 0.02, False)],
    ids=["small", "large", "masked", "hidden"],
)
def test_small_scores_need_no_maximum_of_their_rows(quantized, mask, factor: float, bounded: bool) -> None:
    # 16 products of bytes: up to 4 * 128 * 128 * factor squared.
    graph = attention(quantized, SPELLINGS["greater"], mask=mask, factor=factor)
    graph.apply(*LEVELS, IntegerAttention(), IntegerProducts())
    [found] = products(graph.apply(BoundScores()))
    assert isinstance(found, sattn.AttentionOp)
    assert (found.bounded is not None) == bounded
    np.testing.assert_array_equal(graph.simulated(), graph.result())
