"""SpAtten's parts in whole programs: cascades of tokens and heads, local values, progressive quantization."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attnc
from attnc.compiler.recipe import Recipe
from attnc.dialects.interpret import function
from attnc.isa.errors import UsageError

from .against_runtime import difference
from .model_builder import Builder
from .test_attention_forms import attention
from .test_pruning_forms import core

MODELS = Path(__file__).parents[1] / "models"
DIGITS = Path(__file__).parents[2] / "examples" / "digits_vit"


def run(b: Builder, form: str | None, machine: str = "edge", **more: Any) -> attnc.Result:
    """A run in int8 of a form, races and memory checked."""
    made = attnc.compile(b.model(), attention=form, precision="int8", machine=machine, **more)
    assert made.program is not None
    return attnc.Session(made.program).run(b.feed, check=True)


def output(result: attnc.Result) -> np.ndarray:
    """The only output."""
    return next(iter(result.outputs.values()))


@pytest.mark.parametrize("form", ["progressive:0", "progressive:0.1,bits=2", "progressive:0.2", "progressive:1"])
def test_programs_have_the_values_of_the_definition(form: str) -> None:
    built = attention(45, 45, None)
    made = attnc.compile(built.model(), attention=form, precision="int8", stop_after="attention")
    expected = function.run(made.module, list(built.feed.values()), made.context.store)[0]
    assert difference(output(run(built, form)), expected, 1e-5) is None


def test_a_threshold_of_one_is_dense() -> None:
    built = attention(45, 45, None)
    assert difference(output(run(built, "progressive:1")), output(run(built, None)), 1e-5) is None


def test_low_bits_are_charged_where_they_were_fetched() -> None:
    # So little memory that the keys' bits lie in DRAM: those of two heads of 512 tokens, 64 channels, half a byte each.
    built = core(512, 64)
    spared, fetched = (run(built, f"progressive:{least}", "tiny").report.performance for least in (0, 1))
    assert spared is not None
    assert fetched is not None
    assert fetched.dram_read_bytes - spared.dram_read_bytes == 2 * 512 * 64 // 2


def test_more_rows_made_again_take_more_cycles() -> None:
    built = core(128, 64)
    cycles = [run(built, f"progressive:{least}").report.performance for least in (0, 0.3, 1)]
    assert [p.cycles for p in cycles if p] == sorted(p.cycles for p in cycles if p)


def test_floats_have_no_bits_to_fetch_first() -> None:
    with pytest.raises(UsageError, match=r"does not go with queries and keys that are not int8 \(--precision int8"):
        attnc.compile(attention(9, 9, None).model(), attention="progressive")


@pytest.mark.parametrize("machine", ["edge", "spatten"])
def test_all_parts_together_on_a_trained_model(machine: str) -> None:
    tables = {
        "precision": "int8",
        "tokens": [{"before": "encoder.2", "keep": 0.7, "by": "cascade"}],
        "heads": [{"before": "encoder.3", "keep": 0.75}],
        "attention": [
            {"match": "encoder.0.*", "form": "progressive:0.3"},
            {"match": "encoder.*.attention", "form": "values:8"},
        ],
    }
    shapes = {"image": (1, 1, 8, 8)}
    with np.load(DIGITS / "images.npz") as archive:
        images, labels = archive["image"][:24], archive["labels"][:24]
    recipe = Recipe.of(tables)
    program = attnc.compile(DIGITS / "model.onnx", recipe=recipe, machine=machine, shapes=shapes).program
    assert program is not None
    assert Recipe.of(program.recipe) == recipe
    session = attnc.Session(program)
    answers = [output(session.run({"image": image[None]})).argmax() for image in images]
    assert np.mean(np.array(answers) == labels) > 0.8
