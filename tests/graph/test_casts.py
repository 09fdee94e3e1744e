from itertools import product

import numpy as np
import pytest
from xdsl.dialects.builtin import bf16, f16, f32, i1, i8, i32

from attnc.dialects import nn
from attnc.dialects.elements import dtype_of, tensor, ui8

ELEMENTS = (i1, i8, ui8, i32, f16, bf16, f32)


@pytest.mark.parametrize(("source", "between", "target"), list(product(ELEMENTS, repeat=3)))
def test_chains_of_conversions_keep_their_values(graph, same_values, source, between, target):
    made = graph(tensor(source, 9))
    made.done(made.add(nn.CastOp(made.add(nn.CastOp(made.inputs[0], between)), target)))
    numbers = np.array([-200.5, -128, -5, -0.5, 0, 1, 127, 200, 65000], np.float64)
    if source not in (f16, bf16, f32):
        numbers = np.clip(np.trunc(numbers), *{i1: (0, 1), i8: (-128, 127), ui8: (0, 255)}.get(source, (-1e6, 1e6)))
    same_values(made, [numbers.astype(dtype_of(source))], tolerance=0.0)


def test_narrow_weights_of_products_stay_narrow(graph, same_values):
    made = graph(tensor(f16, 4, 8))
    weight = made.constant(np.random.default_rng(0).random((8, 8)), np.float16)
    wide = made.add(nn.MatmulOp(made.add(nn.CastOp(made.inputs[0], f32)), made.add(nn.CastOp(weight, f32))))
    made.done(made.add(nn.CastOp(wide, f16)))
    (matmul,) = same_values(made, tolerance=1e-3)
    assert {operand.type.get_element_type() for operand in matmul.operands} == {f16}
    assert matmul.results[0].type.get_element_type() == f16
