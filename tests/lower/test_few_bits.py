"""Weights of less than 8 bits, as MatMulNBits and as DequantizeLinear of 4-bit integers, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import attnc

COLUMNS, ROWS = 40, 5


def packed(levels: np.ndarray, bits: int) -> np.ndarray:
    """Fields of the last axis in bytes, the first in the lowest bits."""
    each = 8 // bits
    fields = levels.reshape(*levels.shape[:-1], -1, each) << (bits * np.arange(each))
    return fields.sum(-1).astype(np.uint8)


def model(nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto], depth: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [ROWS, depth])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [ROWS, COLUMNS])],
        initializers,
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def check(proto: onnx.ModelProto, depth: int) -> None:
    """Values are ONNX Runtime's, weights are bytes in the program, and the float product is reported."""
    x = np.random.default_rng(1).normal(size=(ROWS, depth)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    reference = onnxruntime.InferenceSession(proto.SerializeToString(), options).run(None, {"x": x})[0]
    program = attnc.compile(proto).program
    assert program is not None
    np.testing.assert_allclose(attnc.Session(program).run({"x": x}).outputs["y"], reference, rtol=2e-5, atol=2e-5)
    weights = [segment.array for segment in program.segments if segment.array.size == depth * COLUMNS]
    assert [array.dtype.itemsize for array in weights] == [1]
    assert [note.reason for note in program.unlowered] == [
        "the left operand not quantized: the right operand widened on chip"
    ]


SIZES = [(4, 32, 96), (4, 32, 80), (4, 16, 96), (2, 32, 96), (8, 32, 96)]
# ONNX Runtime has no kernel for 8 bits and zero points in float.
CASES = [
    (*sizes, zero) for sizes in SIZES for zero in ("middle", "packed", "float") if (sizes[0], zero) != (8, "float")
]


@pytest.mark.parametrize(("bits", "block", "depth", "zero"), CASES)
def test_blocks_of_few_bits(bits: int, block: int, depth: int, zero: str) -> None:
    random = np.random.default_rng(0)
    blocks = -(-depth // block)
    levels = random.integers(0, 1 << bits, (COLUMNS, blocks, block))
    arrays: dict[str, np.ndarray] = {
        "w": packed(levels, bits),
        "scales": random.uniform(0.01, 0.1, COLUMNS * blocks).astype(np.float32),
        "bias": random.normal(size=COLUMNS).astype(np.float32),
    }
    if zero == "packed":
        each = 8 // bits
        arrays["zero"] = packed(random.integers(0, 1 << bits, (COLUMNS, -(-blocks // each) * each)), bits).reshape(-1)
    elif zero == "float":
        arrays["zero"] = random.uniform(0, 1 << bits, COLUMNS * blocks).astype(np.float32)
    operands = ["x", "w", "scales", "" if zero == "middle" else "zero", "", "bias"]
    sizes: dict[str, Any] = {"K": depth, "N": COLUMNS, "bits": bits, "block_size": block}
    node = helper.make_node("MatMulNBits", operands, ["y"], name="product", domain="com.microsoft", **sizes)
    check(model([node], [numpy_helper.from_array(array, name) for name, array in arrays.items()], depth), depth)


@pytest.mark.parametrize("code", [TensorProto.INT4, TensorProto.UINT4])
@pytest.mark.parametrize("zero", [False, True])
def test_dequantized_blocks_of_4_bits(code: int, zero: bool) -> None:
    random = np.random.default_rng(0)
    low, high = (-8, 8) if code == TensorProto.INT4 else (0, 16)

    def stored(name: str, *shape: int) -> onnx.TensorProto:
        return helper.make_tensor(name, code, shape, random.integers(low, high, shape).ravel().tolist())

    scale = numpy_helper.from_array(random.uniform(0.01, 0.1, (3, COLUMNS)).astype(np.float32), "scale")
    initializers = [stored("w", 96, COLUMNS), scale, *([stored("zero", 3, COLUMNS)] if zero else [])]
    operands = ["w", "scale", *(["zero"] if zero else [])]
    nodes = [
        helper.make_node("DequantizeLinear", operands, ["wide"], name="wide", axis=0, block_size=32),
        helper.make_node("MatMul", ["x", "wide"], ["y"], name="product"),
    ]
    check(model(nodes, initializers, 96), 96)
