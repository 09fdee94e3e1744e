"""Columns of a result without room on chip that stay there for the product behind it."""

import numpy as np
import pytest
from xdsl.dialects.builtin import f32, i32

from attnc.dialects import bnn, nn
from attnc.dialects.bnn_types import bipolar
from attnc.dialects.constants import RefAttr
from attnc.dialects.elements import tensor
from attnc.dialects.tile import KernelOp
from attnc.passes.tile import matmul
from attnc.passes.tile.matmul_plan import Rest
from attnc.passes.tile.tile import TileKernels

WIDTH, HIDDEN = 256, 4096


def weight(name, *shape):
    return nn.ConstantOp(RefAttr(name), tensor(bipolar, *shape)).result


def context(tiling, kibibytes):
    made = tiling.context(kibibytes * 1024)
    for seed, (name, shape) in enumerate({"up": (HIDDEN, WIDTH), "down": (WIDTH, HIDDEN)}.items()):
        made.store.add(name, np.random.default_rng(seed).choice(np.int8([-1, 1]), shape))
    return made


def bits(sums, thresholds):
    return bnn.PackOp(nn.MapOp("ge", [sums, nn.ConstantOp(thresholds)]).result, bipolar).result


def feed_forward(x):
    """Two products with bits between them."""
    thresholds = np.random.default_rng(2).integers(-9, 9, HIDDEN).astype(np.int32)
    first = bits(nn.CastOp(x, i32).result, np.zeros((), np.int32))
    hidden = bits(bnn.MatmulOp(first, weight("up", HIDDEN, WIDTH)).result, thresholds)
    down = nn.CastOp(bnn.MatmulOp(hidden, weight("down", WIDTH, HIDDEN)).result, f32).result
    return [nn.MapOp("mul", [down, nn.ConstantOp(np.float32(0.5))]).result]


def handed(kernels):
    plans = [kernel.plan.data for kernel in kernels]
    return [plan["handed_over_columns"].value.data for plan in plans if "handed_over_columns" in plan]


@pytest.fixture
def forced(tiling, monkeypatch):
    """Tilings of both products: the first stores 512 columns at once, the second has an order and pieces of K."""

    def force(rows, order, m, depth, holds="left", rest=Rest.NOWHERE):
        first = tiling.forced("bijk", rows, 64, WIDTH, gathered=512)
        second = tiling.forced(order, m, 32, depth, holds=frozenset({holds}), rest=rest)
        monkeypatch.setattr(
            matmul, "search", lambda problem, *more: (first, second)[problem.k == HIDDEN](problem, *more)
        )

    return force


def tiled(tiling, rows, kibibytes):
    module = tiling.module([(f32, (rows, WIDTH))], feed_forward)
    return tiling.check(module, tiling.arrays(module), context=context(tiling, kibibytes))


@pytest.mark.parametrize("rows", [64, 67])
@pytest.mark.parametrize("depth", [256, 512, 1024])
@pytest.mark.parametrize(("order", "m", "rest"), [("bijk", 32, Rest.NOWHERE), ("bjki", 34, Rest.ACC)])
def test_the_next_product_begins_with_what_is_there(tiling, forced, rows, depth, order, m, rest):
    forced(rows, order, m, depth, rest=rest)
    [columns] = handed(tiled(tiling, rows, rows // 2))
    assert 0 < columns < HIDDEN
    assert columns % depth == 0


def test_all_is_stored_where_there_is_no_room(tiling, forced):
    forced(64, "bijk", 32, 512)
    assert not handed(tiled(tiling, 64, 10))


def test_all_is_stored_for_a_product_that_does_not_hold_it(tiling, forced):
    forced(64, "bijk", 32, 512, holds="right")
    assert not handed(tiled(tiling, 64, 32))


def test_nothing_stays_without_the_measure(tiling, forced):
    forced(64, "bijk", 32, 512)
    module = tiling.module([(f32, (64, WIDTH))], feed_forward)
    TileKernels(resident=False).apply(context(tiling, 32), module)
    assert not handed([op for op in module.walk() if isinstance(op, KernelOp)])
