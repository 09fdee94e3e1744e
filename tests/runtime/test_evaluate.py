"""Accuracy over labelled sets: LINEAR's answers are known, so labels can be made right and wrong."""

import numpy as np
import pytest

from attnc.isa.errors import InputError, UsageError
from attnc.runtime.evaluate import evaluate
from attnc.runtime.session import Session

from .conftest import WEIGHT


@pytest.fixture
def samples():
    return np.random.default_rng(0).integers(-128, 128, (70, 64)).astype(np.int8)


def answers(samples):
    return (samples.astype(np.int64) @ WEIGHT.astype(np.int64)).argmax(-1)


def test_every_sample_is_answered_in_order_and_the_last_run_may_be_short(linear, samples):
    labels = answers(samples)
    labels[[3, 69]] += 1
    found = evaluate(Session(linear), {"x": samples, "labels": labels})
    # A run takes 32 samples: three runs, the last of 6.
    assert (found.samples, found.labels, found.correct, found.samples_each) == (70, 70, 68, 32)
    assert found.accuracy == 68 / 70
    np.testing.assert_array_equal(found.predictions, answers(samples))
    assert found.report.performance.cycles == Session(linear).run(mode="timing").report.performance.cycles


def test_a_sample_may_have_a_label_for_each_position(linear, samples):
    grouped = samples[:64].reshape(2, 32, 64)
    found = evaluate(Session(linear), {"x": grouped, "y": answers(grouped)}, labels="y", output="y")
    assert (found.samples, found.labels, found.correct, found.samples_each) == (2, 64, 64, 1)


def test_progress_wraps_the_runs(linear, samples):
    seen = []
    evaluate(
        Session(linear),
        {"x": samples, "labels": answers(samples)},
        progress=lambda runs: [seen.append(start) or start for start in runs],
    )
    assert seen == [0, 32, 64]


@pytest.mark.parametrize(
    ("data", "options", "error", "reason"),
    [
        ({"labels": [1, 2]}, {}, InputError, "'x' missing"),
        ({"x": np.zeros((2, 64), np.int8)}, {}, UsageError, "which array holds the labels"),
        ({"x": np.zeros((2, 64), np.int8), "a": [1, 1], "b": [1, 1]}, {}, UsageError, "'a', 'b'"),
        ({"x": np.zeros((2, 64), np.int8), "a": [1, 1]}, {"labels": "z"}, UsageError, "no array 'z'"),
        ({"x": np.zeros((2, 64), np.int8), "a": [1.0, 1.0]}, {}, InputError, "give integers"),
        ({"x": np.zeros((3, 64), np.int8), "a": [1, 1]}, {}, InputError, "labels are of 2 samples"),
        ({"x": np.zeros((2, 63), np.int8), "a": [1, 1]}, {}, InputError, "does not fit"),
        ({"x": np.zeros((2, 64), np.int8), "a": [1, 1]}, {"output": "z"}, UsageError, "no output 'z'"),
        ({"x": np.zeros((2, 32, 64), np.int8), "a": np.zeros((2, 40), int)}, {}, InputError, "labels want 40"),
    ],
)
def test_data_that_do_not_fit_are_refused(linear, data, options, error, reason):
    with pytest.raises(error, match=reason):
        evaluate(Session(linear), {name: np.asarray(array) for name, array in data.items()}, **options)
