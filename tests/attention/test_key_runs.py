"""Runs of keys are their bitmaps."""

from itertools import pairwise

import numpy as np
import pytest

from attnc.dialects.key_runs import KeyRuns


@pytest.mark.parametrize("seed", range(40))
def test_runs_are_what_their_bitmaps_are(seed):
    random = np.random.default_rng(seed)
    queries, keys = int(random.integers(1, 9)), int(random.integers(1, 12))
    here, there = (random.random((queries, keys)) < random.random() for _ in range(2))
    a, b = KeyRuns.of_mask(here), KeyRuns.of_mask(there)
    np.testing.assert_array_equal(a.mask(), here)
    np.testing.assert_array_equal(a.union(b).mask(), here | there)
    np.testing.assert_array_equal(a.intersection(b).mask(), here & there)
    np.testing.assert_array_equal(a.inverse().mask(), ~here)
    np.testing.assert_array_equal(a.counts, here.sum(axis=1))
    assert a.pairs == here.sum()
    assert a.is_full == here.all()
    assert (a == b) == bool((here == there).all())
    low, high = sorted(random.integers(0, queries + 1, 2).tolist())
    np.testing.assert_array_equal(a.mask(low, high), here[low:high])
    np.testing.assert_array_equal(a.part(low, high).mask(), here[low:high])
    bounds = np.unique([0, *random.integers(0, queries + 1, 2), queries])
    groups = np.array([here[start:stop].any(axis=0) for start, stop in pairwise(bounds)])
    np.testing.assert_array_equal(a.grouped(bounds).mask(), groups)


def test_runs_of_any_order_are_cut_and_joined():
    runs = KeyRuns.of(3, 10, [2, 0, 0, 0, 2], [8, 4, -3, 2, 8], [99, 6, 2, 4, 7])
    assert (runs.first.tolist(), runs.starts.tolist(), runs.stops.tolist()) == ([0, 1, 1, 2], [0, 8], [6, 10])
