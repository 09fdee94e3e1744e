"""Tile choice: the records' costs decide, memories are limits, and what is chosen is near the array's bound."""

import numpy as np
import pytest

from attnc.isa.errors import CapacityError
from attnc.isa.fields import ACC_BIT
from attnc.isa.instructions import LoadBlock, Product, VectorPass
from attnc.isa.machine import load_machine
from attnc.isa.matrix import MatrixMode
from attnc.passes.tile.attention_search import AttentionProblem, Matrix, Passes, ScoreForm, search_attention
from attnc.passes.tile.matmul_search import Epilogue, MatmulProblem, Operand, Order, search
from attnc.passes.tile.rates import Rates
from attnc.passes.tile.search import pieces, row_pieces, total

EDGE = load_machine("edge")
RATES = Rates(EDGE)
SRAM, ACC = EDGE.sram.bytes, EDGE.acc.bytes


def integer_product(m, n, k, resident=False, **epilogue):
    left, right = Operand(1, resident, k), Operand(1)
    return MatmulProblem(1, m, n, k, "i8", left, right, Epilogue(**{"stored": 1, **epilogue}))


def test_costs_are_those_of_the_records():
    m, n, k = (np.array(sizes) for sizes in ((32, 33, 128), (64, 65, 7), (100, 3, 96)))
    tiles = list(zip(m.tolist(), n.tolist(), k.tolist(), strict=True))
    mode = MatrixMode.I8.code
    products = [Product(mode=mode, acc=ACC_BIT, m=a, n=b, k=c).cost(EDGE).busy for a, b, c in tiles]
    assert RATES.product("i8", m, n, k).tolist() == products
    passes = [VectorPass(rows=a, columns=b).cost(EDGE).busy for a, b, _ in tiles]
    assert RATES.vector(m, n).tolist() == passes
    copies = [LoadBlock(element=2, n3=a * b, dram_stride3=4, chip_stride3=4).cost(EDGE) for a, b, _ in tiles]
    channel, busy = RATES.copy(m, n, 0, 4)
    assert channel.tolist() == [cost.channel_cycles for cost in copies]
    assert busy.tolist() == [cost.busy for cost in copies]


def test_all_tiles_of_uneven_axes_are_counted():
    sizes = np.array([3, 5, 10, 64])
    assert total(lambda a, b: a * b, (10, sizes), (7, sizes)).tolist() == [70] * 4
    assert total(np.ones_like, (10, sizes)).tolist() == [4, 2, 1, 1]


def test_sizes_cut_an_axis_evenly():
    assert pieces(768, 32)[:4] == (768, 384, 256, 192)
    assert 33 in row_pieces(197, 32)
    assert pieces(5, 32) == (5,)
    assert max(pieces(200_000, 32)) <= 65535


@pytest.mark.parametrize(("m", "n", "k"), [(128, 768, 768), (128, 3072, 768), (197, 192, 192), (512, 3072, 768)])
def test_products_of_an_encoder_run_at_the_speed_of_the_array(m, n, k):
    plan = search(integer_product(m, n, k, resident=True), RATES, SRAM // 2, ACC).chosen
    least = -(-k // 32) * -(-n // 32) * max(m, 32)
    assert plan.array == least
    assert plan.cycles < 1.1 * least + 400
    assert plan.doubled


def test_weights_pass_once_where_the_rows_fit():
    plan = search(integer_product(128, 768, 768), RATES, SRAM, ACC).chosen
    assert plan.order is Order.LEFT
    assert plan.panel >= 128
    assert plan.channel == (768 * 768 + 2 * 128 * 768) // 16


def test_a_depth_too_long_for_the_chip_is_split():
    decision = search(integer_product(128, 768, 3072), RATES, 220_000, ACC)
    assert decision.chosen.order is Order.SPLIT
    assert decision.runner_up is not None
    assert decision.runner_up.order is not Order.SPLIT
    assert decision.runner_up.cycles > decision.chosen.cycles


def test_plans_stay_within_the_memories():
    for sram in (8_000, 20_000, 100_000):
        plan = search(integer_product(300, 500, 700), RATES, sram, 16_384).chosen
        assert plan.sram <= sram
        assert plan.acc <= 16_384


def test_what_cannot_fit_is_an_error_with_numbers():
    with pytest.raises(CapacityError) as caught:
        search(integer_product(64, 64, 64), RATES, 100, ACC)
    assert caught.value.need > caught.value.limit == 100


def attention_problem(queries, keys, width=64):
    matrix = Matrix(1, 12 * width, False)
    once = Passes(1, 0)
    return AttentionProblem(
        1, 12, 1, queries, keys, width, width, "i8", "i8", matrix, matrix, matrix, 1,
        Passes(2, 4), once, once, (once, Passes(2, 4)), once, 0, 0, 1, None,
    )  # fmt: skip


def test_short_rows_stay_in_acc():
    plan = search_attention(attention_problem(128, 128), RATES, SRAM // 2, ACC).chosen
    assert plan.cycles < 1.05 * 12 * 2048
    assert plan.rows >= 32


def test_rows_of_197_are_cut_without_padding():
    plan = search_attention(attention_problem(197, 197), RATES, SRAM // 2, ACC).chosen
    assert plan.array == 12 * 2 * 197 * 7 * 2


def test_long_rows_are_swept():
    plan = search_attention(attention_problem(4096, 4096), RATES, SRAM // 2, ACC).chosen
    assert plan.form is ScoreForm.SWEEPS
    assert plan.sram <= SRAM // 2
