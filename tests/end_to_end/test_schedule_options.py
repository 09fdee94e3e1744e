"""Every measure of the schedule can be left out, and leaves values alone."""

from dataclasses import fields, replace

import numpy as np
import pytest

import attnc
from attnc.compiler.recipe import Recipe
from attnc.passes.schedule_options import EVERYTHING, ScheduleOptions

from .conftest import case


@pytest.mark.parametrize("name", ["bert_dynamo", "vit_dynamo"])
@pytest.mark.parametrize("measure", [field.name for field in fields(ScheduleOptions)])
def test_a_measure_left_out_changes_no_value(name: str, measure: str) -> None:
    model = case(name)

    def run(schedule: ScheduleOptions) -> dict[str, np.ndarray]:
        recipe = Recipe(precision="int8", schedule=schedule)
        program = attnc.compile(model.path, shapes=model.shapes, recipe=recipe).program
        return dict(attnc.Session(program).run(model.inputs, check=True).outputs)

    everything, without = run(EVERYTHING), run(replace(EVERYTHING, **{measure: False}))
    for output, expected in everything.items():
        np.testing.assert_allclose(without[output], expected, rtol=1e-5, atol=1e-5)
