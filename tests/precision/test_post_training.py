"""Formats of few bits without training: levels and factors are those of the papers, products are of integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from xdsl.ir import Block

import attnc
from attnc.compiler.recipe import Recipe
from attnc.dialects import nn
from attnc.dialects.context import CompilerContext
from attnc.passes.builder import Builder
from attnc.passes.precision.post_training import FORMATS
from attnc.passes.precisions import UNTRAINED
from attnc.runtime.summary import summary_text

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits_vit"
WEIGHT = np.random.default_rng(0).normal(size=(24, 5)).astype(np.float32)


def weights(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Levels and factors, one a column, of WEIGHT."""

    store = CompilerContext().store
    build = Builder.at_end(Block(), store)
    made = FORMATS[name].weights.of_constant(build, store.anonymous(WEIGHT), 0)
    constants = [value.owner for value in made]
    assert all(isinstance(constant, nn.ConstantOp) for constant in constants)
    levels, factor = (store.array(constant.data) for constant in constants)
    return levels, factor


def test_names_are_those_of_recipes() -> None:
    assert set(FORMATS) == set(UNTRAINED)


def test_binary_weights_are_signs_times_the_mean_magnitude() -> None:
    levels, factor = weights("w1a1")
    np.testing.assert_array_equal(levels, np.where(WEIGHT >= 0, 1, -1))
    np.testing.assert_allclose(factor, np.abs(WEIGHT).mean(0, keepdims=True), rtol=1e-6)


def test_ternary_weights_are_those_of_ternary_weight_networks() -> None:
    levels, factor = weights("ternary")
    size = np.abs(WEIGHT)
    above = size > 0.7 * size.mean(0)
    np.testing.assert_array_equal(levels, np.sign(WEIGHT) * above)
    np.testing.assert_allclose(factor[0], [size[a, c].mean() for c, a in enumerate(above.T)], rtol=1e-6)


def test_few_levels_are_clamped_steps() -> None:
    for name, low, high, step in (
        ("int4", -7, 7, np.abs(WEIGHT).max(0) / 7),
        ("int2", -2, 1, 2 * np.abs(WEIGHT).mean(0)),
    ):
        levels, factor = weights(name)
        np.testing.assert_allclose(factor[0], step, rtol=1e-6)
        np.testing.assert_array_equal(levels, np.clip(np.rint(WEIGHT / factor), low, high))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("calibrated", [False, True])
def test_every_product_is_of_integers_and_the_answer_is_said_to_be_untrained(name: str, calibrated: bool) -> None:
    data = dict(np.load(EXAMPLE / "images.npz"))
    samples = {"image": data["image"][:4]} if calibrated else None
    program = attnc.compile(EXAMPLE / "model.onnx", precision=name, calibrate=samples).program
    assert program is not None
    assert program.untrained == (name,)
    assert f"{name} without training: accuracy unknown" in program.describe()
    result = attnc.Session(program).run({"image": data["image"][:1]}, check=True)
    assert not {node.mode for node in result.report.nodes if node.macs} & {"f32", "bf16", "f16"}
    assert np.isfinite(result.outputs["logits"]).all()
    assert f"{name} without training: accuracy unknown" in summary_text(result.report)


def test_single_layers_take_formats_of_their_own() -> None:
    recipe = Recipe.of({"layer": [{"match": "*ffn*", "precision": "w1a4"}]})
    assert recipe.untrained == ("w1a4",)
    program = attnc.compile(EXAMPLE / "model.onnx", recipe=recipe).program
    assert program is not None
    assert program.untrained == ("w1a4",)
