"""Every model of the official node tests imports, with the types and constants that ONNX expects."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests
from xdsl.dialects.builtin import DYNAMIC_INDEX, TensorType

from attnc.dialects import onnx_types

TO_GIVE = {"x1": (4,)}
"""A few tests name a dimension of an input that they then feed with several lengths."""


def node_tests():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_model_tests(kind="node")


def arrays(items: object) -> list[np.ndarray | None]:
    """The test's data; None for what is no tensor."""
    made = [numpy_helper.to_array(item) if isinstance(item, TensorProto) else item for item in items]
    return [np.asarray(item) if isinstance(item, np.ndarray | np.generic) else None for item in made]


@pytest.mark.slow
def test_all_import_with_right_types(build) -> None:
    counted = 0
    for test in node_tests():
        shapes = TO_GIVE if test.name.startswith("test_sequence_map") else {}
        names = [value.name for value in test.model.graph.input]
        operations = build.imported(
            test.model, {n: s for n, s in shapes.items() if n in names and "1_tensor" in test.name}
        )
        expected = arrays(test.data_sets[0][1])
        last = next(iter(operations.module.ops)).body.block.last_op
        for operand, array in zip(last.operands, expected, strict=False):
            if array is None or not isinstance(operand.type, TensorType):
                continue
            shape = operand.type.get_shape()
            assert len(shape) == array.ndim, test.name
            assert all(a in (b, DYNAMIC_INDEX) for a, b in zip(shape, array.shape, strict=True)), test.name
            counted += 1
    assert counted > 1500


@pytest.mark.slow
def test_all_fold_to_the_expected_values(build) -> None:
    """With every input known, what is computed at import is what the test expects."""
    counted = 0
    for test in node_tests():
        given = arrays(test.data_sets[0][0])
        constants = {
            value.name: array
            for value, array in zip(test.model.graph.input, given, strict=False)
            if array is not None and value.type.HasField("tensor_type") and array.dtype.kind not in "OUS"
        }
        for made, wanted in zip(
            build.imported(test.model, constants=constants).outputs(),
            arrays(test.data_sets[0][1]),
            strict=False,
        ):
            if isinstance(made, str) or wanted is None:
                continue
            counted += 1
            assert made.dtype == wanted.dtype, test.name
            if wanted.dtype.kind in "biu":
                np.testing.assert_array_equal(made, wanted, err_msg=test.name)
            elif wanted.dtype.kind not in "OUS":
                wide = np.complex128 if wanted.dtype.kind == "c" else np.float64
                np.testing.assert_allclose(
                    made.astype(wide),
                    wanted.astype(wide),
                    rtol=max(test.rtol, 1e-3),
                    atol=1e-5,
                    err_msg=test.name,
                )
    assert counted > 1500


def test_element_types_have_onnx_codes() -> None:
    for name, code in TensorProto.DataType.items():
        if name != "UNDEFINED":
            element = onnx_types.element_of_code(code)
            assert onnx_types.code_of(element) == code
            assert onnx_types.name_of(element) == name
