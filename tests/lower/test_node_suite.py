"""The official ONNX node tests through import, lowering and the interpreter of `nn`, scored by operator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

import pytest

COMMON = [
    "Add",
    "Transpose",
    "Reshape",
    "MatMul",
    "Mul",
    "Softmax",
    "Gather",
    "Where",
    "Concat",
    "Shape",
    "LayerNormalization",
    "Cast",
    "Unsqueeze",
    "Constant",
    "Expand",
    "Slice",
    "Div",
    "Equal",
    "ConstantOfShape",
    "Identity",
    "Range",
    "Erf",
    "And",
    "IsNaN",
    "Sub",
    "Squeeze",
    "Pow",
    "GreaterOrEqual",
    "Flatten",
    "GatherND",
    "Gemm",
    "Gelu",
    "ReduceMean",
    "Max",
    "Tanh",
    "Conv",
    "Relu",
    "Sqrt",
    "Not",
    "Greater",
    "Clip",
    "DequantizeLinear",
    "Neg",
    "Sigmoid",
    "CumSum",
    "Less",
    "Min",
    "ReduceSum",
    "Log",
    "Attention",
    "MatMulInteger",
    "DynamicQuantizeLinear",
]
"""Operators that at least three families of real models use."""

FAST = [
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "QLinearMatMul",
    "QLinearConv",
    "ConvInteger",
    "Gather",
    "GatherND",
    "GatherElements",
    "LayerNormalization",
    "RMSNormalization",
    "RotaryEmbedding",
    "Softmax",
    "Pad",
    "Slice",
    "Einsum",
    "Pow",
    "Cast",
    "Where",
    "Trilu",
    "MaxPool",
    "AveragePool",
    "ReduceMax",
    "ReduceLogSumExp",
    "ArgMax",
    "OneHot",
    "CumSum",
]
"""Operators whose rules have the most to get wrong."""

Suite = Callable[[Collection[str] | None], Sequence[Any]]


def wrong(outcomes: Sequence[Any]) -> list[str]:
    return [f"{outcome.test}: {outcome.reason[:300]}" for outcome in outcomes if outcome.verdict == "wrong"]


def test_no_node_test_of_the_intricate_operators_gives_wrong_values(node_suite: Suite) -> None:
    outcomes = node_suite(FAST)
    assert wrong(outcomes) == []
    assert [outcome for outcome in outcomes if outcome.verdict == "refused"] == []


@pytest.mark.slow
def test_common_operators_score_at_least_95_percent(node_suite: Suite, capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = node_suite(COMMON)
    by_operator: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        by_operator.setdefault(outcome.operator, Counter())[outcome.verdict] += 1
    total = Counter(outcome.verdict for outcome in outcomes)
    score = total["pass"] / (len(outcomes) - total["excluded"])
    with capsys.disabled():
        for operator, verdicts in sorted(by_operator.items()):
            print(f"\n{operator:24} " + ", ".join(f"{v} {n}" for v, n in sorted(verdicts.items())), end="")
        print(f"\n{'together':24} {dict(total)}: {score:.1%} of what the machine has types for")
    assert wrong(outcomes) == []
    assert score >= 0.95


@pytest.mark.slow
def test_no_node_test_of_any_operator_gives_wrong_values_or_crashes(node_suite: Suite) -> None:
    assert wrong(node_suite(None)) == []
