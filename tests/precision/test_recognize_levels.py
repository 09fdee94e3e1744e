"""Binary, ternary and few-bit operands in the spellings of exporters: exact products on the engine of their bits."""

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
    "two levels apart from zero": "c = GreaterOrEqual (x, zero)  a = Where (c, high, alpha)",
    "twice a bit less one": "c = GreaterOrEqual (x, zero)  d = Cast <to = 1> (c)  e = Mul (d, two)  a = Sub (e, one)",
    "one less twice a bit": "c = Less (x, zero)  d = Cast <to = 1> (c)  e = Mul (two, d)  a = Sub (one, e)",
    "a sign whose zero is put right": "s = Sign (x)  c = Equal (s, zero)  a = Where (c, one, s)",
    "a scale for each token": "m = Abs (x)  r = ReduceMean <keepdims = 1> (m, last)  s = Sign (x)  a = Mul (s, r)",
    "by a token's greatest": """m = Abs (x)  r = ReduceMax <keepdims = 1> (m, last)  s = Div (high, r)  t = Mul (x, s)
        u = Round (t)  v = Clip (u, low, high)  a = Div (v, s)""",
    "from a tensor's least": """m = ReduceMin <keepdims = 0> (x)  b = Sub (x, m)  d = Div (b, alpha)  r = Round (d)
        k = Clip (r, zero, high)  e = Mul (k, alpha)  a = Add (e, m)""",
    "taken from an offset": "b = Clip (x, zero, one)  d = Mul (b, high)  r = Round (d)  a = Sub (shift, r)",
    "moved back": """b = Sub (x, shift)  d = Div (b, alpha)  r = Round (d)  k = Clip (r, zero, high)
        e = Mul (k, alpha)  a = Add (e, shift)""",
    "relu": "b = Relu (x)  d = Div (b, alpha)  r = Round (d)  k = Clip (r, zero, one)  a = Mul (k, alpha)",
    "clipped, scaled and rounded": "k = Clip (x, zero, one)  u = Mul (k, high)  r = Round (u)  a = Div (r, high)",
    "DoReFa": "t = Tanh (x)  u = Mul (t, high)  r = Round (u)  d = Div (r, high)  e = Mul (d, two)  a = Sub (e, one)",
    "by whole numbers": """b = Div (x, alpha)  k = Clip (b, low, high)  r = Round (k)  i = Cast <to = 3> (r)
        f = Cast <to = 1> (i)  a = Mul (f, alpha)""",
    "a straight-through estimator": """c = GreaterOrEqual (x, zero)  d = Where (c, one, minus_one)
        k = Clip (x, minus_one, one)  e = Sub (d, k)  f = Add (e, k)  a = Mul (f, alpha)""",
    "a rounded straight-through estimator": """b = Div (x, alpha)  r = Round (b)  e = Sub (r, b)  f = Add (b, e)
        k = Clip (f, zero, one)  a = Mul (k, alpha)""",
    "two comparisons": """c = GreaterOrEqual (x, zero)  d = Cast <to = 1> (c)  e = Less (x, zero)  f = Cast <to = 1> (e)
        a = Sub (d, f)""",
    "integers": """c = GreaterOrEqual (x, zero)  d = Cast <to = 7> (c)  e = Add (d, d)  f = Cast <to = 1> (e)
        a = Sub (f, one)""",
    "tensors of ones": """c = GreaterOrEqual (x, zero)  s = Shape (x)  o = Expand (one, s)  n = Neg (o)
        a = Where (c, o, n)""",
    "the sign of what is not negative": "b = Relu (x)  a = Sign (b)",
    "ternary, a sign and a comparison": """m = Abs (x)  c = Greater (m, alpha)  d = Cast <to = 1> (c)  s = Sign (x)
        a = Mul (s, d)""",
    "ternary, two comparisons": """c = Greater (x, alpha)  d = Cast <to = 1> (c)  e = Less (x, minus_alpha)
        f = Cast <to = 1> (e)  a = Sub (d, f)""",
    "half precision": """h = Cast <to = 10> (x)  z = Cast <to = 10> (zero)  o = Cast <to = 10> (one)  n = Neg (o)
        c = GreaterOrEqual (h, z)  v = Where (c, o, n)  a = Cast <to = 1> (v)""",
    "unsigned byte": "b = Div (x, step)  c = Round (b)  d = Clip (c, zero, most)  a = Mul (d, step)",
}

