"""check: what of a model runs, what does not and why, without compiling it."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from attnc import check


def test_supported_model_lists_its_products_by_path(model, shapes) -> None:
    report = check(model, shapes=shapes)
    assert report.supported
    assert report.blocking == ()
    assert sum(report.operators.values()) == len(model.graph.node)
    paths = {layer.path: layer for layer in report.layers}
    assert {"encoder.0.attention.q", "encoder.0.ffn.up", "encoder.0.ffn.down"} <= set(paths)
    assert paths["encoder.0.ffn.up"].nodes == ("up_product",)
    assert paths["encoder.0.ffn.up"].format == "f32"
    [attention] = [layer for layer in report.layers if layer.operator == "sattn.attention"]
    assert {"score_product", "softmax", "value_product"} <= set(attention.nodes)


def test_every_blocking_node_is_listed() -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["places"], "first"),
        helper.make_node("Unique", ["x"], ["values"], "second"),
        helper.make_node("Relu", ["x"], ["y"], "fine"),
    ]
    values = {
        "x": helper.make_tensor_value_info("x", TensorProto.FLOAT, [4]),
        "y": helper.make_tensor_value_info("y", TensorProto.FLOAT, [4]),
        "places": helper.make_tensor_value_info("places", TensorProto.INT64, None),
        "values": helper.make_tensor_value_info("values", TensorProto.FLOAT, None),
    }
    outputs = [values[name] for name in ("places", "values", "y")]
    graph = helper.make_graph(nodes, "odd", [values["x"]], outputs)
    report = check(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10))
    assert not report.supported
    assert {item.node for item in report.blocking} >= {"first", "second"}
    assert all(item.reason for item in report.blocking)
    assert report.layers == ()


def quantized_model(axis: int) -> onnx.ModelProto:
    """A product of quantized tensors whose weights have scales along `axis`."""
    arrays = {
        "w": np.ones((4, 4), np.int8),
        "scales": np.ones(4, np.float32),
        "scale": np.float32(0.5),
        "zero": np.int8(0),
        "zeros": np.zeros(4, np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], "quantize"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["a"], "left"),
        helper.make_node("DequantizeLinear", ["w", "scales", "zeros"], ["b"], "right", axis=axis),
        helper.make_node("MatMul", ["a", "b"], ["y"], "product"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4]) for name in "xy"]
    initializers = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "quantized", values[:1], values[1:], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_products_show_the_format_they_run_in() -> None:
    report = check(quantized_model(axis=1))
    assert [layer.format for layer in report.layers] == ["i8"]
    assert report.unlowered == ()


def test_quantized_product_that_runs_in_float_is_told() -> None:
    report = check(quantized_model(axis=0))
    assert report.supported
    assert [layer.format for layer in report.layers] == ["f32"]
    assert [item.node for item in report.unlowered] == ["product"]


def test_report_is_json(model, shapes) -> None:
    found = json.loads(json.dumps(check(model, shapes=shapes).to_dict()))
    assert set(found) == {"supported", "operators", "folded", "blocking", "layers", "unlowered"}
