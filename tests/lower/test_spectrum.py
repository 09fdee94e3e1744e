"""The discrete Fourier transform beside numpy's in float64, in one step and in two."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from attnc.passes.graph.lower.spectrum import radix


def transform(shape: tuple[int, ...], axis: int, length: int | None = None, **attributes: int) -> ModelProto:
    """x, with a last axis of 1 or 2, transformed along one axis."""
    constants = [numpy_helper.from_array(np.array(axis), "axis")]
    if length is not None:
        constants.append(numpy_helper.from_array(np.array(length), "length"))
    node = helper.make_node("DFT", ["x", "" if length is None else "length", "axis"], ["y"], **attributes)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        "g",
        [value("x", TensorProto.FLOAT, shape)],
        [value("y", TensorProto.FLOAT, [None] * len(shape))],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(
    ("shape", "axis", "options"),
    [
        ((2, 9, 6), 2, {}),
        ((2, 9, 6), 1, {}),
        ((9, 6, 2), -4, {}),
        ((2, 12), -2, {}),
        ((2, 12), 1, {"length": 9}),
        ((2, 12), 1, {"length": 15}),
        ((2, 1024), 1, {}),
        ((128, 3), 0, {}),
        ((2, 1080), 1, {}),
        ((1, 1024, 3), 1, {}),
    ],
)
def test_transforms_are_those_of_numpy(
    lower: Callable[..., Any], shape: tuple[int, ...], axis: int, options: dict[str, int], parts: int
) -> None:
    values = np.random.default_rng(1).normal(size=(*shape, parts)).astype(np.float32)
    [found] = lower(transform((*shape, parts), axis, **options)).run({"x": values})
    signal = values[..., 0].astype(np.float64) + (1j * values[..., 1] if parts == 2 else 0)
    numpy_axis = axis % (len(shape) + 1)
    wanted = np.fft.fft(signal, options.get("length"), axis=numpy_axis)
    both = np.stack([wanted.real, wanted.imag], -1)
    np.testing.assert_allclose(found, both, rtol=0, atol=2e-6 * np.abs(both).max())


def test_one_side_of_a_real_signal(lower: Callable[..., Any]) -> None:
    values = np.random.default_rng(1).normal(size=(2, 11, 1)).astype(np.float32)
    [found] = lower(transform((2, 11, 1), 1, onesided=1)).run({"x": values})
    wanted = np.fft.rfft(values[..., 0].astype(np.float64))
    np.testing.assert_allclose(found, np.stack([wanted.real, wanted.imag], -1), atol=1e-5)


@pytest.mark.parametrize(("length", "factor"), [(1024, 32), (4096, 64), (97, 1), (16, 1), (768, 1), (512, 1)])
def test_long_axes_are_cut_in_two_where_that_takes_far_fewer_multiplications(length: int, factor: int) -> None:
    assert radix(length) == factor
