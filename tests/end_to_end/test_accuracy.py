"""The trained digits Transformer on its 360 held-out images."""

import numpy as np
import pytest

import attnc


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "least"), [("model", 357), ("bf16", 356), ("int8", 355)])
def test_held_out_digits_are_answered(digits, precision: str, least: int) -> None:
    data = np.load(digits / "images.npz")
    session = attnc.Session(attnc.compile(digits / "model.onnx", precision=precision).program)
    logits = session.run({"image": data["image"]}, mode="values").outputs["logits"]
    assert int((logits.argmax(1) == data["labels"]).sum()) >= least
