"""What a machine cannot run is named at once, every node of it."""

from pathlib import Path

import pytest

import attnc
from attnc.isa.errors import UnsupportedError

MODEL = Path(__file__).parents[1] / "models" / "bert_dynamo.onnx"


def test_every_product_that_the_machine_has_no_mode_for_is_named():
    with pytest.raises(UnsupportedError) as refused:
        attnc.compile(MODEL, machine="bat-binary")
    blocking = refused.value.blocking
    # Two layers of four projections, one attention and two products of a feed-forward pair.
    assert len(blocking) == 14
    assert all("no f32 mode" in str(item) for item in blocking)