RANDOM = np.random.default_rng(0)
SIGNS = RANDOM.choice([-1.0, 1.0], (24, 40)).astype(np.float32)
WEIGHTS = {
    "one magnitude": (SIGNS * np.float32(0.3), "w2 = Identity (w)"),
    "one a column": (SIGNS * np.linspace(0.1, 2, 40, dtype=np.float32), "w2 = Identity (w)"),
    "ternary": (SIGNS * RANDOM.integers(0, 2, (24, 40)).astype(np.float32) * np.float32(0.7), "w2 = Identity (w)"),
    "whole numbers of 4 bits, one scale a column": (
        RANDOM.integers(-8, 8, (24, 40)).astype(np.float32) * np.linspace(0.1, 0.4, 40, dtype=np.float32),
        "w2 = Identity (w)",
    ),
    "odd levels": (RANDOM.choice([-3, -1, 1, 3], (24, 40)).astype(np.float32) * np.float32(0.1), "w2 = Identity (w)"),
    "two levels": (np.where(SIGNS > 0, np.float32(0.7), np.float32(-0.2)), "w2 = Identity (w)"),
    "two levels a column": (
        np.where(SIGNS > 0, np.linspace(0.5, 1, 40), np.linspace(-0.2, 0.3, 40)).astype(np.float32),
        "w2 = Identity (w)",
    ),
    "two levels a row, transposed": (
        np.where(SIGNS > 0, np.linspace(0.5, 1, 40), np.linspace(-0.2, 0.3, 40)).astype(np.float32).T.copy(),
        "w2 = Transpose <perm = [1, 0]> (w)",
    ),
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
    "latent, mean and magnitude of each column": (
        RANDOM.normal(0.2, 1, (24, 40)).astype(np.float32),
        """wm = ReduceMean <keepdims = 1> (w, first)  wn = Sub (w, wm)  ws = Sign (wn)  wa = Abs (w)
        wk = ReduceMean <keepdims = 1> (wa, first)  w2 = Mul (ws, wk)""",
    ),
    "latent, straight through": (
        RANDOM.normal(size=(24, 40)).astype(np.float32),
        "ws = Sign (w)  wc = Clip (w, minus_one, one)  wd = Sub (ws, wc)  w2 = Add (wd, wc)",
    ),
    "latent, some of them zero": (
        SIGNS * RANDOM.integers(0, 2, (24, 40)).astype(np.float32),
        "w2 = Sign (w)",
    ),
    "latent, of four bits": (
        RANDOM.normal(size=(24, 40)).astype(np.float32),
        "wd = Div (w, alpha)  wr = Round (wd)  wk = Clip (wr, low, high)  w2 = Mul (wk, alpha)",
    ),
    "bits in bytes": (
        SIGNS > 0,
        "wb = Cast <to = 2> (w)  wf = Cast <to = 1> (wb)  wd = Mul (wf, two)  w2 = Sub (wd, one)",
    ),
    "latent, ternary by a threshold of each column": (
        RANDOM.normal(size=(24, 40)).astype(np.float32),
        """wa = Abs (w)  wm = ReduceMean <keepdims = 1> (wa, first)  wk = Greater (wa, wm)  wf = Cast <to = 1> (wk)
        ws = Sign (w)  wt = Mul (ws, wf)  w2 = Mul (wt, wm)""",
    ),
    "latent, ternary by a threshold": (
        RANDOM.normal(size=(24, 40)).astype(np.float32),
        """wa = Abs (w)  wk = Greater (wa, alpha)  wf = Cast <to = 1> (wk)  ws = Sign (w)  wt = Mul (ws, wf)
        w2 = Mul (wt, alpha)""",
    ),
}

