"""Products of 16-bit floats and 8-bit tables: what is stored narrow, and that nothing else changes."""

import ml_dtypes
import numpy as np
import pytest
from xdsl.dialects.builtin import bf16, f16, f32, i8

from attnc.dialects import nn, sattn
from attnc.dialects.elements import element_type, ui8
from attnc.passes.precision.narrow_floats import NarrowProducts
from attnc.passes.precision.narrow_tables import NarrowTables

from .conftest import products

RANDOM = np.random.default_rng(5)
NARROW = {"bf16": (bf16, np.dtype(ml_dtypes.bfloat16)), "fp16": (f16, np.dtype(np.float16))}


def random(*shape: int) -> np.ndarray:
    return RANDOM.normal(0, 2, shape).astype(np.float32)


def rounded(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return array.astype(dtype).astype(np.float32)


@pytest.mark.parametrize("name", NARROW)
def test_products_read_rounded_operands_and_sum_in_float32(quantized, name: str) -> None:
    element, dtype = NARROW[name]
    x, w = random(4, 32), random(32, 8)
    graph = quantized(x)
    graph.done(graph.map("add", graph.matmul(graph.inputs[0], graph.typed(w)), 1.0))
    [found] = products(graph.apply(NarrowProducts(name)))
    assert element_type(found.lhs) == element_type(found.rhs) == element
    assert element_type(found.result) == f32
    wanted = rounded(x, dtype) @ rounded(w, dtype) + np.float32(1)
    np.testing.assert_allclose(graph.result(), wanted, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(graph.simulated(), wanted, rtol=1e-6, atol=1e-5)


def test_attention_reads_narrow_and_keeps_its_mask(quantized) -> None:
    mask = np.where(RANDOM.random((1, 1, 5, 5)) < 0.3, -1e9, 0).astype(np.float32)
    q, k, v = random(1, 2, 5, 8), random(1, 2, 5, 8), random(1, 2, 5, 8)
    graph = quantized(q, k, v, mask)
    graph.done(graph.add(sattn.AttentionOp(*graph.inputs, scale=0.25)))
    before = graph.result()
    [found] = products(graph.apply(NarrowProducts("bf16")))
    assert [element_type(value) for value in found.operands] == [bf16, bf16, bf16, f32]
    np.testing.assert_allclose(graph.result(), before, atol=0.1)


def test_weights_beyond_fp16_become_infinite(quantized) -> None:
    graph = quantized(np.ones((1, 1), np.float32))
    graph.done(graph.matmul(graph.inputs[0], graph.typed(np.float32([[1e6, -1e6, 1.0]]))))
    graph.apply(NarrowProducts("fp16"))
    np.testing.assert_array_equal(graph.result(), np.float32([[np.inf, -np.inf, 1]]))


def test_value_read_twice_is_rounded_once(quantized) -> None:
    x = random(4, 32)
    graph = quantized(x)
    made = graph.map("mul", graph.inputs[0], 3.0)
    first, second = (graph.matmul(made, graph.typed(random(32, 8))) for _ in range(2))
    graph.done(graph.map("add", first, second))
    found = products(graph.apply(NarrowProducts("bf16")))
    assert len({product.lhs for product in found}) == 1


TABLES = ("scalar factor", "factor a column", "factor a row", "operator", "operator a row", "zero point")


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("spelling", TABLES)
def test_table_stays_8_bit(quantized, spelling: str, dtype: type) -> None:
    limits = np.iinfo(dtype)
    table = RANDOM.integers(limits.min, limits.max, (20, 6), endpoint=True).astype(dtype)
    ids = RANDOM.integers(0, 20, (2, 5)).astype(np.int32)
    graph = quantized(ids)
    source = graph.typed(table)
    per_row = np.abs(random(20))
    if spelling == "operator":
        wide = graph.dequantize(source, graph.typed(np.float32(0.03)))
    elif spelling == "operator a row":
        zeros = RANDOM.integers(0, 9, 20).astype(dtype)
        wide = graph.dequantize(source, graph.typed(per_row), graph.typed(zeros), 0)
    elif spelling == "zero point":
        wide = graph.map("mul", graph.map("sub", graph.add(nn.CastOp(source, f32)), 7.0), 0.5)
    else:
        factor = {"scalar factor": np.float32(0.03), "factor a column": random(6), "factor a row": per_row[:, None]}
        wide = graph.map("mul", graph.add(nn.CastOp(source, f32)), graph.typed(factor[spelling]))
    graph.done(graph.add(nn.GatherRowsOp(wide, graph.inputs[0])))
    before = graph.result()
    operations = graph.apply(NarrowTables())
    gathers = [op for op in operations if isinstance(op, nn.GatherRowsOp)]
    assert [element_type(op.table) for op in gathers][:1] == [i8 if dtype == np.int8 else ui8]
    np.testing.assert_array_equal(graph.result(), before)
    np.testing.assert_array_equal(graph.simulated(), before)


def test_float_tables_are_left_alone(quantized) -> None:
    graph = quantized(np.int32([3, 1]))
    table = graph.map("mul", graph.typed(random(20, 6)), graph.typed(random(20, 6)))
    graph.done(graph.add(nn.GatherRowsOp(table, graph.inputs[0])))
    before = graph.result()
    graph.apply(NarrowTables())
    np.testing.assert_array_equal(graph.result(), before)
