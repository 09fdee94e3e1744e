"""Attention of packed operands on the simulator: the values of the interpreter, to the bit."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from xdsl.ir import Attribute

from attnc.dialects import bnn, sattn
from attnc.dialects.bnn_types import bipolar, int4, ternary, uint2, unipolar
from attnc.dialects.elements import range_of
from attnc.dialects.forms.registry import Union
from attnc.dialects.sattn import Weights

from ..precision.conftest import Quantized


@dataclass(frozen=True)
class Case:
    """Extents, element types, and how weights get levels."""

    queries: int = 17
    keys: int = 17
    width: int = 16
    values: int = 16
    heads: int = 4
    groups: int = 4
    q: Attribute = bipolar
    k: Attribute = bipolar
    v: Attribute = bipolar
    thresholds: tuple[float, ...] = (0.06,)
    levels: int = 1
    weights: Weights = Weights.SOFTMAX
    causal: bool = False
    bounded: bool = False


CASES = {
    "one bit": Case(),
    "keys in whole bytes": Case(keys=24),
    "more keys than a piece": Case(queries=5, keys=197, width=64, values=8, thresholds=(0.005,)),
    "heads that share keys": Case(groups=2),
    "few queries": Case(queries=1, keys=9, width=8),
    "causal": Case(queries=40, keys=40, causal=True),
    "bounded": Case(bounded=True),
    "bounded, more keys than a piece": Case(queries=5, keys=197, width=64, thresholds=(0.005,), bounded=True),
    "bounded, causal": Case(queries=40, keys=40, causal=True, bounded=True),
    "bounded, four bits of weights": Case(thresholds=(), levels=15, bounded=True),
    "logarithms": Case(weights=Weights.LOG_SOFTMAX, thresholds=(0.06,)),
    "logarithms, bounded": Case(weights=Weights.LOG_SOFTMAX, thresholds=(0.03, 0.06, 0.1), levels=3, bounded=True),
    "logarithms, causal": Case(queries=40, keys=40, causal=True, weights=Weights.LOG_SOFTMAX, thresholds=(0.06,)),
    "scores compared": Case(weights=Weights.SCORES, thresholds=(0.0,)),
    "causal scores": Case(queries=19, keys=19, weights=Weights.SCORES, thresholds=(-1.0,), causal=True),
    "two bits of weights": Case(thresholds=(0.03, 0.06, 0.1), levels=3),
    "four bits of weights": Case(thresholds=(), levels=15),
    "ternary values": Case(v=ternary, q=uint2, k=unipolar),
    "four bits": Case(q=int4, k=int4, v=int4, thresholds=(), levels=7),
}


def attention(case: Case) -> Quantized:
    """The case with random operands, packed on chip."""
    random = np.random.default_rng(11)

    def values(element: Attribute, *shape: int) -> np.ndarray:
        low, high = range_of(element)
        found = np.arange(low, high + 1, dtype=np.int8)
        return random.choice(found[found != 0] if element == bipolar else found, shape)

    graph = Quantized(
        values(case.q, 1, case.heads, case.queries, case.width),
        values(case.k, 1, case.groups, case.keys, case.width),
        values(case.v, 1, case.groups, case.values, case.keys),
    )
    elements = (case.q, case.k, case.v)
    packed = [graph.add(bnn.PackOp(x, element)) for x, element in zip(graph.inputs, elements, strict=True)]
    thresholds = graph.typed(np.float32(case.thresholds).reshape(1, 1, 1, -1)) if case.thresholds else None
    factor = graph.typed(np.full((1, 1, 1, 1), 0.5, np.float32))
    made = sattn.AttentionOp(
        *packed,
        scale=0.25,
        causal=case.causal,
        q_scale=factor,
        k_scale=factor,
        v_scale=factor,
        p_thresholds=thresholds,
        p_scale=None if case.thresholds else graph.typed(np.full((1, 1, 1, 1), 0.02, np.float32)),
        p_levels=case.levels,
        weights=case.weights,
        bounded=case.bounded,
    )
    graph.done(graph.add(made))
    return graph


def test_an_attention_of_another_form_keeps_its_levels() -> None:
    [made] = [op for op in attention(CASES["bounded"]).block.ops if isinstance(op, sattn.AttentionOp)]
    formed = made.of_form((Union.parse("window:3"),), None, None, made.empty_row.data)
    assert formed.properties == {**made.properties, "form": formed.form}
    assert list(formed.operands) == list(made.operands)


@pytest.mark.parametrize("machine", ["edge", "tiny"])
@pytest.mark.parametrize("form", ["window:3", "window:5,global:1", "window:3,dilation=2", "block:16"])
def test_stretches_of_patterns_begin_at_whole_bytes(form: str, machine: str) -> None:
    graph = attention(replace(CASES["one bit"], queries=50, keys=50))
    [made] = [op for op in graph.block.ops if isinstance(op, sattn.AttentionOp)]
    made.properties["form"] = sattn.FormAttr((Union.parse(form),))
    np.testing.assert_array_equal(graph.simulated(machine), graph.result())


@pytest.mark.parametrize("machine", ["edge", "tiny"])
@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_the_interpreter(name: str, machine: str) -> None:
    graph = attention(CASES[name])
    expected = graph.result()
    assert len(np.unique(expected)) > 2
    np.testing.assert_array_equal(graph.simulated(machine), expected)


LONG = Case(queries=3, keys=2075, heads=1, groups=1, thresholds=(0.0005,))


@pytest.mark.parametrize(
    "case",
    [LONG, replace(LONG, bounded=True), replace(LONG, weights=Weights.LOG_SOFTMAX, thresholds=(0.0005,), bounded=True)],
    ids=["softmax", "bounded", "logarithms"],
)
def test_rows_of_scores_that_do_not_fit_go_by_pieces_of_whole_bytes(case: Case) -> None:
    graph = attention(case)
    expected = graph.result()
    assert len(np.unique(expected)) > 2
    np.testing.assert_array_equal(graph.simulated("tiny"), expected)
