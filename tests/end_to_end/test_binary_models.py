"""The binarized digits Transformer of the examples, in both spellings: its products are those of bits, and exact."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import attnc
from attnc.compiler.recipe import Recipe

EXAMPLES = Path(__file__).parents[2] / "examples"
LAYERS = 4
PRODUCTS = LAYERS * (4 + 2 + 2)
"""Of each layer: four projections, two products of attention, two of the feed-forward pair."""


@pytest.fixture(scope="module")
def data():
    return dict(np.load(EXAMPLES / "digits_vit" / "images.npz"))


@pytest.fixture(scope="module")
def expected(data):
    """Logits of ONNX Runtime on the plain spelling; it has no QONNX operators."""
    session = onnxruntime.InferenceSession(EXAMPLES / "digits_bivit" / "model_plain.onnx")
    return np.concatenate([session.run(None, {"image": image[None]})[0] for image in data["image"]])


def test_folds_that_reassociate_floats_give_the_same_answers(data, expected):
    recipe = Recipe.of({"few_bits": {"norm_thresholds": True, "softmax_thresholds": True}})
    program = attnc.compile(EXAMPLES / "digits_bivit" / "model_plain.onnx", recipe=recipe).program
    assert program is not None
    logits = attnc.Session(program).run({"image": data["image"]}).outputs["logits"]
    np.testing.assert_array_equal(logits.argmax(-1), expected.argmax(-1))


@pytest.mark.parametrize("spelling", ["plain", "qonnx"])
def test_both_spellings_give_the_reference_answers_from_products_of_bits(spelling, data, expected):
    program = attnc.compile(EXAMPLES / "digits_bivit" / f"model_{spelling}.onnx").program
    assert program is not None
    assert not program.unlowered
    session = attnc.Session(program)
    result = session.run({"image": data["image"]})
    np.testing.assert_allclose(result.outputs["logits"], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(result.outputs["logits"].argmax(-1), expected.argmax(-1))
    modes = [node.mode for node in result.report.nodes if node.macs]
    assert modes.count("binary") == PRODUCTS
    checked = attnc.check(EXAMPLES / "digits_bivit" / f"model_{spelling}.onnx")
    # An attention is one layer of two products.
    assert [layer.modes for layer in checked.layers].count(("binary",)) == PRODUCTS - LAYERS
    # Patches and classifier.
    assert modes.count("f32") == 2
    assert attnc.evaluate(session, data).correct == 329
