"""How accesses walk along counted elements, against the elements that they touch."""

from itertools import product

import numpy as np
import pytest

from attnc.dialects.affine_form import Access, AffineForm, Minimum
from attnc.passes.refusal import RefusalError
from attnc.passes.tile.counted_axes import period_of, walk


def cut(extent, size, depth):
    """A tile of an axis, the last one cut short."""
    return Minimum((AffineForm.of(size), AffineForm.of(extent) - AffineForm.index(depth) * size))


@pytest.mark.parametrize(
    ("access", "shape", "axis", "trips"),
    [
        (Access.of(0, (12, 64), (64, 1)), (12, 64), 0, ()),
        (Access.of(0, (768,), (1,)), (12, 64), 0, ()),
        (Access.of(AffineForm((320, 16)), (cut(12, 5, 0), 16), (64, 1)), (12, 64), 0, (3, 4)),
        (Access.of(AffineForm((192,)), (192,), (1,)), (12, 64), 0, (4,)),
        (Access.of(AffineForm((768, 256)), (4, 64), (64, 1)), (3, 12, 64), 1, (3, 3)),
        (Access.of(AffineForm((5,)), (7, cut(12, 5, 0)), (12, 1)), (7, 12), 1, (3,)),
        (Access.of(AffineForm((64,), 12), (1, 4), (9, 16)), (12, 64), 0, (12,)),
        (Access.of(64, (1, 16), (64, 1)), (12, 64), 0, ()),
        (Access.of(96, (32,), (1,)), (12, 64), 0, ()),
    ],
)
def test_a_walk_touches_the_places_that_it_says(access, shape, axis, trips):
    stride = int(np.prod(shape[axis + 1 :], dtype=int))
    period = period_of(stride, shape)
    assert period == shape[axis]
    walked = walk(access, stride, period, trips)
    for indices in product(*map(range, trips)):
        sizes = [size.evaluate(indices) for size in access.sizes]
        start = walked.start.evaluate(indices)
        for at in product(*map(range, sizes)):
            element = access.offset.evaluate(indices) + int(np.dot(at, access.strides))
            moved = 0 if walked.axis is None else at[walked.axis] // walked.factor
            place = element // stride % period
            assert place == start + moved
            assert walked.low <= place < walked.high


@pytest.mark.parametrize(
    "access",
    [
        Access.of(32, (64,), (1,)),
        Access.of(0, (6, 64), (128, 1)),
        Access.of(AffineForm((65,)), (64,), (1,)),
        Access.of(0, (13, 64), (64, 1)),
    ],
)
def test_what_cannot_be_told_is_refused(access):
    with pytest.raises(RefusalError):
        walk(access, 64, 12, (2,))
