"""check: what of a model runs, what does not and why, without compiling it."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import attnc
from attnc import check
from attnc.isa.machine import load_machine, machine_from_dict


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


def test_report_is_json_and_a_data_frame(model, shapes) -> None:
    report = check(model, shapes=shapes)
    found = json.loads(json.dumps(report.to_dict()))
    parts = {"operators", "folded", "blocking", "layers", "unlowered", "engines", "memory"}
    assert set(found) == {"supported", "machine", *parts}
    assert report.to_dataframe()["path"].tolist() == [layer["path"] for layer in found["layers"]]
    assert "encoder.0.ffn.up" in report._repr_html_()


def test_work_is_that_of_the_program() -> None:
    path = Path(__file__).parents[2] / "examples" / "digits_vit" / "model.onnx"
    report = check(path)
    measured = attnc.Session(attnc.compile(path).program).run(mode="timing").report.performance
    work = {item.engine: item for item in report.engines}
    assert work["mx"].amount == measured.macs
    assert work["mx"].least_cycles == measured.bound_cycles["mx"]
    assert work["dram"].amount == measured.dram_compulsory_bytes
    assert report.memory is not None
    assert report.memory.fits


def test_of_a_table_only_the_rows_asked_for_move() -> None:
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, [6])
    rows = helper.make_tensor_value_info("rows", TensorProto.FLOAT, [6, 4])
    table = numpy_helper.from_array(np.ones((10, 4), np.float32), "table")
    graph = helper.make_graph([helper.make_node("Gather", ["table", "ids"], ["rows"])], "rows", [ids], [rows], [table])
    report = check(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10))
    assert report.memory is not None
    assert report.memory.weights == {"f32": 160}
    assert report.engines[-1].amount == 4 * 6 + 16 * 6 + 16 * 6


def test_values_live_from_where_they_are_made_to_their_last_use() -> None:
    """x -> a -> b -> y, with a read again at the end: a, b and what comes of them are alive at once."""
    nodes = [
        helper.make_node("Exp", ["x"], ["a"]),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("Reshape", ["b", "flat"], ["b_flat"]),
        helper.make_node("Sin", ["b_flat"], ["c"]),
        helper.make_node("Mul", ["a", "c"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in "xy"]
    flat = numpy_helper.from_array(np.int64([1, 8]), "flat")
    graph = helper.make_graph(nodes, "alive", values[:1], values[1:], [flat])
    need = check(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)).memory
    assert need is not None
    assert (need.activation_bytes, need.input_bytes, need.output_bytes) == (3 * 32, 32, 32)


def small_machine(tmp_path, text: str):
    path = tmp_path / "small.toml"
    path.write_text(f'extends = "edge"\nname = "small"\n{text}')
    return path


def test_a_model_larger_than_dram_is_no(model, shapes, tmp_path) -> None:
    report = check(model, shapes=shapes, machine=small_machine(tmp_path, "[dram]\nbytes = 4096\n"))
    assert report.blocking == ()
    assert report.memory is not None
    assert report.memory.compulsory_bytes > 4096
    assert not report.supported


def test_a_mode_that_the_machine_lacks_blocks_each_product(model, shapes) -> None:
    bat = load_machine("edge").to_dict()
    bat["matrix"]["rates"] = {"i8": "1"}
    lacking = machine_from_dict(bat, "edge")
    report = check(model, shapes=shapes, machine=lacking)
    assert {item.reason for item in report.blocking} == {"the matrix engine of machine edge has no f32 mode"}
    assert check(model, shapes=shapes, machine=lacking, precision="int8").supported