CONSTANTS = {
    "zero": 0.0,
    "one": 1.0,
    "minus_one": -1.0,
    "alpha": 0.3,
    "minus_alpha": -0.3,
    "shift": 0.1,
    "two": 2.0,
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
    axes = (numpy_helper.from_array(np.array([axis]), name) for name, axis in (("last", -1), ("first", 0)))
    proto.graph.initializer.extend(axes)
    return proto


MODES = {
    "ternary": "ternary",
    "latent, ternary by a threshold": "ternary",
    "latent, ternary by a threshold of each column": "ternary",
    "latent, some of them zero": "ternary",
    "latent, of four bits": "i4",
    "small integers": "i4",
    "whole numbers of 4 bits, one scale a column": "i4",
    "odd levels": "i4",
    "two levels": "i4",
}
"""The mode by the weight; of bits it is binary."""


def check(proto: onnx.ModelProto, mode: str = "binary") -> None:
    """The product runs in its mode, nothing is left unlowered, and the values are ONNX Runtime's."""
    program = attnc.compile(proto, sign="ternary").program
    assert program is not None
    assert not program.unlowered
    x = RANDOM.normal(size=(5, 24)).astype(np.float32)
    x[0, :4] = [0.0, -0.0, 0.15, -0.15]
    result = attnc.Session(program).run({"x": x}, check=True)
    assert [node.mode for node in result.report.nodes if node.macs] == [mode]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    reference = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    np.testing.assert_allclose(result.outputs["y"], reference.run(None, {"x": x})[0], rtol=2e-6, atol=5e-6)


@pytest.mark.parametrize("activation", SPELLINGS)
def test_every_spelling_of_activations_reaches_the_binary_engine(activation: str) -> None:
    check(model(activation, "one a column"))


@pytest.mark.parametrize("weight", WEIGHTS)
def test_every_spelling_of_weights_reaches_its_engine(weight: str) -> None:
    check(model("where", weight), MODES.get(weight, "binary"))


def test_offsets_of_both_sides_leave_a_product_of_two_activations() -> None:
    """Row sums and column sums are found when the program runs, through the layout of heads."""
    text = """<ir_version: 9, opset_import: ["" : 18]> g (float[2, 6, 16] x) => (float[2, 4, 6, 6] y) {
        c = GreaterOrEqual (x, zero)  q = Where (c, high, alpha)
        m = ReduceMin <keepdims = 0> (x)  b = Sub (x, m)  d = Div (b, alpha)  r = Round (d)  k = Clip (r, zero, high)
        e = Mul (k, alpha)  f = Add (e, m)
        qs = Reshape (q, heads)  qt = Transpose <perm = [0, 2, 1, 3]> (qs)
        ks = Reshape (f, heads)  kt = Transpose <perm = [0, 2, 3, 1]> (ks)
        y = MatMul (qt, kt) }"""
    proto = onnx.parser.parse_model(text)
    values = {name: np.float32(CONSTANTS[name]) for name in ("zero", "alpha", "high")}
    values["heads"] = np.array([2, 6, 4, 4])
    proto.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    program = attnc.compile(proto).program
    assert program is not None
    # Four bits of a head are no whole byte.
    assert [note.reason for note in program.unlowered] == [
        "its left operand does not lie along the depth of the product in whole bytes"
    ]
    x = RANDOM.normal(size=(2, 6, 16)).astype(np.float32)
    result = attnc.Session(program).run({"x": x}, check=True)
    assert [node.mode for node in result.report.nodes if node.macs] == ["i8"]
    reference = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_allclose(result.outputs["y"], reference, rtol=2e-6, atol=1e-5)


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


def test_a_model_of_half_precision_reaches_the_binary_engine_too() -> None:
    text = """<ir_version: 9, opset_import: ["" : 18]> g (float16[5, 24] x) => (float16[5, 40] y) {
        c = GreaterOrEqual (x, zero)  a = Where (c, one, minus)  s = Sign (w)  y = MatMul (a, s) }"""
    proto = onnx.parser.parse_model(text)
    latent = RANDOM.normal(size=(24, 40)).astype(np.float16)
    values = {"zero": np.float16(0), "one": np.float16(1), "minus": np.float16(-1), "w": latent}
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in values.items())
    program = attnc.compile(proto).program
    assert program is not None
    x = RANDOM.normal(size=(5, 24)).astype(np.float16)
    result = attnc.Session(program).run({"x": x}, check=True)
    assert [node.mode for node in result.report.nodes if node.macs] == ["binary"]
    np.testing.assert_array_equal(result.outputs["y"], np.where(x >= 0, 1, -1) @ np.sign(latent).astype(np.int64))


