"""Attention between quantizers as one operation: the same integers as the products by themselves."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from xdsl.dialects.builtin import StringAttr, i8

from attnc.dialects import nn, sattn
from attnc.dialects.elements import element_type
from attnc.dialects.provenance import nodes_of
from attnc.passes.graph.recognize.softmax import RecognizeSoftmax
from attnc.passes.precision.integer_attention import IntegerAttention
from attnc.passes.precision.integer_products import IntegerProducts

from .conftest import Quantized, products

HEADS, QUERIES, KEYS, WIDTH = 2, 5, 7, 8


@dataclass(frozen=True)
class Case:
    """How the weights are quantized, and what stands between scores and softmax."""

    dtype: type = np.uint8
    zero: int | None = 0
    scale: float = 1 / 255
    mask: str = ""
    causal: bool = False
    groups: int = HEADS
    zeros: tuple[int, int, int] = (0, 0, 0)


CASES = {
    "uint8 as ONNX Runtime writes it": Case(),
    "uint8 that saturates as Brevitas writes it": Case(scale=0.0007),
    "uint8 without a zero point": Case(zero=None),
    "uint8 with an odd zero point": Case(zero=3, scale=1 / 200),
    "int8 around zero": Case(np.int8, 0, 1 / 127),
    "int8 without a zero point": Case(np.int8, None, 1 / 127),
    "int8 over its whole range": Case(np.int8, -128, 1 / 255),
    "coarse steps": Case(np.uint8, 0, 0.1),
    "added mask": Case(mask="added"),
    "boolean mask": Case(mask="boolean"),
    "rows that see nothing": Case(mask="finite"),
    "shared keys": Case(groups=1),
    "zero points": Case(zeros=(5, -9, 127), mask="finite"),
    "zero points of values alone": Case(np.int8, 0, 1 / 127, zeros=(0, 0, -128), mask="boolean"),
    "zero points of queries alone": Case(zeros=(-128, 0, 0), groups=1),
    "zero points of shared keys": Case(zeros=(0, 127, 3), groups=1),
}


def levels(seed: int, *shape: int, low: int = -128, high: int = 127) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, shape, endpoint=True).astype(np.int8)


def attention(quantized: type[Quantized], case: Case, q=None, k=None, v=None, weights_too=False) -> Quantized:
    """softmax(q k^T / 4 + mask), quantized, times v; the operands are int8 inputs."""
    q = levels(1, 1, HEADS, QUERIES, WIDTH) if q is None else q
    k = levels(2, 1, case.groups, KEYS, WIDTH) if k is None else k
    v = levels(3, 1, case.groups, KEYS, WIDTH) if v is None else v
    graph = quantized(q, k, v)
    scales = np.float32([0.02, 0.03, 0.05])
    points = [graph.typed(np.int8(zero)) if zero else None for zero in case.zeros]
    operands = zip(graph.inputs, scales, points, strict=True)
    wide = [graph.dequantize(value, graph.typed(scale), zero) for value, scale, zero in operands]
    if case.groups != HEADS:
        shapes = [(1, HEADS, KEYS, WIDTH)] * 2
        wide[1:] = [graph.add(nn.BroadcastOp(value, shape)) for value, shape in zip(wide[1:], shapes, strict=True)]
    turned = graph.add(nn.TransposeOp(wide[1], (0, 1, 3, 2)))
    scores = graph.map("mul", graph.matmul(wide[0], turned), 0.25)
    seen = np.random.default_rng(4).random((1, 1, QUERIES, KEYS)) < 0.7
    seen[..., 0] = True
    if case.mask == "added":
        scores = graph.map("add", scores, graph.typed(np.where(seen, 0, -1e4).astype(np.float32)))
    elif case.mask:
        if case.mask == "finite":
            seen[0, 0, 2] = False
        hidden = -np.inf if case.mask == "boolean" else -3.4e38
        scores = graph.add(nn.MapOp("select", [graph.typed(seen), scores, graph.typed(np.float32(hidden))]))
    weights = graph.add(nn.SoftmaxOp(scores, 3))
    scale = graph.typed(np.float32(case.scale))
    zero = None if case.zero is None else graph.typed(np.asarray(case.zero, case.dtype))
    element = element_type(graph.typed(np.zeros((), case.dtype)))
    stored = graph.add(nn.QuantizeOp(weights, scale, zero, None, element))
    context = graph.matmul(graph.dequantize(stored, scale, zero), wide[2])
    graph.done(context, *[weights] * weights_too)
    return graph


def fused(graph: Quantized) -> sattn.AttentionOp:
    """The only product left once the graph has been rewritten."""
    [found] = products(graph.apply(IntegerAttention(), IntegerProducts()))
    assert isinstance(found, sattn.AttentionOp)
    return found


@pytest.mark.parametrize("name", CASES)
def test_integers_are_those_of_the_products(quantized, name: str) -> None:
    apart = attention(quantized, CASES[name])
    assert len(products(apart.apply(IntegerProducts()))) == 2
    graph = attention(quantized, CASES[name])
    found = fused(graph)
    assert {element_type(value) for value in (found.q, found.k, found.v)} == {i8}
    # Sums are exact; the last factors are multiplied in another order.
    np.testing.assert_allclose(graph.result(), apart.result(), rtol=3e-7, atol=1e-7)


@pytest.mark.parametrize("machine", ["edge", "tiny", "server"])
@pytest.mark.parametrize("name", CASES)
def test_simulator_gives_the_same(quantized, name: str, machine: str) -> None:
    graph = attention(quantized, CASES[name])
    fused(graph)
    np.testing.assert_allclose(graph.simulated(machine), graph.result(), rtol=3e-7, atol=1e-7)


@pytest.mark.parametrize("level", [-128, 127])
@pytest.mark.parametrize(
    "name", ["uint8 as ONNX Runtime writes it", "int8 over its whole range", "coarse steps", "zero points"]
)
def test_extreme_levels(quantized, name: str, level: int) -> None:
    operands = [np.full((1, HEADS, rows, WIDTH), level, np.int8) for rows in (QUERIES, KEYS, KEYS)]
    apart = attention(quantized, CASES[name], *operands)
    apart.apply(IntegerProducts())
    graph = attention(quantized, CASES[name], *operands)
    fused(graph)
    np.testing.assert_allclose(graph.result(), apart.result(), rtol=3e-7)
    np.testing.assert_allclose(graph.simulated(), apart.result(), rtol=3e-7)


@pytest.mark.parametrize("name", ["uint8 as ONNX Runtime writes it", "int8 around zero", "zero points"])
def test_rows_that_are_too_long_to_stand_whole(quantized, name: str) -> None:
    keys = 6000
    operands = [levels(seed, 1, HEADS, rows, WIDTH) for seed, rows in enumerate((QUERIES, keys, keys))]
    step = 1e-5
    graph = attention(quantized, replace(CASES[name], mask="", scale=step), *operands)
    fused(graph)
    wanted = graph.result()
    assert np.abs(wanted).max() > 0.1
    # A row's sum in another order moves a few weights by one step, in front of values of up to 128 * 0.05.
    np.testing.assert_allclose(graph.simulated("tiny"), wanted, rtol=0, atol=8 * step * 128 * 0.05)


def test_it_stands_for_all_its_nodes_at_the_path_of_its_scores(quantized) -> None:
    graph = attention(quantized, CASES["added mask"])
    [scores, _] = [op for op in graph.block.ops if isinstance(op, nn.MatmulOp)]
    scores.attributes["path"] = StringAttr("encoder.0.attention.scores")
    found = fused(graph)
    assert found.attributes["path"].data == "encoder.0.attention.scores"
    operators = [node.operator for node in nodes_of(found)]
    for operator in ("nn.matmul", "nn.softmax", "nn.quantize", "nn.dequantize"):
        assert operator in operators


def test_zero_points_by_head_stay_two_integer_products(quantized) -> None:
    graph = attention(quantized, CASES["added mask"])
    [first, *_] = [op for op in graph.block.ops if isinstance(op, nn.DequantizeOp)]
    parameters = [nn.ConstantOp(np.asarray(a)) for a in (np.float32([0.02, 0.02]), np.array([5, -3], np.int8))]
    changed = nn.DequantizeOp(first.input, *(p.result for p in parameters), 1, element_type(first.result))
    changed.location = first.location
    for made in (*parameters, changed):
        graph.block.insert_op_before(made, first)
    first.result.replace_all_uses_with(changed.result)
    first.detach()
    first.erase()
    before = graph.result()
    found = products(graph.apply(IntegerAttention(), IntegerProducts()))
    assert [type(op) for op in found] == [nn.MatmulOp, nn.MatmulOp]
    assert {element_type(op.lhs) for op in found} == {i8}
    np.testing.assert_allclose(graph.result(), before, rtol=1e-5, atol=1e-6)


def test_weights_that_something_else_reads_stay_as_they_are(quantized) -> None:
    graph = attention(quantized, CASES["int8 around zero"], weights_too=True)
    found = products(graph.apply(IntegerAttention(), IntegerProducts()))
    assert [type(op) for op in found] == [nn.MatmulOp, nn.MatmulOp]


def test_float_attention_is_not_its_concern(quantized) -> None:
    q = np.random.default_rng(0).normal(0, 1, (1, 2, 5, 8)).astype(np.float32)
    graph = quantized(q)
    scores = graph.matmul(graph.inputs[0], graph.add(nn.TransposeOp(graph.inputs[0], (0, 1, 3, 2))))
    graph.done(graph.matmul(graph.add(nn.SoftmaxOp(scores, 3)), graph.inputs[0]))
    found = products(graph.apply(RecognizeSoftmax(), IntegerAttention()))
    assert [type(op) for op in found] == [nn.MatmulOp, nn.MatmulOp]
