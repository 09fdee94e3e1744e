"""Binary, ternary and few-bit operands in the spellings of exporters: exact integer products, none left in float."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from onnx import numpy_helper

import attnc

SPELLINGS = {
    "where": "c = GreaterOrEqual (x, zero)  a = Where (c, alpha, minus_alpha)",
    "where of ones and a factor": "c = GreaterOrEqual (x, zero)  d = Where (c, one, minus_one)  a = Mul (d, alpha)",
    "greater": "c = Greater (x, zero)  a = Where (c, minus_alpha, alpha)",
    "unipolar": "c = Less (x, zero)  a = Where (c, zero, alpha)",
    "cast": "c = Greater (x, zero)  d = Cast <to = 1> (c)  a = Mul (alpha, d)",
    "sign": "d = Sign (x)  a = Mul (d, alpha)",
    "shifted": "b = Sub (x, shift)  c = GreaterOrEqual (b, zero)  a = Where (c, one, minus_one)",
    "rounded and clipped": "b = Div (x, alpha)  c = Round (b)  d = Clip (c, zero, one)  a = Mul (d, alpha)",
    "clipped and rounded": "b = Div (x, alpha)  c = Clip (b, low, high)  d = Round (c)  a = Mul (d, alpha)",
    "unsigned byte": "b = Div (x, step)  c = Round (b)  d = Clip (c, zero, most)  a = Mul (d, step)",
}

RANDOM = np.random.default_rng(0)
SIGNS = RANDOM.choice([-1.0, 1.0], (24, 40)).astype(np.float32)
WEIGHTS = {
    "one magnitude": (SIGNS * np.float32(0.3), "w2 = Identity (w)"),
    "one a column": (SIGNS * np.linspace(0.1, 2, 40, dtype=np.float32), "w2 = Identity (w)"),
    "ternary": (SIGNS * RANDOM.integers(0, 2, (24, 40)).astype(np.float32) * np.float32(0.7), "w2 = Identity (w)"),
    "small integers": (RANDOM.integers(-7, 8, (24, 40)).astype(np.float32), "w2 = Identity (w)"),
    "transposed": (np.ascontiguousarray((SIGNS * np.float32(0.3)).T), "w2 = Transpose <perm = [1, 0]> (w)"),
    "latent": (
        RANDOM.normal(size=(24, 40)).astype(np.float32),
        "wc = GreaterOrEqual (w, zero)  wd = Where (wc, one, minus_one)  w2 = Mul (wd, alpha)",
    ),
    "latent, mean removed": (
        RANDOM.normal(0.2, 1, (24, 40)).astype(np.float32),
        "wm = ReduceMean <keepdims = 1> (w)  wn = Sub (w, wm)  ws = Sign (wn)  w2 = Mul (ws, alpha)",
    ),
}

CONSTANTS = {
    "zero": 0.0,
    "one": 1.0,
    "minus_one": -1.0,
    "alpha": 0.3,
    "minus_alpha": -0.3,
    "shift": 0.1,
    "low": -8.0,
    "high": 7.0,
    "step": 0.01,
    "most": 255.0,
}


def model(activation: str, weight: str) -> onnx.ModelProto:
    array, prepared = WEIGHTS[weight]
    text = f"""
        <ir_version: 9, opset_import: ["" : 18]>
        g (float[5, 24] x) => (float[5, 40] y) {{ {SPELLINGS[activation]}  {prepared}  y = MatMul (a, w2) }}
    """
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.append(numpy_helper.from_array(array, "w"))
    scalars = (numpy_helper.from_array(np.float32(value).reshape(()), name) for name, value in CONSTANTS.items())
    proto.graph.initializer.extend(scalars)
    return proto


def check(proto: onnx.ModelProto) -> None:
    """The product runs on the integer engine, nothing is left unlowered, and the values are ONNX Runtime's."""
    program = attnc.compile(proto, sign="ternary").program
    assert program is not None
    assert not program.unlowered
    x = RANDOM.normal(size=(5, 24)).astype(np.float32)
    x[0, :4] = [0.0, -0.0, 0.15, -0.15]
    result = attnc.Session(program).run({"x": x}, check=True)
    assert [node.mode for node in result.report.nodes if node.macs] == ["i8"]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    reference = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    np.testing.assert_allclose(result.outputs["y"], reference.run(None, {"x": x})[0], rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("activation", SPELLINGS)
def test_every_spelling_of_activations_reaches_the_integer_engine(activation: str) -> None:
    check(model(activation, "one a column"))


@pytest.mark.parametrize("weight", WEIGHTS)
def test_every_spelling_of_weights_reaches_the_integer_engine(weight: str) -> None:
    check(model("where", weight))


def test_a_scale_along_the_contracted_axis_stays_float_and_is_reported() -> None:
    proto = model("where", "one magnitude")
    rows = SIGNS * np.linspace(0.1, 2, 24, dtype=np.float32)[:, None]
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(rows, "w"))
    program = attnc.compile(proto).program
    assert program is not None
    assert [note.reason for note in program.unlowered] == [
        "the right operand not quantized: the left operand widened on chip"
    ]


def test_weights_of_many_values_are_left_alone() -> None:
    proto = model("where", "one magnitude")
    many = RANDOM.normal(size=(24, 40)).astype(np.float32)
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(many, "w"))
    program = attnc.compile(proto).program
    assert program is not None
    assert program.unlowered
