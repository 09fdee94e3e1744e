"""Slices of what was joined or multiplied: only what is read is made."""

import numpy as np
import pytest
from xdsl.dialects.builtin import f32

from attnc.dialects import nn
from attnc.dialects.elements import shape_of, tensor


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("lead", [(6,), (2, 3)])
def test_a_product_by_a_constant_makes_the_columns_that_are_read(graph, same_values, lead, transposed):
    made = graph(tensor(f32, 6, 4))
    [x] = made.inputs
    weight = made.constant(np.arange(32).reshape(8, 4) if transposed else np.arange(32).reshape(4, 8))
    value = made.add(nn.MatmulOp(x, weight, transposed))
    if len(lead) > 1:
        value = made.add(nn.ReshapeOp(value, (*lead, 8)))
    made.done(made.add(nn.SliceOp(value, [*[0] * len(lead), 2], (*lead, 3))))
    operations = same_values(made)
    [product] = [op for op in operations if isinstance(op, nn.MatmulOp)]
    assert shape_of(product.result) == (6, 3)
    assert not [op for op in operations if isinstance(op, nn.SliceOp)]


@pytest.mark.parametrize(("start", "size", "step", "part"), [(1, 2, 1, 0), (4, 2, 1, 1), (5, 2, -1, 1)])
def test_a_slice_within_one_part_of_a_join_is_one_of_that_part(graph, same_values, start, size, step, part):
    made = graph(tensor(f32, 2, 4), tensor(f32, 2, 3))
    joined = made.add(nn.ConcatOp(made.inputs, 1))
    made.done(made.add(nn.SliceOp(joined, [0, start], (2, size), [1, step])))
    [cut] = same_values(made)
    assert isinstance(cut, nn.SliceOp)
    assert cut.input is made.inputs[part]
