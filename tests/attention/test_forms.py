"""Forms: their definitions against loops over pairs, their spelling, and what is refused."""

import numpy as np
import pytest

from attnc.dialects.forms.form import Tokens
from attnc.dialects.forms.registry import Union, registered_forms
from attnc.isa.errors import UsageError

DEFINITIONS = {
    "dense": lambda p, j: True,
    "causal": lambda p, j: j <= p,
    "window:3": lambda p, j: abs(j - p) <= 3,
    "window:4,after=1": lambda p, j: -4 <= j - p <= 1,
    "window:2,after=3,dilation=3": lambda p, j: j - p in (-6, -3, 0, 3, 6, 9),
    "window:9,dilation=40": lambda p, j: j == p,
    "global:2": lambda p, j: j < 2 or 0 <= p < 2,
    "global:2,first=5": lambda p, j: 5 <= j < 7 or 5 <= p < 7,
    "block:4": lambda p, j: p // 4 == j // 4,
    "block:3,neighbours=1": lambda p, j: abs(p // 3 - j // 3) <= 1,
    "window:2,global:1": lambda p, j: abs(j - p) <= 2 or j == 0 or p == 0,
}


@pytest.mark.parametrize("text", DEFINITIONS)
@pytest.mark.parametrize(("queries", "keys"), [(17, 17), (1, 7), (5, 17), (17, 8)])
def test_patterns_are_what_they_say(text, queries, keys):
    seen = Union.parse(text).runs(Tokens(0, queries, keys)).mask()
    told = [[DEFINITIONS[text](i + keys - queries, j) for j in range(keys)] for i in range(queries)]
    np.testing.assert_array_equal(seen, told)


def test_random_blocks_are_drawn_for_each_head_and_block_and_stay_the_same():
    def drawn(seed, head, keys=64):
        return Union.parse(f"random:3,size=8,seed={seed}").runs(Tokens(head, keys, keys)).mask()

    blocks = drawn(1, 0).reshape(8, 8, 8, 8)
    assert (blocks.all(axis=(1, 3)) | ~blocks.any(axis=(1, 3))).all()
    assert (drawn(1, 0).sum(axis=1) == 24).all()
    assert not (drawn(1, 0) == drawn(1, 1)).all()
    assert not (drawn(1, 0) == drawn(2, 0)).all()
    first = [(np.flatnonzero(row)[::8] // 8).tolist() for row in drawn(1, 0)[:32:8]]
    assert first == [[2, 4, 7], [1, 4, 6], [0, 2, 3], [3, 4, 7]]


def test_a_bitmap_is_itself():
    bits = np.random.default_rng(0).random((5, 7)) < 0.5
    np.testing.assert_array_equal(Union.parse("bitmap").runs(Tokens(0, 5, 7, bits)).mask(), bits)
    united = Union.parse("bitmap,window:0").runs(Tokens(0, 5, 7, bits)).mask()
    np.testing.assert_array_equal(united, bits | np.eye(5, 7, 2, dtype=np.bool_))


def by_information(mean, theta, always):
    """ViTCoD's pruning as a loop over rows and their entries."""
    kept = np.zeros(mean.shape, np.bool_)
    for i, row in enumerate(mean.astype(np.float64)):
        total = 0.0
        for j in sorted(range(len(row)), key=lambda j: -row[j]):
            if total >= theta * row.sum():
                break
            kept[i, j] = True
            total += row[j]
    kept[:always], kept[:, :always] = True, True
    return kept


@pytest.mark.parametrize("always", [0, 1, 2])
@pytest.mark.parametrize("shape", [(17, 17), (1, 1), (5, 17)])
def test_vitcod_keeps_the_largest_entries_up_to_their_sum(shape, always):
    mean = np.random.default_rng(4).dirichlet(np.full(shape[1], 0.3), shape[0])
    (form,) = Union.parse(f"vitcod:0.7,always={always}").calibrated
    np.testing.assert_array_equal(form.masks([mean])[0], by_information(mean, 0.7, always))
    (whole,) = Union.parse("vitcod:1").calibrated
    assert whole.masks([mean + 1e-9])[0].all()


def test_vitcod_reaches_a_sparsity_with_one_theta_for_all_heads():
    rng = np.random.default_rng(5)
    maps = [rng.dirichlet(np.full(40, sharpness), 40) for sharpness in (0.05, 0.3, 5)]
    (form,) = Union.parse("vitcod:sparsity=0.8").calibrated
    masks = form.masks(maps)
    assert 0.8 <= 1 - np.mean(masks) < 0.82
    assert masks[0].sum() < masks[1].sum() < masks[2].sum()
    (more,) = Union.parse("vitcod:sparsity=0.99").calibrated
    with pytest.raises(UsageError, match=r"no more than 9[0-9.]+% of the pairs can be removed"):
        more.masks(maps)


@pytest.mark.parametrize(
    "text",
    [
        *DEFINITIONS,
        "vitcod:theta=0.5",
        "vitcod:sparsity=0.9,always=0",
        "random:3,size=8,seed=1",
        "bitmap",
        "window:64,dilation=2,global:1",
    ],
)
def test_spellings_are_read_back(text):
    assert str(Union.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("wimdow:3", "there is no attention form 'wimdow'"),
        ("", "there is no attention form ''"),
        ("window", "attention form 'window' lacks 'before'"),
        ("window:a", "'before' of attention form 'window' is a whole number, not 'a'"),
        ("window:1,reach=3", "attention form 'window' has no parameter 'reach'"),
        ("window:1,before=3", "attention form 'window' has 'before' twice"),
        ("dense:3", "attention form 'dense' has no parameter '3'"),
        ("size=3", "attention 'size=3' begins with a parameter"),
        ("window:-1", "attention form 'window:-1': a window reaches over 0 or more keys on either side"),
        ("window:1,dilation=0", "a dilation is 1 or more"),
        ("global:0", "there is at least one global token"),
        ("block:0", "a block has at least one token"),
        ("random:1,seed=-1", "a seed is 0 or more"),
        ("vitcod", "either theta or sparsity is given"),
        ("vitcod:0.5,sparsity=0.5", "either theta or sparsity is given"),
        ("vitcod:1.5", "theta and sparsity are above 0 and up to 1"),
        ("vitcod:0.5,always=-1", "0 or more first tokens are always seen"),
    ],
)
def test_what_is_no_form_is_refused_with_its_reason(text, reason):
    with pytest.raises(UsageError, match=reason.replace("(", r"\(")):
        Union.parse(text)


def test_every_form_says_what_it_means():
    for label, form in registered_forms().items():
        assert form.label == label
        assert form.__doc__
