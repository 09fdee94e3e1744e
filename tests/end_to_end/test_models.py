"""Whole models, from the ONNX file to the simulator's outputs, against ONNX Runtime."""

from pathlib import Path

import numpy as np
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
    program = attnc.compile(model.path, machine=machine, shapes=model.shapes).program
    result = attnc.Session(program).run(model.inputs, check=True)
    for name, expected in model.outputs.items():
        assert relative_error(result.outputs[name], expected) <= RELATIVE_ERROR
    assert result.report.performance.cycles > 0


def test_integer_model_gives_the_same_bits_on_every_machine() -> None:
    from .conftest import case

    model = case("brevitas_w8a8_qcdq")
    outputs = [
        attnc.Session(attnc.compile(model.path, machine=machine).program).run(model.inputs).outputs
        for machine in ("edge", "tiny", "server")
    ]
    for name, expected in model.outputs.items():
        assert relative_error(outputs[0][name], expected) <= 1e-6


@pytest.mark.parametrize(("precision", "least"), [("int8", 0.999), ("bf16", 0.9999), ("fp16", 0.99999)])
def test_narrow_formats_stay_close(model, precision: str, least: float) -> None:
    program = attnc.compile(model.path, shapes=model.shapes, precision=precision).program
    result = attnc.Session(program).run(model.inputs, check=True)
    for name, expected in model.outputs.items():
        assert cosine(result.outputs[name], expected) >= least


def test_two_compilations_give_the_same_bytes(model) -> None:
    first, second = (attnc.compile(model.path, shapes=model.shapes).program.to_bytes() for _ in range(2))
    assert first == second


def test_compilation_goes_on_from_every_dumped_phase(model, tmp_path: Path) -> None:
    whole = attnc.compile(model.path, shapes=model.shapes, dump_ir=tmp_path).program.to_bytes()
    for phase in ("graph", "precision", "attention", "tile", "schedule", "emit"):
        assert attnc.compile(tmp_path, start_from=phase).program.to_bytes() == whole, phase


def test_assembly_text_gives_the_same_bytes(model, tmp_path: Path) -> None:
    from attnc.isa.assembly import assemble, disassemble

    program = attnc.compile(model.path, shapes=model.shapes).program
    program.save(tmp_path / "p.attn")
    text = disassemble(program, "p.attn")
    assert assemble(text, folder=tmp_path).to_bytes() == program.to_bytes()


def test_every_node_is_in_the_source_map_or_folded(model) -> None:
    import onnx

    program = attnc.compile(model.path, shapes=model.shapes).program
    mapped = {node for row in range(len(program.table)) for node in program.row_nodes(row)}
    folded = {note.node for note in program.folded}
    proto = onnx.load(model.path)
    # A node without a name is called after its operator and place.
    names = {node.name or f"{node.op_type}_{place}" for place, node in enumerate(proto.graph.node)}
    assert mapped | folded >= names
    assert not mapped & folded


def test_digits_are_answered_as_by_the_reference(digits: Path) -> None:
    import onnxruntime

    data = np.load(digits / "images.npz")
    images = data["image"][:40]
    reference = onnxruntime.InferenceSession(digits / "model.onnx")
    expected = np.concatenate([reference.run(None, {"image": image[None]})[0] for image in images])
    session = attnc.Session(attnc.compile(digits / "model.onnx").program)
    outputs = session.run({"image": images}, mode="values").outputs["logits"]
    assert relative_error(outputs, expected) <= RELATIVE_ERROR
