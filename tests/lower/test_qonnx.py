"""The QONNX quantizers against their formulas, written out in numpy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import attnc
from attnc.isa.errors import UnsupportedError

from .conftest import lower_model

VALUES = np.array([-9.0, -2.5, -1.5, -0.5, -0.4, -0.0, 0.0, 0.25, 0.5, 0.75, 1.5, 2.5, 3.5, 6.9, 100.0], np.float32)

ROUNDINGS = {
    "ROUND": np.round,
    "half_even": np.round,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "DOWN": np.fix,
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
    "HALF_DOWN": lambda x: np.sign(x) * np.ceil(np.abs(x) - 0.5),
}


def lowered(
    operator: str, operands: list[Any], domain: str = "qonnx.custom_op.general", version: int = 1, **attributes: Any
) -> np.ndarray:
    """What an operator gives for VALUES, its other operands being initializers."""
    names = [f"c{index}" for index in range(len(operands))]
    node = helper.make_node(operator, ["x", *names], ["y"], name="node", domain=domain, **attributes)
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, VALUES.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, VALUES.shape)],
        [numpy_helper.from_array(np.asarray(o, np.float32), name) for o, name in zip(operands, names, strict=True)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(domain, version)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return lower_model(model).run({"x": VALUES})[0]


def quantized(
    x: np.ndarray, scale: float, zero: float, bits: int, *, signed: int, narrow: int, mode: str
) -> np.ndarray:
    """The formula of Quant."""
    whole = x / np.float32(scale) + np.float32(zero)
    if bits == 1 and signed:
        whole = np.where(whole >= 0, 1, -1)
    else:
        low = -(2 ** (bits - 1)) + narrow if signed else 0
        high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
        whole = ROUNDINGS[mode](np.clip(whole, low, high))
    return ((whole - np.float32(zero)) * np.float32(scale)).astype(np.float32)


@pytest.mark.parametrize("domain", ["qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas"])
def test_bipolar_quant_takes_zero_and_minus_zero_for_plus_one(domain: str) -> None:
    got = lowered("BipolarQuant", [0.25], domain)
    np.testing.assert_array_equal(got, np.where(VALUES >= 0, 0.25, -0.25))


@pytest.mark.parametrize(("operator", "version"), [("Quant", 1), ("Quant", 2), ("IntQuant", 2)])
@pytest.mark.parametrize("mode", ROUNDINGS)
@pytest.mark.parametrize(("bits", "signed", "narrow"), [(2, 1, 1), (4, 1, 0), (3, 0, 1), (8, 0, 0), (8, 1, 1)])
def test_quant_clamps_rounds_and_scales(
    operator: str, version: int, mode: str, bits: int, signed: int, narrow: int
) -> None:
    got = lowered(operator, [0.5, 0, bits], version=version, signed=signed, narrow=narrow, rounding_mode=mode)
    np.testing.assert_array_equal(got, quantized(VALUES, 0.5, 0, bits, signed=signed, narrow=narrow, mode=mode))


@pytest.mark.parametrize(
    ("bits", "signed", "zero"), [(1, 0, 0), (1, 1, 0), (1, 1, 1), (8, 0, 3), (4, 0, 2.5), (12, 1, 0)]
)
def test_quant_of_one_bit_of_a_zero_point_and_of_many_bits(bits: int, signed: int, zero: float) -> None:
    got = lowered("Quant", [0.25, zero, bits], signed=signed, narrow=0, rounding_mode="ROUND")
    np.testing.assert_array_equal(got, quantized(VALUES, 0.25, zero, bits, signed=signed, narrow=0, mode="ROUND"))


def test_trunc_drops_bits() -> None:
    whole = np.floor(np.round(VALUES / 0.25) / 2.0**3)
    np.testing.assert_array_equal(lowered("Trunc", [0.25, 0, 8, 5], rounding_mode="FLOOR"), whole * 0.25)


def test_trunc_of_version_2_goes_on_with_the_scale_of_its_output() -> None:
    attributes: Mapping[str, Any] = {"rounding_mode": "ROUND", "signed": 1, "narrow": 0}
    whole = np.round(np.clip(np.round(VALUES / 0.25 + 4) / 4, -8, 7))
    got = lowered("Trunc", [0.25, 4, 8, 1.0, 4], version=2, **attributes)
    np.testing.assert_array_equal(got, whole - 1)


def test_weights_become_bytes_when_compiling() -> None:
    weight = np.linspace(-1, 1, 6 * 40, dtype=np.float32).reshape(6, 40)
    nodes = [
        helper.make_node("BipolarQuant", ["w", "s"], ["q"], name="q", domain="qonnx.custom_op.general"),
        helper.make_node("MatMul", ["x", "q"], ["y"], name="product"),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 40])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array([0.5], np.float32), "s")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("qonnx.custom_op.general", 1)]
    program = attnc.compile(helper.make_model(graph, opset_imports=opsets, ir_version=9)).program
    assert program is not None
    assert sorted(segment.array.dtype.name for segment in program.segments if segment.array.size == weight.size) == [
        "int8"
    ]


def test_a_width_that_is_no_whole_number_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="one whole number from 1 to 32"):
        lowered("Quant", [0.5, 0, 2.5], signed=1, narrow=0, rounding_mode="ROUND")
