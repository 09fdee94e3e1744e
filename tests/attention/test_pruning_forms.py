"""Forms that keep scores by their values: what they keep, against loops over rows, and what is refused."""

import numpy as np
import pytest

from attnc.dialects.forms.registry import Union
from attnc.isa.errors import UsageError

RANDOM = np.random.default_rng(7)
# Distinct multiples of 1/8: sums of them are exact, and none comes near a threshold by rounding.
SCORES = np.stack([RANDOM.permutation(23) for _ in range(6)]).astype(np.float32)[None] / 8


def kept(text, scores=SCORES, predicted=None):
    (form,) = Union.parse(text).forms
    return form.kept(lambda bits: predicted[bits] if bits else scores)


def probabilities(row):
    raw = np.exp(row.astype(np.float64) - row.max())
    return raw / raw.sum()


def by_row(scores, choose):
    return np.stack([choose(row) for row in scores.reshape(-1, scores.shape[-1])]).reshape(scores.shape)


@pytest.mark.parametrize("count", [1, 5, 23, 40])
def test_topk_keeps_the_greatest_of_each_row(count):
    expected = by_row(SCORES, lambda row: row > (np.sort(row)[-count - 1] if count < 23 else -1))
    np.testing.assert_array_equal(kept(f"topk:{count}"), expected)
    np.testing.assert_array_equal(kept(f"values:{count}"), expected)


def test_of_equal_scores_topk_keeps_those_of_earlier_keys():
    np.testing.assert_array_equal(kept("topk:2", np.array([[1.0, 2.0, 2.0, 2.0]], np.float32)), [[0, 1, 1, 0]])


def test_topk_ranks_predicted_scores_where_it_has_bits():
    np.testing.assert_array_equal(kept("topk:5,bits=4", predicted={4: -SCORES}), kept("topk:5", -SCORES))


@pytest.mark.parametrize("least", [0.0, 0.01, 0.06, 0.5])
def test_threshold_keeps_greater_probabilities(least):
    expected = by_row(SCORES, lambda row: probabilities(row) > least)
    np.testing.assert_array_equal(kept(f"threshold:{least}"), expected)


def test_sanger_keeps_greater_predicted_probabilities():
    expected = by_row(SCORES, lambda row: probabilities(row) > 0.03)
    np.testing.assert_array_equal(kept("sanger:bits=3,theta=0.03", None, {3: SCORES}), expected)


@pytest.mark.parametrize(
    ("alpha", "least"),
    [
        (0, lambda row: row.mean()),
        (0.5, lambda row: (row.mean() + row.max()) / 2),
        (-0.5, lambda row: (row.mean() + row.min()) / 2),
        (-1, lambda row: row.min()),
        (1, lambda row: row.max()),
    ],
)
def test_energon_keeps_what_reaches_a_threshold_of_what_is_left(alpha, least):
    second = np.flip(SCORES, axis=-1)
    first = by_row(SCORES, lambda row: row >= least(row))
    expected = [
        shown & (row >= least(row[shown]))
        for shown, row in zip(first.reshape(-1, 23), second.reshape(-1, 23), strict=True)
    ]
    found = kept(f"energon:{alpha}", None, {2: SCORES, 4: second})
    np.testing.assert_array_equal(found.reshape(-1, 23), expected)


def test_energon_keeps_equal_scores():
    assert kept("energon", None, dict.fromkeys((2, 4), np.full((3, 7), 0.1, np.float32))).all()


def test_hidden_scores_are_kept_by_no_condition():
    hidden = np.where(np.arange(23) < 9, SCORES, np.float32(-np.inf))
    nothing = np.full((1, 4), -np.inf, np.float32)
    for text in ("threshold:0", "sanger:theta=0", "energon:-1"):
        np.testing.assert_array_equal(kept(text, hidden, dict.fromkeys((2, 4), hidden)), hidden > -np.inf)
        assert not kept(text, nothing, dict.fromkeys((2, 4), nothing)).any()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("topk:0", "at least one key of a row is kept"),
        ("values:0", "at least one value of a row is kept"),
        ("topk:2,bits=1", "scores are predicted by 2 to 8 bits"),
        ("threshold:-0.1", "a number from 0 up to 1"),
        ("threshold:1", "a number from 0 up to 1"),
        ("sanger:bits=9", "scores are predicted by 2 to 8 bits"),
        ("energon:1.5", "a threshold lies between"),
        ("energon:bits=2/4", "bits are numbers joined by"),
        ("topk:3,window:2", "goes with no other"),
    ],
)
def test_what_is_no_pruning_is_refused_with_its_reason(text, reason):
    with pytest.raises(UsageError, match=reason):
        Union.parse(text)


@pytest.mark.parametrize(
    "text",
    ["topk:8", "topk:8,bits=4", "threshold:0.01", "sanger", "values:3", "sanger:0.01,bits=8", "energon:bits=3+6"],
)
def test_spellings_are_read_back(text):
    assert Union.parse(str(Union.parse(text))) == Union.parse(text)
