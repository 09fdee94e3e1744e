"""The official ONNX node tests through import, lowering and the interpreter of `nn`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import pytest

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
def test_no_node_test_of_any_operator_gives_wrong_values_or_crashes(node_suite: Suite) -> None:
    assert wrong(node_suite(None)) == []
