"""Tile choice: the records' costs decide, memories are limits, and what is chosen is near the array's bound."""

from dataclasses import replace

import numpy as np
import pytest

from attnc.isa.errors import CapacityError
from attnc.isa.fields import ACC_BIT
from attnc.isa.formats import Format
from attnc.isa.instructions import LoadBlock, Product, VectorPass
from attnc.isa.machine import load_machine
from attnc.isa.matrix import MatrixMode, Values
from attnc.passes.tile.arithmetic import Arithmetic
from attnc.passes.tile.attention_plan import AttentionProblem, Matrix, Passes, ScoreForm
from attnc.passes.tile.attention_search import search_attention
from attnc.passes.tile.loop_order import ORDERS, canonical, fetch
from attnc.passes.tile.matmul_plan import Rest
from attnc.passes.tile.matmul_problem import Epilogue, MatmulProblem, Operand, Seam
from attnc.passes.tile.matmul_search import search, unsearched
from attnc.passes.tile.rates import Rates, planned_for
from attnc.passes.tile.search import pieces, row_pieces, total
from attnc.passes.tile_rules import TileChoice

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
    assert plan.channel == (768 * 768 + 2 * 128 * 768) // 16


def packed_product(m, n, k, room, **epilogue):
    left, right = Operand(1 / 8, True, k), Operand(1 / 8, pitch=k, across=True)
    bits = Epilogue(**{"stored": 1 / 8, **epilogue})
    problem = MatmulProblem(
        1, m, n, k, "binary", left, right, bits, left_values=Values.BIPOLAR, grain=8, output_grain=8
    )
    return search(problem, RATES, room, ACC).chosen


def test_packed_weights_pass_once_in_whole_rows():
    assert packed_product(128, 768, 768, 24 * 1024, stored=0).channel == 768 * 768 / 8 / 16


def test_packed_results_leave_in_whole_bursts():
    plan = packed_product(128, 3072, 768, 40 * 1024)
    assert plan.gathered == 512
    assert plan.channel == (768 + 128) * 3072 / 8 / 16


def test_what_comes_when_follows_from_the_order():
    assert fetch("bijk", "bik", "j", held=False).level == 4
    assert fetch("bijk", "bik", "j", held=True) == fetch("bikj", "bik", "j", held=False).__class__(2, "k", "")
    assert fetch("bijk", "bkj", "i", held=True).whole == "jk"
    assert fetch("bkji", "bkj", "i", held=False).again == ""
    assert fetch("jbik", "kj", "i", held=True).level == 1
    assert canonical("kjib", "bk") == "bkji"


def test_sums_that_are_not_finished_rest_where_they_fit():
    problem = replace(integer_product(64, 64, 512), choice=TileChoice("bkij", 32, 32, 128))
    assert search(problem, RATES, SRAM, ACC).chosen.rest is Rest.ACC
    problem = replace(integer_product(128, 512, 512), choice=TileChoice("bkij", 32, 32, 256))
    assert search(problem, RATES, SRAM * 4, ACC).chosen.rest is Rest.SRAM
    assert search(problem, RATES, SRAM // 4, ACC).chosen.rest is Rest.DRAM


@pytest.mark.parametrize("order", ORDERS)
def test_a_recipe_forces_any_order(order):
    problem = replace(integer_product(100, 100, 100), batch=2, choice=TileChoice(order, 32, 32, 32))
    plan = search(problem, RATES, SRAM, ACC).chosen
    assert (plan.order, plan.rows, plan.columns, plan.depth) == (order, 32, 32, 32)


def test_a_forced_tile_that_does_not_fit_says_so():
    problem = replace(integer_product(500, 500, 100), choice=TileChoice(None, 256, 256, 64))
    with pytest.raises(CapacityError, match="forced tile"):
        search(problem, RATES, SRAM, ACC)


def test_rows_that_come_and_go_one_by_one_are_passed_on_in_blocks():
    alone = integer_product(128, 768, 768, resident=True)
    beside = replace(alone, seam=Seam(arrival=30.0, departure=30.0))
    plan = search(beside, RATES, SRAM, ACC).chosen
    assert min(plan.lead, plan.tail) > 0
    assert plan.block == 32
    assert plan.seam <= 2 * 32 * 30
    assert search(alone, RATES, SRAM, ACC).chosen.block == 0


def test_without_a_search_tiles_are_square():
    plan = unsearched(integer_product(300, 300, 300), RATES, SRAM, ACC).chosen
    assert (plan.order, plan.rows, plan.columns, plan.depth) == ("bijk", 64, 64, 64)
    assert not plan.holds
    assert unsearched(integer_product(5, 7, 9), RATES, SRAM, ACC).chosen.rows == 5


@pytest.mark.parametrize(("m", "n", "k"), [(128, 768, 768), (128, 768, 3072), (197, 192, 768), (1024, 512, 512)])
@pytest.mark.parametrize("resident", [False, True])
def test_more_memory_is_never_worse(m, n, k, resident):
    def score(sram):
        plan = search(integer_product(m, n, k, resident), RATES, sram, ACC).chosen
        return plan.cycles + plan.burden

    scores = [score(sram) for sram in range(32_768, SRAM + 1, 16_384)]
    assert scores == sorted(scores, reverse=True)


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
    matrix = Matrix(Format.I8, 12 * width, False)
    integer, forms = Arithmetic(MatrixMode.I8, None, False), (ScoreForm.WHOLE, ScoreForm.ROWS, ScoreForm.SWEEPS)
    once, twice = Passes(1, 0), Passes(2, 0)
    return AttentionProblem(
        1, 12, 1, queries, keys, width, width, integer, integer, matrix, matrix, matrix, Format.I8,
        (Passes(2, 4), once, twice, twice), once, once, 0, 0, 1, None, 0, forms, 2, True,
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


def test_bandwidth_that_no_engine_takes_changes_no_plan():
    most = (EDGE.engines.ld + EDGE.engines.st) * EDGE.transfer.access_bytes
    faster = replace(EDGE, dram=replace(EDGE.dram, bytes_per_cycle=4 * most))
    assert planned_for(faster).dram.bytes_per_cycle == most
    assert planned_for(EDGE) is EDGE
