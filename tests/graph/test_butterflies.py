"""Chains of butterfly stages, as PyTorch code of them is exported, become products of the radix that costs least."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import attnc

Factors = list[tuple[int, np.ndarray]]


def butterfly(shape: tuple[int, ...], increasing: bool, seen: bool = False) -> tuple[ModelProto, Factors]:
    """x times log2 n factors, each a reshape, a product and a sum over pairs; and (stride, factor) of each. With `seen`
    what the second stage gives is an output too."""
    *outer, size = shape
    random, stages = np.random.default_rng(size), size.bit_length() - 1
    nodes, constants, factors = [], [], Factors()

    def constant(name: str, array: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(array, name))
        return name

    last = "x"
    for place in range(stages):
        stride = 1 << (place if increasing else stages - 1 - place)
        factor = random.normal(0, 0.7, (1, size // (2 * stride), 2, 2, stride)).astype(np.float32)
        factors.append((stride, factor))
        split = constant(f"shape{place}", np.array([*outer, 1, size // (2 * stride), 1, 2, stride]))
        nodes += [
            helper.make_node("Reshape", [last, split], [f"split{place}"], name=f"split{place}"),
            helper.make_node("Mul", [constant(f"factor{place}", factor), f"split{place}"], [f"pairs{place}"]),
            helper.make_node("ReduceSum", [f"pairs{place}", constant(f"axes{place}", np.array([-2]))], [f"sum{place}"]),
        ]
        nodes[-1].attribute.append(helper.make_attribute("keepdims", 0))
        last = f"sum{place}"
    nodes.append(helper.make_node("Reshape", [last, constant("shape", np.array(shape))], ["y"]))
    value = helper.make_tensor_value_info
    outputs = [value("y", TensorProto.FLOAT, shape)]
    if seen:
        outputs.append(value("sum1", TensorProto.FLOAT, None))
    graph = helper.make_graph(nodes, "butterfly", [value("x", TensorProto.FLOAT, shape)], outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), factors


def defined(values: np.ndarray, factors: Factors) -> np.ndarray:
    """The product in float64."""
    result = values.astype(np.float64)
    for stride, factor in factors:
        pairs = result.reshape(*values.shape[:-1], -1, 1, 2, stride)
        result = (factor[0] * pairs).sum(-2).reshape(values.shape)
    return result


def products(model: ModelProto, **options: object) -> list[tuple[int, ...]]:
    """The shapes of the constants that are multiplied by."""
    module = attnc.compile(model, stop_after="graph", **options).module  # pyright: ignore[reportArgumentType]
    shapes = [operand.type.get_shape() for op in module.walk() if op.name == "nn.matmul" for operand in op.operands]
    return [tuple(shape) for shape in shapes if shape[-1] == shape[-2]]


@pytest.mark.parametrize("increasing", [True, False])
@pytest.mark.parametrize(
    ("shape", "asked"), [((5, 16), False), ((5, 16), True), ((2, 9, 64), True), ((128, 1024), True)]
)
def test_values_are_those_of_the_factors(shape: tuple[int, ...], increasing: bool, asked: bool) -> None:
    model, factors = butterfly(shape, increasing)
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    program = attnc.compile(model, detect_structure=asked).program
    assert program is not None
    found = attnc.Session(program).run({"x": values}, check=True).outputs["y"]
    wanted = defined(values, factors)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


def test_the_radix_is_what_costs_least() -> None:
    model, _ = butterfly((128, 1024), increasing=True)
    assert products(model, detect_structure=True) == [(32, 1, 32, 32), (1, 32, 32, 32)]
    # int8 multiplies eight times as fast, and turns values no faster.
    assert products(model, detect_structure=True, precision="int8") == [(1024, 1024)]
    assert products(butterfly((128, 64), increasing=False)[0], detect_structure=True) == [(64, 64)]


def test_nothing_is_merged_unasked_nor_what_something_else_reads() -> None:
    model, _ = butterfly((8, 64), increasing=True)
    assert not products(model)
    assert products(model, detect_structure=True) == [(64, 64)]
    read, factors = butterfly((8, 64), increasing=True, seen=True)
    values = np.random.default_rng(1).normal(size=(8, 64)).astype(np.float32)
    program = attnc.compile(read, detect_structure=True).program
    assert program is not None
    found = attnc.Session(program).run({"x": values}).outputs
    np.testing.assert_allclose(found["y"], defined(values, factors), rtol=0, atol=1e-5)
    between = defined(values, factors[:2])
    np.testing.assert_allclose(found["sum1"].reshape(between.shape), between, rtol=0, atol=1e-5)
