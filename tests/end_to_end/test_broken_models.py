"""Broken models: one clear error of a known type, whatever is wrong with them."""

import warnings
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import attnc
from attnc.isa.errors import AttncError, CapacityError, InputError, UnsupportedError

from .model_builder import Builder
from .mutations import flipped, mutated
from .random_attention import attention_operator
from .random_layouts import layouts
from .random_quantized import dynamic, fixed_point
from .random_transformers import transformer
from .random_vision import vision

BASES: tuple[Callable[[int], Builder], ...] = (
    lambda seed: transformer(seed, 11 + seed % 13),
    lambda seed: vision(seed, 11 + seed % 13),
    lambda seed: layouts(seed, 11 + seed % 13),
    lambda seed: fixed_point(seed, 11 + seed % 13),
    lambda seed: dynamic(seed, 11 + seed % 13),
    attention_operator,
)


def compiles_or_says_why(model: onnx.ModelProto | bytes) -> None:
    """Anything but an error of attnc's own fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            session = attnc.Session(attnc.compile(model).program)
            session.run(session.random_inputs(1), mode="values", check=True)
        except AttncError:
            pass


def single(operator: str, *inputs: tuple[int, tuple[int, ...]], opset: int = 23, **attributes: object) -> bytes:
    """A model of one node whose inputs are graph inputs of given types and shapes."""
    names = [f"i{place}" for place in range(len(inputs))]
    made = [helper.make_tensor_value_info(name, *given) for name, given in zip(names, inputs, strict=True)]
    node = helper.make_node(operator, names, ["o"], name="node", **attributes)
    graph = helper.make_graph([node], "single", made, [helper.make_empty_tensor_value_info("o")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]).SerializeToString()


FLOAT, IDS = TensorProto.FLOAT, TensorProto.INT64

CASES = {
    "conv of another rank than its weight": single(
        "Conv", (FLOAT, (1, 2, 8, 8)), (FLOAT, (4, 2, 3)), kernel_shape=[3, 3]
    ),
    "attention with fewer values than keys": single(
        "Attention", (FLOAT, (1, 2, 4, 6)), (FLOAT, (1, 2, 7, 6)), (FLOAT, (1, 2, 5, 6))
    ),
    "rotary table of four axes": single(
        "RotaryEmbedding", (FLOAT, (1, 2, 4, 6)), (FLOAT, (1, 2, 4, 3)), (FLOAT, (9, 3)), (IDS, (1, 4))
    ),
    "an input beyond all addresses": single("Relu", (FLOAT, (2**40, 3))),
    "a result beyond all programs": single("MatMul", (FLOAT, (2**28, 1)), (FLOAT, (1, 2**28))),
    "a pooled input beyond all addresses": single("AveragePool", (FLOAT, (1, 1, 2**40)), kernel_shape=[2]),
}


@pytest.mark.parametrize("case", CASES)
def test_nodes_that_contradict_themselves_are_named(case: str) -> None:
    with pytest.raises((UnsupportedError, InputError), match=r"'node'|'i0'"):
        attnc.compile(CASES[case])


def test_old_form_without_its_inputs_is_an_error() -> None:
    with pytest.raises(InputError, match="'node' has 0 inputs, too few for a ReduceMean"):
        attnc.compile(single("ReduceMean", opset=13, axes=[0]))


def test_program_without_end_says_how_long_it_would_be() -> None:
    # The sum of an outer product over all of its 2**38 elements.
    b = Builder(1, 17)
    column, row = (b.input(np.zeros(shape, np.float32)) for shape in ((2**19, 1), (1, 2**19)))
    b.output(b.reduce("Sum", b("Tanh", b("Add", column, row)), [0, 1]))
    with pytest.raises(CapacityError, match=r"instructions: \d+ bytes needed, \d+ available"):
        attnc.compile(b.model(), machine="tiny")


@pytest.mark.parametrize("seed", range(60))
def test_mutated_models_compile_or_say_why_not(seed: int) -> None:
    compiles_or_says_why(mutated(BASES[seed % 6](seed).model(), seed))


@pytest.mark.parametrize("seed", range(60))
def test_damaged_files_compile_or_say_why_not(seed: int) -> None:
    compiles_or_says_why(flipped(BASES[seed % 6](seed).model(), seed))


@pytest.mark.slow
def test_many_mutated_models_compile_or_say_why_not() -> None:
    for seed in range(1000):
        compiles_or_says_why(mutated(BASES[seed % 6](seed % 90).model(), seed))
        compiles_or_says_why(flipped(BASES[seed % 6](seed % 90).model(), seed))
