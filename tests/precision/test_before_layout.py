"""Attention whose operands are quantized behind the layout of heads, as Brevitas exports it."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from onnx import numpy_helper

import attnc

FLOAT_LEVELS = "{0}d = Div ({1}, step)  {0}c = Clip ({0}d, low, high)  {0}r = Round ({0}c)  {0}q = Mul ({0}r, step)"
QCDQ = """{0}i = QuantizeLinear ({1}, step, none)  {0}c = Clip ({0}i, least, most)
    {0}q = DequantizeLinear ({0}c, step, none)"""


@pytest.mark.parametrize(("quantizer", "machine"), [(FLOAT_LEVELS, "edge"), (QCDQ, "edge"), (QCDQ, "sanger")])
def test_all_products_reach_their_engine(quantizer: str, machine: str) -> None:
    heads = "{0}p = MatMul (xq, w{0})  {0}b = Add ({0}p, bias)  {0}s = Reshape ({0}b, split)  "
    body = [quantizer.format("x", "x")]
    for name in "qkv":
        body.append(heads.format(name) + f"{name}t = Transpose <perm = [0, 2, 1, 3]> ({name}s)")
        body.append(quantizer.format(name, name + "t"))
    body.append("kk = Transpose <perm = [0, 1, 3, 2]> (kq)  scores = MatMul (qq, kk)  p = Softmax <axis = -1> (scores)")
    body.append("e = Div (p, fine)  f = Round (e)  g = Clip (f, zero, high)  pq = Mul (g, fine)  y = MatMul (pq, vq)")
    text = f"""<ir_version: 9, opset_import: ["" : 18]> g (float[1, 16, 64] x) => (float[1, 4, 16, 16] y)
        {{ {" ".join(body)} }}"""
    proto = onnx.parser.parse_model(text)
    random = np.random.default_rng(0)
    values = {"step": np.float32(0.5), "low": np.float32(-2), "high": np.float32(1), "fine": np.float32(0.11)}
    values |= {"zero": np.float32(0), "none": np.int8(0), "least": np.int8(-2), "most": np.int8(1)}
    values |= {f"w{name}": random.integers(-1, 2, (64, 64)).astype(np.float32) / 8 for name in "qkv"}
    values |= {"split": np.array([1, 16, 4, 16]), "bias": random.normal(size=64).astype(np.float32)}
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in values.items())
    program = attnc.compile(proto, machine=machine).program
    assert program is not None
    assert bool(program.unlowered) == (machine != "edge")
    x = random.normal(size=(1, 16, 64)).astype(np.float32)
    result = attnc.Session(program).run({"x": x}, check=True)
    # Sanger's array has a mode for four bits, and none for the exchanged product that would make values along tokens.
    modes = {node.mode for node in result.report.nodes if node.macs}
    assert modes == ({"ternary"} if machine == "edge" else {"i4", "i8"})
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    reference = onnxruntime.InferenceSession(proto.SerializeToString(), options).run(None, {"x": x})[0]
    np.testing.assert_allclose(result.outputs["y"], reference, rtol=1e-5, atol=1e-5)


def test_tiles_of_packed_results_end_at_whole_bytes() -> None:
    """The columns of bat's array are no multiple of eight."""
    text = """<ir_version: 9, opset_import: ["" : 18]> g (float[1, 13, 40] x) => (float[1, 13, 40] y) {
        c = GreaterOrEqual (x, zero)  a = Where (c, one, minus)  u = MatMul (a, up)
        d = GreaterOrEqual (u, zero)  b = Where (d, one, minus)  y = MatMul (b, down) }"""
    proto = onnx.parser.parse_model(text)
    random = np.random.default_rng(0)
    up, down = (random.choice([-1.0, 1.0], shape).astype(np.float32) for shape in ((40, 72), (72, 40)))
    values = {"zero": np.float32(0), "one": np.float32(1), "minus": np.float32(-1), "up": up, "down": down}
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in values.items())
    program = attnc.compile(proto, machine="bat").program
    assert program is not None
    x = random.normal(size=(1, 13, 40)).astype(np.float32)
    hidden = np.where(np.where(x >= 0, 1, -1) @ up >= 0, 1, -1)
    np.testing.assert_array_equal(attnc.Session(program).run({"x": x}).outputs["y"], hidden @ down)
