"""Products by compressed constants: any shape, structure and tiling gives what the whole constant gives."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import StringAttr, bf16, f32, i8

from attnc.dialects import nn
from attnc.dialects.constants import RefAttr
from attnc.dialects.elements import dtype_of, tensor
from attnc.dialects.tile import MatrixProduct, StructuredProductOp
from attnc.isa.machine import load_machine
from attnc.isa.structures import Structure, compressed, least_structure, named_rows, pruned, spread
from attnc.passes.tile import matmul
from attnc.passes.tile.loop_order import ORDERS
from attnc.passes.tile.matmul_plan import Rest

STRUCTURES = [*map(Structure.parse, ["1:2", "1:4", "2:4", "1:8", "2:8", "4:8"])]
WIDE = load_machine("edge-structured")


def drawn(element, *shape):
    random = np.random.default_rng(sum(shape))
    if element == i8:
        return random.integers(-128, 128, shape).astype(np.int8)
    return random.normal(size=shape).astype(np.float32).astype(dtype_of(element))


def checked(tiling, element, m, n, k, structure, transposed=False, outer=(), sram_bytes=None):
    """Tile a product by a pruned constant and compare it with the whole product."""
    tiling = type(tiling)(WIDE)
    context = tiling.context(sram_bytes)
    weight = pruned(drawn(element, *outer, k, n), structure)
    context.store.add("w", np.ascontiguousarray(weight.swapaxes(-1, -2)) if transposed else weight)
    shape = (n, k) if transposed else (k, n)

    def body(a):
        constant = nn.ConstantOp(RefAttr("w"), tensor(element, *outer, *shape)).result
        product = nn.MatmulOp(a, constant, transposed)
        product.structure = StringAttr(str(structure))
        return [product.result]

    module = tiling.module([(element, (*outer, m, k))], body)
    close = {"rtol": 2e-2, "atol": 1e-1} if element == bf16 else {"rtol": 1e-5, "atol": 1e-3}
    kernels = tiling.check(module, [drawn(element, *outer, m, k)], context=context, **close)
    assert all(isinstance(op, StructuredProductOp) for op in module.walk() if isinstance(op, MatrixProduct))
    return kernels


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_shape_and_structure(tiling, data):
    structure = data.draw(st.sampled_from(STRUCTURES))
    m, n, k = (data.draw(st.integers(1, most)) for most in (70, 80, 300))
    element = data.draw(st.sampled_from([i8, f32, bf16]))
    checked(tiling, element, m, n, k, structure, transposed=data.draw(st.booleans()))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("holds", "rest"), [({"right"}, Rest.SRAM), (set(), Rest.DRAM), ({"left"}, Rest.ACC)])
def test_every_way_to_walk_over_tiles(tiling, monkeypatch, order, holds, rest):
    monkeypatch.setattr(matmul, "search", tiling.forced(order, 20, 16, 24, strip=9, rest=rest, holds=frozenset(holds)))
    checked(tiling, i8, 45, 70, 131, Structure(2, 4))


def test_edges_of_blocks_of_rows_bring_their_indices_along(tiling, monkeypatch):
    plan = tiling.forced("bjik", 24, 32, 64, lead=32, tail=16, block=8)
    monkeypatch.setattr(matmul, "search", plan)
    checked(tiling, i8, 40, 112, 150, Structure(1, 8))


def test_a_batch_has_a_weight_each_and_a_small_memory_cuts_depth(tiling):
    checked(tiling, f32, 9, 20, 50, Structure(2, 4), outer=(3,))
    checked(tiling, i8, 48, 70, 9000, Structure(4, 8), sram_bytes=40000)


def test_the_plan_says_so(tiling):
    (kernel,) = checked(tiling, i8, 32, 64, 64, Structure(2, 4))
    assert kernel.plan.data["structure"].data == "2:4"


def test_a_weight_that_is_not_what_it_is_said_to_be_is_an_error(tiling):
    with pytest.raises(ValueError, match="a group has more than 1 values of 4"):
        compressed(np.ones((8, 2), np.int8), Structure(1, 4))


@given(st.data())
def test_compressing_loses_nothing_and_finds_no_more_than_there_is(data):
    structure = data.draw(st.sampled_from([*STRUCTURES, Structure(3, 4), Structure(5, 16)]))
    k, n = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 6))
    weight = pruned(drawn(i8, k, n), structure)
    values, places = compressed(weight, structure)
    assert values.shape == places.shape == (structure.rows(k), n)
    whole = np.zeros((structure.rows(k) // structure.kept * structure.group, n), np.int8)
    spread(values, named_rows(places, structure.kept, structure.group), structure.kept, whole)
    np.testing.assert_array_equal(whole[:k], weight)
    found = least_structure(weight, [*STRUCTURES, structure])
    assert found is not None
    assert found.rows(k) <= structure.rows(k)


def test_the_greatest_magnitudes_stay():
    weight = np.float32([[1], [-3], [2], [2], [5], [np.nan], [-5], [0], [7]])
    wanted = np.float32([[0], [-3], [2], [0], [5], [np.nan], [0], [0], [7]])
    np.testing.assert_array_equal(pruned(weight, Structure(2, 4)), wanted)
