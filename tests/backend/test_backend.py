"""The backend interface of the onnx package."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.backend.base import Backend

import attnc.backend as backend
from attnc.isa.errors import UnsupportedError, UsageError

FLOATS = np.arange(12, dtype=np.float32).reshape(3, 4)


def model(nodes, inputs, outputs):
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, code, shape) for name, code, shape in inputs],
        [helper.make_tensor_value_info(name, code, shape) for name, code, shape in outputs],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def reshaped():
    """Relu of x, in a shape that is computed from an input."""
    return model(
        [
            helper.make_node("Concat", ["extent", "rest"], ["shape"], axis=0),
            helper.make_node("Reshape", ["x", "shape"], ["turned"]),
            helper.make_node("Relu", ["turned"], ["y"]),
        ],
        [
            ("x", TensorProto.FLOAT, ["a", "b"]),
            ("extent", TensorProto.INT64, [1]),
            ("rest", TensorProto.INT64, [1]),
        ],
        [("y", TensorProto.FLOAT, ["c", "d"])],
    )


def test_the_module_is_a_backend() -> None:
    assert issubclass(backend.SimulatorBackend, Backend)
    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA")
    with pytest.raises(UsageError, match="no device CUDA"):
        backend.prepare(reshaped(), "CUDA")


def test_inputs_that_make_a_shape_are_bound_and_others_run() -> None:
    prepared = backend.prepare(reshaped())
    extent, rest = np.array([2], np.int64), np.array([-1], np.int64)
    (outputs,) = prepared.run([FLOATS - 5, extent, rest], check=True)
    np.testing.assert_array_equal(outputs, np.maximum(FLOATS - 5, 0).reshape(2, 6))
    assert prepared.bound == ("extent", "rest")


def test_other_values_run_the_same_program_and_other_shapes_another() -> None:
    prepared = backend.prepare(reshaped())
    rest = np.array([-1], np.int64)
    prepared.run([FLOATS, np.array([2], np.int64), rest])
    session = prepared.session
    prepared.run({"x": -FLOATS, "extent": np.array([2], np.int64), "rest": rest})
    assert prepared.session is session
    (outputs,) = prepared.run([FLOATS, np.array([4], np.int64), rest])
    assert outputs.shape == (4, 3)
    (outputs,) = prepared.run([FLOATS[:2], np.array([4], np.int64), rest])
    assert outputs.shape == (4, 2)


def test_a_node_runs_alone() -> None:
    node = helper.make_node("Add", ["a", "b"], ["c"])
    (outputs,) = backend.run_node(node, [FLOATS, FLOATS], outputs_info=[(np.float32, (3, 4))])
    np.testing.assert_array_equal(outputs, FLOATS * 2)
    (outputs,) = backend.run_node(helper.make_node("Add", ["a", "a"], ["c"]), [FLOATS, FLOATS], opset_version=14)
    np.testing.assert_array_equal(outputs, FLOATS * 2)


def test_a_model_runs_with_options_of_compile() -> None:
    product = model(
        [helper.make_node("MatMul", ["a", "b"], ["c"])],
        [("a", TensorProto.FLOAT, [3, 4]), ("b", TensorProto.FLOAT, [4, 3])],
        [("c", TensorProto.FLOAT, [3, 3])],
    )
    (outputs,) = backend.run_model(product, [FLOATS, FLOATS.T], machine="tiny")
    np.testing.assert_array_equal(outputs, FLOATS @ FLOATS.T)


def test_wrong_calls_and_unsupported_nodes_are_told() -> None:
    with pytest.raises(UsageError, match="1 inputs are given, and the model has 3: x, extent, rest"):
        backend.run_model(reshaped(), [FLOATS])
    with pytest.raises(UsageError, match="missing: rest"):
        backend.run_model(reshaped(), {"x": FLOATS, "extent": np.array([1], np.int64)})
    with pytest.raises(UnsupportedError, match="NonZero"):
        backend.run_node(helper.make_node("NonZero", ["a"], ["b"]), [FLOATS])


def test_an_empty_batch_runs() -> None:
    product = helper.make_node("MatMul", ["a", "b"], ["c"])
    (outputs,) = backend.run_node(product, [FLOATS[:0], FLOATS.T])
    assert outputs.shape == (0, 3)


def test_a_slope_that_does_not_stretch_is_refused() -> None:
    slope = np.ones((2, 3, 1), np.float32)
    with pytest.raises(UnsupportedError, match="stretches to the shape"):
        backend.run_node(helper.make_node("PRelu", ["x", "slope"], ["y"]), [FLOATS, slope])


def test_gathered_integers_are_no_ids() -> None:
    gather = helper.make_node("Gather", ["table", "ids"], ["rows"])
    table = np.array([[1000, -1000], [7, 70]], np.int32)
    (outputs,) = backend.run_node(gather, [table, np.array([1, -2, 0], np.int64)])
    np.testing.assert_array_equal(outputs, table[[1, 0, 0]])


def test_an_integer_that_is_also_computed_with_is_no_mask() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["truth"], to=TensorProto.BOOL),
        helper.make_node("Add", ["x", "x"], ["twice"]),
    ]
    both = model(
        nodes,
        [("x", TensorProto.INT64, [3])],
        [("truth", TensorProto.BOOL, [3]), ("twice", TensorProto.INT64, [3])],
    )
    truth, twice = backend.run_model(both, [np.array([0, 5, -7])])
    np.testing.assert_array_equal(truth, [False, True, True])
    np.testing.assert_array_equal(twice, [0, 10, -14])


def test_values_named_by_numbers_compile() -> None:
    relu = model(
        [helper.make_node("Relu", ["0"], ["1_2"]), helper.make_node("Neg", ["1_2"], ["_3"])],
        [("0", TensorProto.FLOAT, [2])],
        [("_3", TensorProto.FLOAT, [2])],
    )
    (outputs,) = backend.run_model(relu, [np.array([-1, 2], np.float32)])
    np.testing.assert_array_equal(outputs, [0, -2])