def test_float_weights_behind_a_quantizer_are_stored_quantized() -> None:
    text = """<ir_version: 9, opset_import: ["" : 18]> g (float[5, 24] x) => (float[5, 40] y) {
        q = QuantizeLinear (x, step, none)  a = DequantizeLinear (q, step, none)
        v = QuantizeLinear <axis = 1> (w, steps, zeros)  b = DequantizeLinear <axis = 1> (v, steps, zeros)
        y = MatMul (a, b) }"""
    proto = onnx.parser.parse_model(text)
    values = {"step": np.float32(0.03), "none": np.int8(0), "w": RANDOM.normal(size=(24, 40)).astype(np.float32)}
    values |= {"steps": np.full(40, 0.02, np.float32), "zeros": np.zeros(40, np.int8)}
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in values.items())
    program = attnc.compile(proto).program
    assert program is not None
    assert not program.unlowered
    assert max(segment.array.nbytes for segment in program.segments) < 4 * 24 * 40
    x = RANDOM.normal(size=(5, 24)).astype(np.float32)
    result = attnc.Session(program).run({"x": x}, check=True)
    assert [node.mode for node in result.report.nodes if node.macs] == ["i8"]
    reference = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_allclose(result.outputs["y"], reference, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("a = Mul (d, row)  y = MatMul (a, w)", "the left operand has a factor or an offset along the axis"),
        ("e = Mul (x, fine)  r = Round (e)  a = Clip (r, low, high)  y = MatMul (a, w)", "more levels than a byte"),
        (
            """t = Transpose <perm = [1, 0]> (d)  s = MatMul (d, t)  p = Softmax <axis = 1> (s)
            v = MatMul (d, w)  c2 = GreaterOrEqual (v, zero)  b = Where (c2, one, minus)  y = MatMul (p, b)""",
            "its probabilities are not quantized",
        ),
    ],
)
def test_what_was_written_of_few_levels_and_stays_float_is_listed(body: str, reason: str) -> None:
    text = f"""<ir_version: 9, opset_import: ["" : 18]> g (float[5, 24] x) => (float[5, 40] y) {{
        c = GreaterOrEqual (x, zero)  d = Where (c, one, minus)  {body} }}"""
    proto = onnx.parser.parse_model(text)
    values = {"zero": 0, "one": 1, "minus": -1, "fine": 1000, "low": -9000, "high": 9000}
    arrays = {name: np.float32(value) for name, value in values.items()}
    arrays |= {"row": np.linspace(1, 2, 24, dtype=np.float32), "w": SIGNS}
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items())
    program = attnc.compile(proto).program
    assert program is not None
    assert [note.node for note in program.unlowered] == [program.nodes[-1].name]
    assert reason in program.unlowered[0].reason
