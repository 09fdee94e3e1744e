"""Nodes of older operator versions say in the newest form what ONNX Runtime makes of the old one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

RANDOM = np.random.default_rng(3)
DATA = RANDOM.standard_normal((2, 3, 4)).astype(np.float32)
IMAGE = RANDOM.standard_normal((1, 4, 3, 5)).astype(np.float32)
AXES_INPUT = [
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
]


def agree(build, operator: str, opset: int, inputs: list[np.ndarray], outputs: int = 1, **attributes: Any) -> None:
    """The node's outputs as folded at import, after rewriting, are ONNX Runtime's."""
    names = [f"i{index}" for index in range(len(inputs))]
    results = [f"o{index}" for index in range(outputs)]
    arguments = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in zip(names, inputs, strict=True)
    ]
    model = build.model([build.node(operator, names, results, "node", **attributes)], arguments, results, opset=opset)
    feeds = dict(zip(names, inputs, strict=True))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    expected = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, feeds)
    imported = build.imported(model, constants=feeds)
    for made, wanted in zip(imported.outputs(), expected, strict=True):
        np.testing.assert_allclose(made, wanted, rtol=1e-5, atol=1e-6)
    assert set(imported.nodes) == {"node"}


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize("attributes", [{}, {"axis": 0}, {"axis": 1}, {"axis": 2}, {"axis": -1}, {"axis": -2}])
def test_softmax_flattened_before_13(build, operator: str, attributes: dict[str, int]) -> None:
    agree(build, operator, 11, [DATA], **attributes)


@pytest.mark.parametrize("operator", AXES_INPUT)
@pytest.mark.parametrize("attributes", [{}, {"axes": [1]}, {"axes": [0, -1], "keepdims": 0}])
def test_reductions(build, operator: str, attributes: dict[str, Any]) -> None:
    agree(build, operator, 11, [np.abs(DATA) + 1], **attributes)


@pytest.mark.parametrize(
    ("operator", "opset", "inputs", "attributes"),
    [
        ("Squeeze", 11, [IMAGE], {"axes": [0]}),
        ("Squeeze", 11, [IMAGE], {}),
        ("Unsqueeze", 11, [DATA], {"axes": [0, -1]}),
        ("Clip", 10, [DATA], {"min": -0.5, "max": 0.25}),
        ("Clip", 10, [DATA], {"max": 0.25}),
        ("Pad", 10, [DATA], {"pads": [0, 1, 2, 0, 0, 1], "value": 3.0}),
        ("Pad", 10, [DATA], {"pads": [0, 1, 2, 0, 0, 1], "mode": "edge"}),
        ("Slice", 9, [DATA], {"starts": [1, -3], "ends": [9, -1], "axes": [1, 2]}),
        ("Slice", 9, [DATA], {"starts": [0, 1], "ends": [1, 3]}),
        ("Upsample", 9, [IMAGE, np.array([1, 1, 2, 2], np.float32)], {"mode": "nearest"}),
        ("Resize", 10, [IMAGE, np.array([1, 1, 2, 3], np.float32)], {"mode": "nearest"}),
        (
            "GridSample",
            16,
            [IMAGE, RANDOM.uniform(-1, 1, (1, 2, 3, 2)).astype(np.float32)],
            {"mode": "bilinear"},
        ),
    ],
)
def test_attribute_forms(
    build, operator: str, opset: int, inputs: list[np.ndarray], attributes: Mapping[str, Any]
) -> None:
    agree(build, operator, opset, inputs, **attributes)


@pytest.mark.parametrize(("opset", "attributes"), [(11, {"split": [1, 2]}), (11, {}), (13, {})])
def test_split(build, opset: int, attributes: dict[str, Any]) -> None:
    agree(build, "Split", opset, [IMAGE[:, :3] if attributes else IMAGE], 2, axis=1, **attributes)


def test_top_k(build) -> None:
    agree(build, "TopK", 9, [DATA], 2, k=2)


def test_batch_normalization(build) -> None:
    statistics = [np.abs(RANDOM.standard_normal(4)).astype(np.float32) for _ in range(4)]
    agree(build, "BatchNormalization", 9, [IMAGE, *statistics])


def test_group_normalization(build) -> None:
    scale, bias = np.array([1.5, -2], np.float32), np.array([0.25, 3], np.float32)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
        for name, array in (("x", IMAGE), ("scale", scale), ("bias", bias))
    ]
    node = build.node("GroupNormalization", ["x", "scale", "bias"], ["y"], num_groups=2)
    model = build.model([node], inputs, ["y"], opset=18)
    (made,) = build.imported(model, constants={"x": IMAGE, "scale": scale, "bias": bias}).outputs()
    groups = IMAGE.reshape(1, 2, -1)
    normal = (groups - groups.mean(2, keepdims=True)) / np.sqrt(groups.var(2, keepdims=True) + 1e-5)
    np.testing.assert_allclose(
        made, (normal * scale[:, None] + bias[:, None]).reshape(IMAGE.shape), rtol=1e-4, atol=1e-5
    )


def test_parts_of_a_rewritten_node_stand_for_it(build) -> None:
    node = build.node("Softmax", ["x"], ["y"], "soft", axis=1)
    imported = build.imported(build.model([node], [build.value("x", 2, 3, 4)], ["y"], opset=11))
    assert imported.operators == ["Flatten", "Softmax", "Reshape"]
    assert imported.nodes == ["soft"]
    assert imported.operations[-1].output_names == ("y",)
    assert imported.outputs() == ["tensor<2x3x4xf32>"]


def test_form_without_a_rule_is_kept(build) -> None:
    parts = [build.value(name, 4) for name in ("scale", "b", "mean", "var")]
    node = build.node("BatchNormalization", ["x", "scale", "b", "mean", "var"], ["y", *"mvsw"], "norm")
    imported = build.imported(build.model([node], [build.value("x", 1, 4, 2), *parts], ["y"], opset=9))
    assert imported.operators == ["BatchNormalization-9"]
    assert imported.operations[0].name == "onnx.BatchNormalization_9"
