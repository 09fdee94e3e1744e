"""The node tests of the onnx package: no wrong value, and the score that the documentation shows."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import onnx
import pytest
from onnx.backend.test.loader import load_model_tests

INTRICATE = (
    "test_attention_3d_gqa_with_past_and_present",
    "test_attention_4d_causal_fp16",
    "test_attention_4d_fp16",
    "test_attention_4d_with_past_and_present_qk_matmul_bias_4d_mask_causal",
    "test_cumsum_2d_int32",
    "test_dequantizelinear_axis",
    "test_einsum_batch_matmul_bfloat16",
    "test_gather_elements_negative_indices",
    "test_gathernd_example_int32_batch_dim1",
    "test_layer_normalization_4d_axis_negative_1",
    "test_maxpool_2d_dilations",
    "test_pow_types_int32_float32",
    "test_qlinearmatmul_3D_int8_float16",
    "test_reduce_sum_empty_set",
    "test_reshape_allowzero_reordered",
    "test_rotary_embedding_3d_input",
    "test_slice_neg_steps",
    "test_split_zero_size_splits_opset18",
    "test_tril_zero",
    "test_where_long_example",
)
"""Tests of what is easily got wrong: rounding, empty tensors, negative places, stored state."""

BAR = 0.95
"""The least share of the common operators' tests that has to pass."""


def first_of_each_operator(scoring: ModuleType, plain_tests: list[Any]) -> list[Any]:
    """For each common operator the first test with types of the machine."""
    chosen: dict[str, Any] = {}
    for test in plain_tests:
        operators = {node.op_type for node in test.model.graph.node}
        if not scoring.foreign_type(test.model):
            for operator in operators & scoring.COMMON:
                chosen.setdefault(operator, test)
    assert chosen.keys() == scoring.COMMON
    return list({test.name: test for test in chosen.values()}.values())


def failed(outcomes: list[Any]) -> list[str]:
    return [f"{item.verdict} {item.test}: {item.reason}" for item in outcomes if item.verdict != "passed"]


def test_a_test_of_each_common_operator_passes(scoring: ModuleType, plain_tests: list[Any]) -> None:
    assert failed(scoring.run(first_of_each_operator(scoring, plain_tests))) == []


def test_intricate_tests_pass(scoring: ModuleType, plain_tests: list[Any]) -> None:
    chosen = [test for test in plain_tests if test.name in INTRICATE]
    assert len(chosen) == len(INTRICATE)
    assert failed(scoring.run(chosen)) == []


@pytest.mark.slow
def test_all_plain_tests_score_as_documented(scoring: ModuleType, plain_tests: list[Any]) -> None:
    outcomes = scoring.run(plain_tests)
    assert [item for item in outcomes if item.verdict == "wrong"] == []
    assert scoring.score([item for item in outcomes if item.is_common]) >= BAR
    written = scoring.PAGE.read_text(encoding="utf-8")
    if f"onnx {onnx.__version__} (" not in written:
        pytest.skip(f"the page counts the tests of another version than onnx {onnx.__version__}")
    assert written == scoring.page(outcomes), "renew it with python benchmarks/backend_score.py --write"
    assert scoring.summary(outcomes) in scoring.README.read_text(encoding="utf-8")


@pytest.mark.slow
def test_no_expanded_test_gives_wrong_values(scoring: ModuleType, plain_tests: list[Any]) -> None:
    expanded = [test for test in load_model_tests(kind="node") if "_expanded" in test.name]
    assert len(expanded) > 400
    assert [item for item in scoring.run(expanded) if item.verdict == "wrong"] == []
