"""Operators whose result types no official rule tells, through the simulator beside ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import attnc.backend as backend

RANDOM = np.random.default_rng(0)


def real(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def compared(operator, inputs, known=(), outputs=1, domain="com.microsoft", **attributes) -> None:
    """One node whose outputs have no declared type, on the simulator and in ONNX Runtime."""
    names = ["" if array is None else f"i{place}" for place, array in enumerate(inputs)]
    given = {name: array for name, array in zip(names, inputs, strict=True) if array is not None}
    fed = {name: array for name, array in given.items() if int(name[1:]) not in known}
    results = [f"o{place}" for place in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(operator, names, results, domain=domain, **attributes)],
        "graph",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in fed.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in results],
        [numpy_helper.from_array(array, name) for name, array in given.items() if name not in fed],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    made = backend.SimulatorRep(model, {}).run(fed, check=True)
    for array, wanted in zip(made, session.run(None, fed), strict=True):
        assert array.dtype == wanted.dtype
        np.testing.assert_allclose(array, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_a_quantized_pool_has_its_operands_type(dtype: type) -> None:
    limits = np.iinfo(dtype)
    values = RANDOM.integers(limits.min, limits.max, (1, 3, 5, 5), dtype, endpoint=True)
    zero = np.array(3, dtype)
    operands = [values, np.float32(0.02), zero, np.float32(0.01), zero]
    compared("QLinearGlobalAveragePool", [np.asarray(array) for array in operands], known=(1, 2, 3, 4))


def test_a_group_norm_has_the_shape_of_its_operand() -> None:
    scale, bias = real(4), real(4)
    compared("GroupNormalization", [real(2, 4, 3, 3), scale, bias], domain="", num_groups=2)


def test_packed_attention_gives_its_keys_and_values() -> None:
    packed = [real(2, 5, 8), real(8, 24), real(24)]
    compared("Attention", packed, outputs=2, num_heads=2)
    past = [None, real(2, 2, 2, 3, 4)]
    compared("Attention", packed + past, outputs=2, num_heads=2, unidirectional=1)


def test_multi_head_attention_gives_its_keys_and_values() -> None:
    apart = [real(2, 5, 8), real(2, 5, 8), real(2, 5, 8)]
    compared("MultiHeadAttention", apart, outputs=3, num_heads=2)
    past = [None, None, None, real(2, 2, 3, 4), real(2, 2, 3, 4)]
    compared("MultiHeadAttention", apart + past, outputs=3, num_heads=2)
