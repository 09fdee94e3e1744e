"""Products that skip small values of their left operand: any shape and tiling gives what the definition gives."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import bf16, f16, f32, i8

from attnc.dialects import nn
from attnc.dialects.elements import dtype_of
from attnc.dialects.sparsity import passes, sparse
from attnc.dialects.tile import MaskedProductOp, MatrixProduct, PackOp
from attnc.passes.tile import matmul
from attnc.passes.tile.loop_order import ORDERS
from attnc.passes.tile.matmul_plan import Rest


def drawn(element, *shape):
    random = np.random.default_rng(sum(shape))
    if element == i8:
        return random.integers(-2, 3, shape).astype(np.int8)
    return random.normal(size=shape).astype(np.float32).astype(dtype_of(element))


def checked(tiling, element, m, n, k, threshold=0.5, outer=(), **options):
    def body(a, b):
        product = nn.MatmulOp(a, b)
        product.threshold = nn.real(threshold)
        return [product.result]

    module = tiling.module([(element, (*outer, m, k)), (element, (*outer, k, n))], body)
    # Results of 16 bits may be rounded to either side.
    close = {"rtol": 1e-5 if element in (i8, f32) else 1e-2, "atol": 1e-3}
    kernels = tiling.check(module, [drawn(element, *outer, m, k), drawn(element, *outer, k, n)], **close, **options)
    assert all(isinstance(op, MaskedProductOp) for op in module.walk() if isinstance(op, MatrixProduct))
    return module, kernels


@given(st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_shape_and_threshold(tiling, data):
    m, n, k = (data.draw(st.integers(1, most)) for most in (70, 80, 300))
    element = data.draw(st.sampled_from([i8, f32, bf16, f16]))
    checked(tiling, element, m, n, k, data.draw(st.sampled_from([0.0, 0.5, 100.0])) if element != i8 else 0.0)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("holds", "rest"), [({"right"}, Rest.SRAM), (set(), Rest.DRAM), ({"left"}, Rest.ACC)])
def test_every_way_to_walk_over_tiles(tiling, monkeypatch, order, holds, rest):
    monkeypatch.setattr(matmul, "search", tiling.forced(order, 20, 16, 24, strip=9, rest=rest, holds=frozenset(holds)))
    checked(tiling, f32, 45, 70, 131)


def test_edges_of_blocks_of_rows_find_what_they_skip(tiling, monkeypatch):
    monkeypatch.setattr(matmul, "search", tiling.forced("bjik", 24, 32, 64, lead=32, tail=16, block=8))
    checked(tiling, f32, 40, 112, 150)


def test_a_batch_and_a_small_memory(tiling):
    checked(tiling, f32, 9, 20, 50, outer=(3,))
    checked(tiling, f32, 48, 70, 3000, sram_bytes=40000)


def test_bits_are_counted_once_for_all_columns(tiling, monkeypatch):
    monkeypatch.setattr(matmul, "search", tiling.forced("bijk", 16, 8, 64, holds=frozenset({"left"})))
    module, (kernel,) = checked(tiling, f32, 16, 128, 64)
    packs = [op for op in module.walk() if isinstance(op, PackOp)]
    assert len(packs) == 1
    assert packs[0].parent_op() is kernel


def test_the_definition_keeps_what_is_above_the_threshold_and_nan():
    values = np.float32([0.5, -0.5, 0.50001, -3, 0, -0.0, np.nan, np.inf])
    np.testing.assert_array_equal(passes(values, 0.5), [False, False, True, True, False, False, True, True])
    np.testing.assert_array_equal(sparse(np.int8([-128, 0, 1, 127]), 0), np.int8([-128, 0, 1, 127]))
