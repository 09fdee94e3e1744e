"""`attnc.InferenceSession` in the place of ONNX Runtime's."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import attnc
from attnc.isa.errors import InputError, UsageError

from .conftest import SHAPES, Inputs


@pytest.fixture
def program(path: Path) -> Path:
    place = path.with_suffix(".attn")
    attnc.compile(path, shapes=SHAPES).save(place)
    return place


def test_one_script_runs_on_either(path: Path, inputs: Inputs) -> None:
    """The same calls, the same answers: names, types and shapes, by name or all."""
    both = [
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]),
        attnc.InferenceSession(str(path), providers=["CPUExecutionProvider"]),
    ]
    signatures = [
        [(item.name, item.type, item.shape) for item in (*session.get_inputs(), *session.get_outputs())]
        for session in both
    ]
    assert signatures[0] == signatures[1]
    for names in (None, [], ["y"]):
        expected, found = (session.run(names, inputs) for session in both)
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-3, atol=1e-4)
        assert found[0].dtype == expected[0].dtype


def test_each_shape_of_the_inputs_gets_its_program() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 2])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "open", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = attnc.InferenceSession(model.SerializeToString())
    assert [item.shape for item in session.get_inputs()] == [["rows", 2]]
    for rows in (3, 1, 3):
        (found,) = session.run(None, {"x": np.full((rows, 2), -1, np.float32)})
        np.testing.assert_array_equal(found, np.zeros((rows, 2)))


def test_a_program_and_bytes_run_too(path: Path, program: Path, inputs: Inputs) -> None:
    expected = attnc.load(program).run(inputs).outputs["y"]
    for source in (program, program.read_bytes(), path.read_bytes(), onnx.load(path)):
        session = attnc.InferenceSession(source)
        np.testing.assert_array_equal(session.run(None, inputs)[0], expected)
        assert session.report.performance.cycles > 0
    assert [(item.type, item.shape) for item in attnc.InferenceSession(program).get_inputs()] == [
        ("tensor(int64)", [1, 6])
    ] * 2


def test_options_of_compile_reach_the_compiler(path: Path, inputs: Inputs) -> None:
    cycles: list[int] = []
    for machine in ("edge", "tiny"):
        session = attnc.InferenceSession(path, machine=machine)
        session.run(None, inputs)
        cycles.append(session.report.performance.cycles)
    assert cycles[0] < cycles[1]


def test_wrong_calls_are_told(path: Path, program: Path, inputs: Inputs, tmp_path: Path) -> None:
    session = attnc.InferenceSession(path)
    with pytest.raises(UsageError, match="nothing has run yet"):
        _ = session.report
    with pytest.raises(UsageError, match="no output 'z'; there are y"):
        session.run(["z"], inputs)
    with pytest.raises(InputError, match="'mask' missing"):
        session.run(None, {"ids": inputs["ids"]})
    with pytest.raises(InputError, match="'more' unknown"):
        session.run(None, {**inputs, "more": inputs["ids"]})
    with pytest.raises(UsageError, match="machine was settled"):
        attnc.InferenceSession(program, machine="tiny")
    with pytest.raises(InputError, match="no such file"):
        attnc.InferenceSession(tmp_path / "none.onnx")
