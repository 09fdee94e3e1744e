"""Products of packed operands: every pairing, depths that fill no byte, one row, one column, K in pieces."""

import numpy as np
import pytest
from xdsl.dialects.builtin import i8

from attnc.dialects import bnn, nn
from attnc.dialects.bnn_types import bipolar, int2, int4, ternary, uint2, uint4, unipolar
from attnc.dialects.constants import RefAttr
from attnc.dialects.elements import range_of, tensor

SHAPES = [(1, 1, 2), (1, 40, 17), (33, 1, 7), (17, 65, 129), (5, 20, 700)]
RIGHTS = [bipolar, unipolar, ternary, int2, int4, uint4]
LEFTS = [bipolar, unipolar, ternary, uint2, int4, i8]


def drawn(element, *shape):
    low, high = (-128, 127) if element == i8 else range_of(element)
    values = np.random.default_rng(sum(shape)).integers(low, high + 1, shape).astype(np.int8)
    return np.where(values == 0, 1, values).astype(np.int8) if element == bipolar else values


def packed(value, element):
    return value if element == i8 else bnn.PackOp(value, element).result


@pytest.mark.parametrize("right", RIGHTS, ids=str)
@pytest.mark.parametrize("left", LEFTS, ids=str)
def test_every_pairing_of_computed_operands(tiling, left, right):
    for m, n, k in SHAPES[1:4]:
        module = tiling.module(
            [(i8, (m, k)), (i8, (n, k))],
            lambda a, b: [bnn.MatmulOp(packed(a, left), packed(b, right)).result],
        )
        tiling.check(module, [drawn(left, m, k), drawn(right, n, k)])


@pytest.mark.parametrize("element", [bipolar, ternary, int4], ids=str)
@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_a_constant_and_bits_on_the_way_out(tiling, element, m, n, k):
    context = tiling.context()
    context.store.add("w", drawn(element, n, k))

    def body(a):
        weight = nn.ConstantOp(RefAttr("w"), tensor(element, n, k)).result
        sums = bnn.MatmulOp(packed(a, bipolar), weight).result
        zero = nn.ConstantOp(np.asarray(0, np.int32)).result
        return [bnn.UnpackOp(bnn.BinarizeOp(sums, zero).result, i8).result]

    module = tiling.module([(i8, (m, k))], body)
    tiling.check(module, [drawn(bipolar, m, k)], context=context)


def test_heads_of_whole_bytes_are_views_and_a_small_memory_cuts_k(tiling):
    def body(q, k):
        heads = [
            nn.TransposeOp(nn.ReshapeOp(packed(x, bipolar), (1, 12, 4, 16)).result, (0, 2, 1, 3)).result for x in (q, k)
        ]
        return [bnn.MatmulOp(*heads).result]

    module = tiling.module([(i8, (1, 12, 64)), (i8, (1, 12, 64))], body)
    tiling.check(module, [drawn(bipolar, 1, 12, 64), drawn(bipolar, 1, 12, 64)[:, ::-1].copy()])
    wide = tiling.module(
        [(i8, (48, 9000)), (i8, (70, 9000))],
        lambda a, b: [bnn.MatmulOp(packed(a, unipolar), packed(b, bipolar)).result],
    )
    tiling.check(wide, [drawn(unipolar, 48, 9000), drawn(bipolar, 70, 9000)], sram_bytes=40000)
