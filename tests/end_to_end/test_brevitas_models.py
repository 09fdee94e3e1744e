"""A Transformer layer that Brevitas exported in each of its formats, equal to what PyTorch computed of it."""

from pathlib import Path

import numpy as np
import pytest

import attnc

FOLDER = Path(__file__).parents[1] / "models" / "brevitas"
PRODUCTS = 4 + 2 + 2
"""Projections, attention, the feed-forward pair."""


@pytest.fixture(scope="module")
def references():
    return dict(np.load(FOLDER / "references.npz"))


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.onnx")))
def test_every_product_is_of_integers_and_the_output_is_that_of_pytorch(name: str, references) -> None:
    program = attnc.compile(FOLDER / f"{name}.onnx").program
    assert program is not None
    assert not program.unlowered
    result = attnc.Session(program).run({"x": references["x"]}, check=True)
    # Floats between the products differ in their last places only: a bit that flipped would be seen.
    np.testing.assert_allclose(result.outputs["y"], references[name.split("_")[0]], rtol=1e-5, atol=1e-6)
    modes = [node.mode for node in result.report.nodes if node.macs]
    assert len(modes) == PRODUCTS
    assert not {"f32", "bf16", "f16"} & set(modes)
