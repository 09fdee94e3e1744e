"""Random realistic models give what ONNX Runtime gives without its optimizations."""

from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest

from .against_runtime import difference, mismatches, simulated
from .model_builder import Builder
from .random_attention import attention_operator
from .random_layouts import layouts
from .random_quantized import dynamic, fixed_point, weights_only
from .random_transformers import transformer
from .random_vision import vision

MACHINES = ("edge", "tiny", "server")

Maker = Callable[[int], Builder]


def opset(seed: int) -> int:
    """Every opset from 11 to 23 in turn."""
    return 11 + seed % 13


FAMILIES: dict[str, Maker] = {
    "transformer": lambda seed: transformer(seed, opset(seed)),
    "attention operator": attention_operator,
    "half attention operator": lambda seed: attention_operator(seed, np.float16),
    "vision": lambda seed: vision(seed, opset(seed)),
    "layouts": lambda seed: layouts(seed, opset(seed)),
    "weights only": lambda seed: weights_only(seed, opset(seed)),
    "dynamic quantization": lambda seed: dynamic(seed, opset(seed)),
}


def check(make: Maker, seed: int, tolerance: float | None = None) -> None:
    assert not mismatches(make(seed), (MACHINES[seed % 3],), tolerance)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(7000, 7004))
def test_outputs_are_those_of_the_reference(family: str, seed: int) -> None:
    check(FAMILIES[family], seed)


@pytest.mark.parametrize("seed", range(7000, 7006))
def test_quantized_models_are_exact(seed: int) -> None:
    check(lambda seed: fixed_point(seed, opset(seed)), seed, tolerance=0)


@pytest.mark.parametrize("longest", [300, pytest.param(1100, marks=pytest.mark.slow)])
def test_long_rows_are_those_of_the_reference(longest: int) -> None:
    def make(seed: int) -> Builder:
        return transformer(seed, opset(seed), longest=longest)

    # Seeds whose sequence is the longest one.
    for seed in [seed for seed in range(40) if max(max(a.shape) for a in make(seed).feed.values()) == longest][:2]:
        check(make, seed)


@pytest.mark.parametrize("precision", ["int8", "bf16", "fp16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_narrow_formats_run(family: str, precision: str) -> None:
    built = FAMILIES[family](7010)
    outputs = simulated(built.model(), built.feed, precision=precision, machine="tiny")
    for value in built.outputs:
        assert outputs[value.name].shape == value.shape
        assert outputs[value.name].dtype == value.dtype


@pytest.mark.parametrize("seed", range(3))
def test_bfloat16_models_are_close_to_their_values_in_float32(seed: int) -> None:
    narrow = transformer(seed, 22, ml_dtypes.bfloat16)
    model, wide = narrow.model(), narrow.widened()
    expected = simulated(wide, {name: _wide(array) for name, array in narrow.feed.items()})
    for name, given in simulated(model, narrow.feed).items():
        assert difference(_wide(given), expected[name], 0.1) is None


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_many_outputs_are_those_of_the_reference(family: str) -> None:
    for seed in range(100):
        check(FAMILIES[family], seed)


@pytest.mark.slow
def test_many_quantized_models_are_exact() -> None:
    for seed in range(100):
        check(lambda seed: fixed_point(seed, opset(seed)), seed, tolerance=0)
