"""Lane graphs packed into passes: as few as the pass rule allows, and with the values of the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc.isa.formats import Format, narrow, widen
from attnc.isa.lane_functions import LANE_FUNCTIONS, REDUCTIONS
from attnc.passes.tile.lane_graph import (
    Extent,
    Immediate,
    LaneGraph,
    LaneGraphBuilder,
    Leaf,
    Operation,
    Reduce,
    Stored,
)
from attnc.passes.tile.pack import Packing, Slot, pack

ROWS, COLUMNS = 3, 5
FULL, ROW, COLUMN, SCALAR = Extent.FULL, Extent.ROW, Extent.COLUMN, Extent.SCALAR
SHAPES = {FULL: (ROWS, COLUMNS), ROW: (1, COLUMNS), COLUMN: (ROWS, 1), SCALAR: (1, 1)}


def evaluate(graph: LaneGraph, leaves: list[Any]) -> list[Any]:
    """The outputs of a graph, straight from its nodes."""
    values: list[Any] = []
    for node in graph.nodes:
        match node:
            case Leaf():
                values.append(widen(leaves[node.index], node.form))
            case Immediate():
                values.append(np.array([[node.value]], np.int32 if isinstance(node.value, int) else np.float32))
            case Operation():
                values.append(LANE_FUNCTIONS[node.function].evaluate(*(values[s] for s in node.sources)))
            case Reduce():
                operand = np.broadcast_to(values[node.source], (ROWS, COLUMNS))
                values.append(REDUCTIONS[node.reduction].evaluate(operand, 1).reshape(ROWS, 1))
            case Stored():
                values.append(widen(narrow(values[node.source], node.form), node.form))
    shapes = [SHAPES[FULL if output.full else COLUMN] for output in graph.outputs]
    return [
        np.broadcast_to(narrow(values[output.node], output.form), shape)
        for output, shape in zip(graph.outputs, shapes, strict=True)
    ]


def run(packing: Packing, leaves: list[Any], extents: tuple[Extent, ...], forms: list[Format]) -> list[Any]:
    """The outputs of a packing, pass by pass, as the machine would run it."""
    temporaries: list[Any] = [None] * len(packing.temporaries)

    def read(slot: Slot) -> Any:
        if slot.leaf:
            return widen(leaves[slot.index], forms[slot.index])
        return widen(temporaries[slot.index], packing.temporaries[slot.index].form)

    for plan in packing.passes:
        rows, columns = SHAPES[FULL] if plan.domain is FULL else (1, max(SHAPES[plan.domain]))
        streams = [read(slot).reshape(rows, columns) for slot in plan.streams]
        shapes = {"scalar": (1, 1), "row": (1, columns), "column": (rows, 1)}
        broadcasts = [read(slot).reshape(shapes[kind]) for kind, slot in plan.broadcasts]
        result = plan.program.run(streams, broadcasts, rows, columns, [1] * len(plan.reductions))
        if plan.out is not None:
            temporary = packing.temporaries[plan.out.index]
            temporaries[plan.out.index] = narrow(result.output, temporary.form).reshape(SHAPES[temporary.extent])
        for slot, values in zip(plan.reductions, result.reductions, strict=True):
            temporaries[slot.index] = values.reshape(ROWS, 1)
    return [temporaries[index] for index in packing.outputs]


def check(builder: LaneGraphBuilder, extents: tuple[Extent, ...], forms: list[Format]) -> Packing:
    """Pack a graph and compare the packing's values with the graph's."""
    graph = builder.build()
    random = np.random.default_rng(0)
    leaves = [narrow(random.normal(0, 3, SHAPES[e]).astype(np.float32), f) for e, f in zip(extents, forms, strict=True)]
    packing = pack(graph, extents)
    for got, expected in zip(run(packing, leaves, extents, forms), evaluate(graph, leaves), strict=True):
        np.testing.assert_array_equal(got, expected)
    return packing


def full_passes(builder: LaneGraphBuilder, *extents: Extent, forms: list[Format] | None = None) -> int:
    return check(builder, extents, forms or [Format.F32] * len(extents)).full_passes


def norm(graph: LaneGraphBuilder, values: int, scale: int, bias: int) -> int:
    mean, variance = graph.reduce("mean", values), graph.reduce("variance", values)
    factor = graph.apply("rsqrt", graph.apply("add", variance, graph.immediate(1e-5)))
    centred = graph.apply("mul", graph.apply("sub", values, mean), factor)
    return graph.apply("add", graph.apply("mul", centred, scale), bias)


def test_softmax_with_scale_and_mask_takes_three_passes() -> None:
    graph = LaneGraphBuilder()
    scaled = graph.apply("mul", graph.leaf(0, Format.F32), graph.immediate(0.125))
    scores = graph.apply("add", scaled, graph.leaf(1, Format.F32))
    weights = graph.apply("exp", graph.apply("sub", scores, graph.reduce("max", scores)))
    graph.output(graph.apply("div", weights, graph.reduce("sum", weights)), Format.F32, True)
    assert full_passes(graph, FULL, FULL) == 3


@pytest.mark.parametrize("residual", [False, True])
def test_a_norm_takes_two_passes_also_with_a_residual(residual: bool) -> None:
    graph = LaneGraphBuilder()
    values, other = graph.leaf(0, Format.F32), graph.leaf(3, Format.F32)
    values = graph.apply("add", values, other) if residual else values
    if residual:
        graph.output(values, Format.BF16, True)
    result = norm(graph, values, graph.leaf(1, Format.F32), graph.leaf(2, Format.F32))
    graph.output(result, Format.F32, True)
    # The stored sum is bf16, and read back so: compare passes only, values differ by the rounding.
    packing = pack(graph.build(), (FULL, ROW, ROW, FULL))
    assert packing.full_passes == 2
    assert len(packing.passes) == 2


def test_bias_gelu_requantize_takes_one_pass() -> None:
    graph = LaneGraphBuilder()
    biased = graph.apply("add", graph.leaf(0, Format.F32), graph.leaf(1, Format.F32))
    level = graph.apply("rint", graph.apply("mul", graph.apply("gelu", biased), graph.immediate(8.0)))
    graph.output(graph.apply("add", level, graph.immediate(3.0)), Format.I8, True)
    assert full_passes(graph, FULL, ROW) == 1


def test_dynamic_quantization_takes_two_passes_and_one_over_rows() -> None:
    graph = LaneGraphBuilder()
    values = graph.leaf(0, Format.F32)
    scale = graph.apply("div", graph.reduce("max", graph.apply("abs", values)), graph.immediate(127.0))
    graph.output(graph.apply("rint", graph.apply("div", values, scale)), Format.I8, True)
    graph.output(scale, Format.F32, False)
    packing = check(graph, (FULL,), [Format.F32])
    assert (packing.full_passes, len(packing.passes)) == (2, 3)


def test_a_choice_among_three_full_operands_is_exact() -> None:
    graph = LaneGraphBuilder()
    chosen = graph.apply("select", graph.leaf(0, Format.BOOL), graph.leaf(1, Format.F32), graph.leaf(2, Format.F32))
    graph.output(chosen, Format.F32, True)
    packing = pack(graph.build(), (FULL, FULL, FULL))
    condition = np.array([[True, False, True, False, True]] * ROWS)
    first = np.array([[-0.0, 1.0, np.inf, 2.0, np.nan]] * ROWS, np.float32)
    second = np.array([[5.0, -0.0, np.nan, -np.inf, 0.0]] * ROWS, np.float32)
    got = run(packing, [condition, first, second], (FULL, FULL, FULL), [Format.BOOL, Format.F32, Format.F32])[0]
    expected = np.where(condition, first, second)
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(np.signbit(got[:, :4]), np.signbit(expected[:, :4]))


UNARY = ["neg", "abs", "exp", "tanh", "rint", "sigmoid", "floor"]
BINARY = ["add", "sub", "mul", "min", "max", "div"]


@st.composite
def graphs(draw: Any) -> tuple[LaneGraphBuilder, tuple[Extent, ...]]:
    """A random graph of float nodes with up to two levels of reductions."""
    extents = tuple(draw(st.lists(st.sampled_from([FULL, ROW, COLUMN, SCALAR]), min_size=1, max_size=5)))
    graph = LaneGraphBuilder()
    nodes = [graph.leaf(index, Format.F32) for index in range(len(extents))]
    nodes += [graph.immediate(value) for value in draw(st.lists(st.sampled_from([0.5, 2.0, -1.0]), max_size=2))]
    for _ in range(draw(st.integers(1, 14))):
        pick = st.sampled_from(nodes[-8:])
        choice = draw(st.integers(0, 9))
        if choice < 3:
            nodes.append(graph.apply(draw(st.sampled_from(UNARY)), draw(pick)))
        elif choice < 7:
            nodes.append(graph.apply(draw(st.sampled_from(BINARY)), draw(pick), draw(pick)))
        elif choice < 8:
            nodes.append(graph.apply("select", graph.apply("lt", draw(pick), draw(pick)), draw(pick), draw(pick)))
        else:
            nodes.append(graph.reduce(draw(st.sampled_from(["sum", "max", "mean", "variance"])), draw(pick)))
    extent_of = graph.everything.extents(extents)
    for node in draw(st.lists(st.sampled_from(nodes), min_size=1, max_size=3, unique=True)):
        whole = extent_of[node] & Extent.ROW or draw(st.booleans())
        graph.output(node, Format.F32, bool(whole))
    return graph, extents


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_packings_have_the_values_of_their_graphs(case: tuple[LaneGraphBuilder, tuple[Extent, ...]]) -> None:
    builder, extents = case
    check(builder, extents, [Format.F32] * len(extents))
