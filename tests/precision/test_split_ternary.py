"""Ternary matrices as two planes of bits: equal in integers, whatever the shape and the other operand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import i8

import attnc
from attnc.compiler.recipe import Recipe
from attnc.dialects import nn
from attnc.isa.machine import load_machine
from attnc.passes.precision.split_ternary import SplitTernary, bipolar_planes, weights_of

from .conftest import Quantized, products
from .test_recognize_levels import RANDOM, model

LEFT = {
    "bipolar": [-1, 1],
    "unipolar": [0, 1],
    "ternary": [-1, 0, 1],
    "uint2": [0, 3],
    "int4": [-8, 7],
    "int8": [-128, 127],
}
SHAPES = st.tuples(
    st.integers(1, 9), st.one_of(st.integers(1, 40), st.sampled_from([63, 64, 65, 127, 128])), st.integers(1, 9)
)


def drawn(seed: int, levels: list[int], *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).choice(levels, shape).astype(np.int8)


def split(lhs: np.ndarray, rhs: np.ndarray, form: str, transposed: bool = False, is_constant: bool = True) -> Quantized:
    """A product of bytes, split."""
    made = Quantized(lhs) if is_constant else Quantized(lhs, rhs.astype(np.float32))
    if is_constant:
        right = made.typed(rhs)
    else:
        right = made.add(nn.CastOp(made.map("min", made.map("max", made.map("rint", made.inputs[1]), -1.0), 1.0), i8))
    made.done(made.add(nn.MatmulOp(made.inputs[0], right, transposed)))
    made.left = made.apply(SplitTernary(form))
    return made


@given(
    SHAPES,
    st.sampled_from(sorted(LEFT)),
    st.sampled_from(["bipolar", "unipolar"]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_two_products_of_planes_are_the_product(
    shape: tuple[int, int, int], left: str, form: str, transposed: bool, is_constant: bool, seed: int
) -> None:
    rows, depth, columns = shape
    lhs, rhs = drawn(seed, LEFT[left], rows, depth), drawn(seed + 1, [-1, 0, 1], depth, columns)
    rhs.flat[: min(2, rhs.size)] = [0, -1][: rhs.size]
    made = split(lhs, np.ascontiguousarray(rhs.T) if transposed else rhs, form, transposed, is_constant)
    np.testing.assert_array_equal(made.result(), lhs.astype(int) @ rhs.astype(int))
    assert len(products(made.left)) == (1 if is_constant and rhs.size == 1 else 2)


@given(st.integers(0, 60), st.integers(1, 60), st.integers(0, 99))
def test_two_magnitudes_are_weighted_planes(inner: int, more: int, seed: int) -> None:
    outer = inner + more
    array = drawn(seed, [-outer, -inner, inner, outer], 5, 7)
    first, second = (plane.astype(int) for plane in bipolar_planes(array, outer))
    weights = weights_of(outer, inner)
    assert {*np.unique(first), *np.unique(second)} <= {-1, 1}
    np.testing.assert_array_equal((weights.first * first + weights.second * second) >> weights.shift, array)


@pytest.mark.parametrize("levels", [[-3, -1, 1, 3], [-2, -1, 1, 2], [-5, 0, 5]])
def test_a_product_by_two_magnitudes_is_split_with_weights(levels: list[int]) -> None:
    lhs, rhs = drawn(0, [-1, 1], 4, 33), drawn(1, levels, 33, 6)
    made = split(lhs, rhs, "bipolar")
    assert len(products(made.left)) == 2
    np.testing.assert_array_equal(made.result(), lhs.astype(int) @ rhs)
    np.testing.assert_array_equal(made.simulated(), made.result())


@pytest.mark.parametrize("levels", [[-1, 1], [-8, 3, 7], [-2, -1, 0, 1], [3]])
def test_other_matrices_are_left_alone(levels: list[int]) -> None:
    for form in ("bipolar", "unipolar"):
        assert len(products(split(drawn(0, [-1, 1], 4, 33), drawn(1, levels, 33, 6), form).left)) == 1


@pytest.mark.parametrize(
    ("machine", "form", "count"),
    [("edge", "auto", 1), ("bat", "auto", 2), ("bat", "whole", 1), ("edge", "unipolar", 2)],
)
def test_a_ternary_model_runs_on_a_machine_without_ternary_products(machine: str, form: str, count: int) -> None:
    program = attnc.compile(
        model("where", "ternary"), machine=machine, recipe=Recipe.of({"few_bits": {"ternary": form}})
    ).program
    assert program is not None
    assert ("ternary" in load_machine(machine).matrix.rates) == (machine == "edge")
    x = RANDOM.normal(size=(5, 24)).astype(np.float32)
    result = attnc.Session(program).run({"x": x}, check=True)
    whole = attnc.Session(attnc.compile(model("where", "ternary")).program).run({"x": x})
    np.testing.assert_array_equal(result.outputs["y"], whole.outputs["y"])
    macs = [node.macs for node in result.report.nodes if node.macs]
    assert sum(macs) == count * 5 * 24 * 40
