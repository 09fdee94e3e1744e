"""Single nodes against ONNX Runtime: what the official node tests do not reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

RANDOM = np.random.default_rng(7)


def f32(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def u8(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, shape).astype(np.uint8)


def i8(*shape: int) -> np.ndarray:
    return RANDOM.integers(-128, 128, shape).astype(np.int8)


def ids(*shape: int, extent: int) -> np.ndarray:
    return RANDOM.integers(-extent, extent, shape).astype(np.int64)


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def real(value: float) -> np.ndarray:
    return np.array(value, np.float32)


@dataclass(frozen=True)
class Case:
    """A node; its integer outputs may differ by `units`."""

    operator: str
    inputs: list[np.ndarray | None]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    known: tuple[int, ...] = ()
    domain: str = ""
    units: int = 0
    outputs: int = 1
    opset: int = 22


RUNTIME = "com.microsoft"
SPECIAL = np.array([0.0, -0.0, 0.5, 1.5, 2.5, -0.5, 50, -50, 1e-8, np.inf, -np.inf, np.nan], np.float32)

CASES = {
    "matmul of vectors": Case("MatMul", [f32(5), f32(5)]),
    "matmul of a vector by matrices": Case("MatMul", [f32(5), f32(2, 5, 3)]),
    "matmul of matrices by a vector": Case("MatMul", [f32(2, 3, 5), f32(5)]),
    "matmul that broadcasts": Case("MatMul", [f32(2, 1, 3, 5), f32(4, 5, 6)]),
    "matmul of integers": Case("MatMul", [ids(2, 3, 5, extent=9), ids(5, 4, extent=9)]),
    "gemm scaled and transposed": Case(
        "Gemm", [f32(4, 3), f32(5, 4), f32(5)], {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 0.25}
    ),
    "conv of one axis": Case(
        "Conv", [f32(2, 3, 11), f32(4, 3, 3), f32(4)], {"strides": [2], "pads": [1, 2], "dilations": [2]}
    ),
    "conv of three axes": Case("Conv", [f32(1, 2, 5, 6, 7), f32(3, 2, 2, 3, 2)], {"strides": [1, 2, 1]}),
    "grouped conv": Case("Conv", [f32(2, 6, 7, 8), f32(4, 3, 3, 3), f32(4)], {"group": 2, "pads": [1] * 4}),
    "depthwise conv": Case("Conv", [f32(1, 4, 7, 8), f32(8, 1, 3, 3), f32(8)], {"group": 4, "dilations": [1, 2]}),
    "conv padded above": Case(
        "Conv", [f32(1, 2, 7, 8), f32(3, 2, 3, 2)], {"auto_pad": "SAME_UPPER", "strides": [2, 3]}
    ),
    "conv padded below": Case("Conv", [f32(1, 2, 7, 8), f32(3, 2, 3, 2)], {"auto_pad": "SAME_LOWER"}),
    "integer conv with zero points": Case(
        "ConvInteger",
        [u8(1, 4, 6, 7), i8(6, 2, 3, 3), np.array(7, np.uint8), np.array(3, np.int8)],
        {"group": 2, "pads": [1, 0, 1, 2]},
    ),
    "quantized conv by channel": Case(
        "QLinearConv",
        [
            u8(1, 4, 6, 7),
            real(0.02),
            u8(),
            i8(6, 2, 3, 3),
            np.abs(f32(6)) / 50,
            np.zeros(6, np.int8),
            real(0.7),
            u8(),
            RANDOM.integers(-999, 999, 6).astype(np.int32),
        ],
        {"group": 2, "pads": [1, 0, 1, 2]},
        known=(1, 2, 3, 4, 5, 6, 7, 8),
    ),
    "integer product of extremes": Case(
        "MatMulInteger", [np.full((3, 1000), 255, np.uint8), np.full((1000, 2), -128, np.int8), u8()]
    ),
    "integer product of unsigned bytes": Case("MatMulInteger", [u8(2, 3, 50), u8(50, 4), u8(), u8()]),
    "quantized product by column": Case(
        "QLinearMatMul",
        [u8(2, 3, 50), real(0.02), u8(), i8(50, 6), np.abs(f32(6)) / 50, i8(6), real(0.7), u8()],
        known=(1, 2, 3, 4, 5, 6, 7),
    ),
    "max pool with places by columns": Case(
        "MaxPool", [f32(2, 3, 6, 7)], {"kernel_shape": [2, 3], "storage_order": 1}, outputs=2
    ),
    "average pool rounded up with padding counted": Case(
        "AveragePool",
        [f32(2, 3, 8, 9)],
        {
            "kernel_shape": [3, 2],
            "strides": [2, 3],
            "pads": [1, 0, 1, 1],
            "ceil_mode": 1,
            "count_include_pad": 1,
        },
    ),
    "average pool with dilation": Case(
        "AveragePool", [f32(2, 3, 8, 9)], {"kernel_shape": [3, 2], "dilations": [2, 1], "pads": [1, 0, 1, 1]}
    ),
    "gather along the middle by the run's ids": Case("Gather", [f32(4, 6, 7), ids(2, 3, extent=6)], {"axis": 1}),
    "gather along the middle by known ids": Case(
        "Gather", [f32(4, 6, 7), ids(2, 3, extent=6)], {"axis": 1}, known=(1,)
    ),
    "gather of one known row": Case("Gather", [f32(4, 6, 7), np.array(-2)], {"axis": 1}, known=(1,)),
    "gather of elements": Case("GatherElements", [f32(4, 6, 7), ids(4, 9, 7, extent=6)], {"axis": 1}),
    "gather of tuples within batches": Case("GatherND", [f32(3, 3, 3, 5), ids(3, 4, 2, extent=3)], {"batch_dims": 1}),
    "gather of known tuples in order": Case(
        "GatherND", [f32(3, 4), np.stack(np.indices((3, 4)), -1).astype(np.int64)], known=(1,)
    ),
    "scatter of a box in the middle": Case(
        "ScatterND",
        [f32(4, 5, 6), np.stack(np.indices((2, 3)), -1) + np.array([1, -4]), f32(2, 3, 6)],
        known=(1,),
    ),
    "scatter of rows out of order": Case("ScatterND", [f32(6, 3), np.array([[4], [-6], [2]]), f32(3, 3)], known=(1,)),
    "scatter of single elements": Case(
        "ScatterND", [f32(3, 4), np.array([[[2, 0], [0, 3]], [[1, 1], [2, 2]]]), f32(2, 2)], known=(1,)
    ),
    "scatter of nothing": Case("ScatterND", [f32(3, 4), np.zeros((0, 1), np.int64), f32(0, 4)], known=(1,)),
    "scatter of elements along an axis": Case(
        "ScatterElements", [f32(4, 5), np.array([[1, -1, 0], [3, 2, 4]]), f32(2, 3)], {"axis": 1}, known=(1,)
    ),
    "scatter of elements in order": Case(
        "ScatterElements", [f32(4, 5), np.array([[1, 1], [2, 2]]), f32(2, 2)], {"axis": 0}, known=(1,)
    ),
    "one-hot outside the depth": Case("OneHot", [ids(2, 9, extent=9), np.array(6), f32(2)], {"axis": 1}, known=(1,)),
    "triangle by the run's diagonal": Case("Trilu", [f32(2, 4, 5), np.array(-1)], {"upper": 0}),
    "slice backwards to the start": Case(
        "Slice", [f32(4, 5), i64(-1), i64(-(2**63)), i64(1), i64(-1)], known=(1, 2, 3, 4)
    ),
    "pad by reflection wider than the axis": Case("Pad", [f32(4, 5), i64(3, 2, 1, 4)], {"mode": "reflect"}, known=(1,)),
    "pad with cuts": Case("Pad", [f32(4, 5), i64(-1, 2, 1, -1), real(2.5)], known=(1,)),
    "einsum of three terms": Case("Einsum", [f32(3, 4), f32(4, 5), f32(5, 6)], {"equation": "ij,jk,kl->il"}),
    "einsum of heads": Case("Einsum", [f32(2, 3, 4, 6), f32(2, 3, 6, 5)], {"equation": "bhij,bhjd->bihd"}),
    "einsum of a trace": Case("Einsum", [f32(4, 4)], {"equation": "ii"}),
    "einsum with an ellipsis": Case("Einsum", [f32(2, 3, 4), f32(4, 5)], {"equation": "...ij,jk->...ik"}),
    "mean of integers": Case("ReduceMean", [ids(3, 4, extent=9).astype(np.int32), i64(1)], known=(1,)),
    "logarithm of a sum of infinities": Case(
        "ReduceLogSumExp",
        [np.array([[-np.inf, -np.inf], [np.inf, 1], [100, 100]], np.float32), i64(1)],
        known=(1,),
    ),
    "last greatest of several": Case(
        "ArgMax", [RANDOM.integers(0, 3, (4, 9)).astype(np.float32)], {"axis": 1, "select_last_index": 1}
    ),
    "softmax of masked rows": Case(
        "Softmax", [np.array([[-np.inf, -np.inf], [1, -np.inf], [-3e38, -3e38]], np.float32)]
    ),
    "layer norm over all axes with its statistics": Case(
        "LayerNormalization", [f32(3, 4, 5), f32(3, 4, 5), f32(3, 4, 5)], {"axis": 0}, outputs=3
    ),
    "batch norm with known statistics": Case(
        "BatchNormalization", [f32(2, 3, 4), f32(3), f32(3), f32(3), np.abs(f32(3))], known=(1, 2, 3, 4)
    ),
    "quantization of ties": Case(
        "QuantizeLinear",
        [np.array([0.25, 0.75, 1.25, -0.25, 1e9, -1e9], np.float32), real(0.5), np.array(3, np.int8)],
    ),
    "quantization by blocks": Case(
        "QuantizeLinear", [f32(3, 4) * 100, np.abs(f32(3, 2)) + 0.1, i8(3, 2)], {"axis": 1, "block_size": 2}
    ),
    "dequantization by blocks": Case(
        "DequantizeLinear", [i8(4, 3), np.abs(f32(2, 3)), i8(2, 3)], {"axis": 0, "block_size": 2}
    ),
    "dynamic quantization of negatives": Case("DynamicQuantizeLinear", [-np.abs(f32(3, 4))], outputs=3),
    "dynamic quantization of zeros": Case("DynamicQuantizeLinear", [np.zeros((2, 2), np.float32)], outputs=3),
    "quantized sum": Case(
        "QLinearAdd",
        [u8(4, 50), real(0.02), u8(), u8(50), real(0.03), u8(), real(0.05), u8()],
        known=(1, 2, 4, 5, 6, 7),
        domain=RUNTIME,
    ),
    "quantized product of elements": Case(
        "QLinearMul",
        [i8(4, 50), real(0.02), i8(), i8(50), real(0.03), i8(), real(0.05), i8()],
        domain=RUNTIME,
    ),
    "quantized softmax": Case(
        "QLinearSoftmax",
        [i8(4, 50), real(0.05), i8(), real(1 / 256), i8()],
        {"opset": 13},
        known=(1, 2, 3, 4),
        domain=RUNTIME,
        units=1,
    ),
    "dynamic product": Case(
        "DynamicQuantizeMatMul",
        [f32(3, 5), i8(5, 4), np.abs(f32(4)), np.zeros(4, np.int8), f32(4)],
        known=(1, 2, 3, 4),
        domain=RUNTIME,
    ),
    "skip layer norm": Case("SkipLayerNormalization", [f32(2, 3, 4), f32(2, 3, 4), f32(4), f32(4)], domain=RUNTIME),
    "fused attention with lengths": Case(
        "Attention",
        [f32(2, 5, 8), f32(8, 36), f32(36), np.array([5, 3], np.int32)],
        {"num_heads": 3, "unidirectional": 1},
        domain=RUNTIME,
    ),
    "fused cross attention with a bias and a mask of keys": Case(
        "MultiHeadAttention",
        [
            f32(2, 5, 12),
            f32(2, 7, 12),
            f32(2, 7, 12),
            f32(36),
            RANDOM.integers(0, 2, (2, 7)).astype(np.int32),
        ],
        {"num_heads": 3},
        domain=RUNTIME,
    ),
    "quantized gemm": Case(
        "QGemm",
        [
            u8(50, 9),
            real(0.02),
            u8(),
            i8(40, 50),
            real(0.03),
            i8(),
            np.arange(40, dtype=np.int32),
            real(0.5),
            u8(),
        ],
        {"transA": 1, "transB": 1},
        known=(1, 2, 4, 5, 7, 8),
        domain=RUNTIME,
    ),
    "concatenation of quantized parts": Case(
        "QLinearConcat",
        [real(0.03), i8(), i8(3, 50), real(0.02), i8(), i8(2, 50), real(0.04), i8()],
        {"axis": 0},
        known=(0, 1, 3, 4, 6, 7),
        domain=RUNTIME,
    ),
    "clip of int64 to bounds beyond int32": Case(
        "Clip", [ids(9, extent=9), np.array(0), np.array(2**63 - 1)], known=(1, 2)
    ),
    "modulo of the divisor's sign": Case("Mod", [ids(3, 4, extent=9), i64(3, -3, 4, -4)]),
    "shift of signed values": Case(
        "BitShift", [u8(9), RANDOM.integers(0, 9, 9).astype(np.uint8)], {"direction": "RIGHT"}
    ),
    "integer division toward zero": Case("Div", [ids(3, 4, extent=9), i64(3, -3, 4, -4)]),
    "rounding of ties": Case("Round", [SPECIAL]),
    "sign of zeros": Case("Sign", [SPECIAL]),
    "selu of extremes": Case("Selu", [SPECIAL]),
    "hard swish of extremes": Case("HardSwish", [SPECIAL]),
    "softplus of extremes": Case("Softplus", [SPECIAL]),
    "gelu in half precision": Case("Gelu", [f32(20).astype(np.float16)], {"approximate": "tanh"}),
}


@pytest.mark.parametrize("name", CASES)
def test_node_gives_what_onnx_runtime_gives(name: str, single: Callable[..., Any]) -> None:
    case = CASES[name]
    node = single(
        case.operator,
        case.inputs,
        case.attributes,
        known=case.known,
        outputs=case.outputs,
        domain=case.domain,
        opset=case.opset,
    )
    expected = node.reference()
    outputs = node.lowered().run(node.feed)
    assert len(outputs) == len(expected)
    for output, wanted in zip(outputs, expected, strict=True):
        assert output.shape == wanted.shape
        if wanted.dtype.kind in "iu":
            assert output.dtype == (np.int32 if wanted.dtype == np.int64 else wanted.dtype)
            difference = np.abs(output.astype(np.int64) - wanted.astype(np.int64))
            assert difference.max() <= case.units
        else:
            assert output.dtype == wanted.dtype
            half = wanted.dtype == np.float16
            np.testing.assert_allclose(output, wanted, rtol=2e-3 if half else 2e-5, atol=2e-4 if half else 1e-6)
