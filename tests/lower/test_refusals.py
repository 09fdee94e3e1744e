"""What cannot be lowered is refused with every node, its reason and a remedy, and nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from attnc.compiler.importer import import_model
from attnc.dialects.context import CompilerContext
from attnc.isa.errors import UnsupportedError
from attnc.passes.graph.lower.lower_onnx import LowerOnnx, blocking_nodes

HEAD = '<ir_version: 10, opset_import: ["" : 22, "qonnx.custom_op.general" : 1]>'


def blocking(text: str) -> Sequence[Any]:
    context = CompilerContext()
    module = import_model(onnx.parser.parse_model(f"{HEAD} {text}"), {}, {}, context)
    return blocking_nodes(module, context.store)


def test_all_refused_nodes_are_listed_and_their_users_are_not() -> None:
    found = blocking(
        """
        g (float[4, 4] x) => (float[n] z) {
            places = NonZero (x)
            flat = Flatten (places)
            values = Cast <to = 1> (flat)
            weight = Constant <value = float[1] {0.5}> ()
            b1 = qonnx.custom_op.general.FloatQuant (x, weight, weight, weight, weight)
            b2 = qonnx.custom_op.general.FloatQuant (b1, weight, weight, weight, weight)
            square = MatMul (b1, b2)
            y = Det (square)
            z = Mul (values, y)
        }
        """
    )
    assert [item.operator for item in found] == [
        "NonZero",
        "qonnx.custom_op.general::FloatQuant",
        "qonnx.custom_op.general::FloatQuant",
        "Det",
    ]
    assert all(item.node and item.reason and item.remedy for item in found)
    assert "floats of few bits" in found[1].reason


@pytest.mark.parametrize(
    ("text", "reason", "remedy"),
    [
        (
            "g (float[4] x, int64[1] axes) => (float[1] y) { y = ReduceSum (x, axes) }",
            "`axes` must be known when compiling",
            "--shape",
        ),
        ("g (double[4] x) => (double[4] y) { y = Relu (x) }", "double has no format", "float32"),
        (
            "g (float[4] x) => (double[4] y) { y = Cast <to = 11> (x) }",
            "double has no format",
            "float32",
        ),
        (
            "g (int64[4] x) => (int64[4] y) { big = Constant <value = int64[1] {3000000000}> () y = Add (x, big) }",
            "3000000000 is outside int32",
            "int32 range",
        ),
        (
            "g (float[4, 3] x) => (float[3] y)"
            " { place = Constant <value = int64 {7}> () y = Gather <axis = 0> (x, place) }",
            "index 7 is outside the extent 4",
            "correct",
        ),
        (
            "g (float[1, 3, 4] x, float[3] w) => (float[1, 3, 4] y, float[3] m, float[3] v)"
            " { y, m, v = BatchNormalization <training_mode = 1> (x, w, w, w, w) }",
            "`training_mode` is 0",
            "inference",
        ),
        (
            "g (float[4] x) => (float[k] y, int64[k] i) { n = Constant <value = int64[1] {2}> () y, i = TopK (x, n) }",
            "sorting",
            "behind",
        ),
    ],
)
def test_reason_and_remedy_are_told(text: str, reason: str, remedy: str) -> None:
    (item,) = blocking(text)
    assert reason in item.reason
    assert remedy in item.remedy


def test_refused_module_stays_as_it_was() -> None:
    context = CompilerContext()
    text = f"{HEAD} g (float[4, 4] x) => (float y) {{ r = Relu (x) y = Det (r) }}"
    module = import_model(onnx.parser.parse_model(text), {}, {}, context)
    before = str(module)
    with pytest.raises(UnsupportedError, match="1 unsupported node"):
        LowerOnnx().apply(context, module)
    assert str(module) == before


def test_run_time_id_out_of_range_faults(single: Callable[..., Any]) -> None:
    table = np.arange(12, dtype=np.float32).reshape(4, 3)
    node = single("Gather", [table, np.array([0, 1])], {"axis": 0})
    lowered = node.lowered()
    np.testing.assert_array_equal(lowered.run({"i0": table, "i1": np.array([-1, 3])})[0], table[[-1, 3]])
    for wrong in (4, -5):
        with pytest.raises(Exception, match=r"limit|range|outside"):
            lowered.run({"i0": table, "i1": np.array([0, wrong])})


def test_run_time_id_out_of_range_of_an_inner_axis_faults(single: Callable[..., Any]) -> None:
    table = np.arange(12, dtype=np.float32).reshape(4, 3)
    lowered = single("Gather", [table, np.array([0, 1])], {"axis": 1}).lowered()
    with pytest.raises(Exception, match=r"limit|range|outside"):
        lowered.run({"i0": table, "i1": np.array([0, 3])})
