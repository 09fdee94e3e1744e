"""Whole models, from the ONNX file to the simulator's outputs, against ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import attnc

RELATIVE_ERROR = 2e-4
"""Of an output's greatest magnitude: floats differ by accumulation order and last places of functions only."""


def relative_error(given: np.ndarray, expected: np.ndarray) -> float:
    assert given.shape == expected.shape
    assert given.dtype == expected.dtype
    assert np.isfinite(given).all()
    return float(np.abs(given - expected).max() / np.abs(expected).max())


def cosine(given: np.ndarray, expected: np.ndarray) -> float:
    return float((given.ravel() @ expected.ravel()) / np.linalg.norm(given) / np.linalg.norm(expected))


@pytest.mark.parametrize("machine", ["edge", "tiny", "server"])
def test_outputs_are_those_of_the_reference(model, machine: str) -> None:
    result = attnc.Session(model.program(machine)).run(model.inputs, check=True)
    for name, expected in model.outputs.items():
        assert relative_error(result.outputs[name], expected) <= RELATIVE_ERROR
    assert result.report.performance.cycles > 0


def quantized_pair() -> onnx.ModelProto:
    """Two int8 products between quantizers, uint8 and int8, with an int8 output: no float that could round apart."""
    random = np.random.default_rng(3)
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    arrays = {
        "first": random.integers(-128, 128, (96, 160), dtype=np.int8),
        "second": random.integers(-128, 128, (160, 40), dtype=np.int8),
        "scale": np.float32(0.0625),
        "small": np.float32(0.001953125),
        "large": np.float32(2.0),
        "zero": np.int8(3),
        "middle": np.uint8(120),
    }
    nodes = [
        node("QuantizeLinear", ["x", "scale", "zero"], ["x8"]),
        node("DequantizeLinear", ["x8", "scale", "zero"], ["xf"]),
        node("DequantizeLinear", ["first", "small"], ["firstf"]),
        node("MatMul", ["xf", "firstf"], ["hidden"]),
        node("QuantizeLinear", ["hidden", "scale", "middle"], ["hidden8"]),
        node("DequantizeLinear", ["hidden8", "scale", "middle"], ["hiddenf"]),
        node("DequantizeLinear", ["second", "small"], ["secondf"]),
        node("MatMul", ["hiddenf", "secondf"], ["out"]),
        node("QuantizeLinear", ["out", "large", "zero"], ["y"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "pair",
        [value("x", onnx.TensorProto.FLOAT, [50, 96])],
        [value("y", onnx.TensorProto.INT8, [50, 40])],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("machine", ["edge", "tiny", "server"])
def test_integer_models_equal_the_reference_to_the_bit(machine: str) -> None:
    model = quantized_pair()
    inputs = {"x": np.random.default_rng(4).normal(0, 3, (50, 96)).astype(np.float32)}
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, inputs)
    program = attnc.compile(model, machine=machine).program
    assert len(np.unique(expected)) > 20
    assert np.array_equal(attnc.Session(program).run(inputs).outputs["y"], expected)


@pytest.mark.parametrize(("precision", "least"), [("int8", 0.999), ("bf16", 0.9999), ("fp16", 0.99999)])
def test_narrow_formats_stay_close(model, precision: str, least: float) -> None:
    result = attnc.Session(model.program(precision=precision)).run(model.inputs, check=True)
    for name, expected in model.outputs.items():
        assert cosine(result.outputs[name], expected) >= least


def test_two_compilations_give_the_same_bytes(model) -> None:
    assert attnc.compile(model.path, shapes=model.shapes).program.to_bytes() == model.program().to_bytes()


@pytest.mark.parametrize("precision", [None, pytest.param("int8", marks=pytest.mark.slow)])
def test_compilation_goes_on_from_every_dumped_phase(model, tmp_path: Path, precision: str | None) -> None:
    compilation = attnc.compile(model.path, shapes=model.shapes, precision=precision, dump_ir=tmp_path)
    whole = compilation.program.to_bytes()
    for phase in ("graph", "precision", "attention", "tile", "schedule", "emit"):
        assert attnc.compile(tmp_path, start_from=phase).program.to_bytes() == whole, phase


def test_assembly_text_gives_the_same_bytes(model, tmp_path: Path) -> None:
    from attnc.isa.assembly import assemble, disassemble

    program = model.program()
    program.save(tmp_path / "p.attn")
    text = disassemble(program, "p.attn")
    assert assemble(text, folder=tmp_path).to_bytes() == program.to_bytes()


def test_every_node_is_in_the_source_map_or_folded(model) -> None:
    program = model.program()
    mapped = {node for row in range(len(program.table)) for node in program.row_nodes(row)}
    folded = {note.node for note in program.folded}
    proto = onnx.load(model.path)
    # A node without a name is called after its operator and place.
    names = {node.name or f"{node.op_type}_{place}" for place, node in enumerate(proto.graph.node)}
    assert mapped | folded >= names
    assert not mapped & folded


def test_digits_are_answered_as_by_the_reference(digits: Path) -> None:
    data = np.load(digits / "images.npz")
    images = data["image"][:40]
    reference = onnxruntime.InferenceSession(digits / "model.onnx")
    expected = np.concatenate([reference.run(None, {"image": image[None]})[0] for image in images])
    session = attnc.Session(attnc.compile(digits / "model.onnx").program)
    outputs = session.run({"image": images}, mode="values").outputs["logits"]
    assert relative_error(outputs, expected) <= RELATIVE_ERROR
