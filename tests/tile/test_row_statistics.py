"""Means and variances of rows that a product leaves by tiles of its columns."""

import numpy as np
import pytest
from xdsl.dialects.builtin import f32

from attnc.dialects import nn
from attnc.dialects.tile import KernelOp
from attnc.passes.tile import matmul
from attnc.passes.tile.tile import TileKernels

RANDOM = np.random.default_rng(11)
ROWS, COLUMNS, DEPTH = 67, 150, 40


def summed(x, offset=0.0):
    """x w + b, of rows whose means are near `offset`."""
    weight = RANDOM.standard_normal((DEPTH, COLUMNS)).astype(np.float32)
    biases = (offset + RANDOM.standard_normal(COLUMNS)).astype(np.float32)
    return nn.MapOp("add", [nn.MatmulOp(x, nn.ConstantOp(weight)).result, nn.ConstantOp(biases)]).result


def normalized(kinds=("mean", "variance"), offset=0.0, shape=(ROWS, DEPTH)):
    """(sum - mean) * rsqrt(variance) of its rows, or what there is without one of the two, and the negated sum."""

    def body(x):
        total = found = summed(x, offset)
        if "mean" in kinds:
            found = nn.MapOp("sub", [found, nn.ReduceOp("mean", total, [-1]).result]).result
        if "variance" in kinds:
            factor = nn.MapOp("rsqrt", [nn.ReduceOp("variance", total, [-1]).result]).result
            found = nn.MapOp("mul", [found, factor]).result
        return [found, nn.MapOp("neg", [total]).result]

    return [(f32, shape)], body


def product_of(kernels):
    return next(kernel for kernel in kernels if kernel.label.data.startswith("matmul"))


@pytest.mark.parametrize(("lead", "tail"), [(0, 0), (32, 0), (0, 64), (32, 48)])
@pytest.mark.parametrize("order", ["bijk", "bjik"])
def test_parts_of_tiles_of_any_width_make_the_statistics_of_rows(tiling, monkeypatch, order, lead, tail):
    found = tiling.forced(order, ROWS, 32, 16, strip=20, lead=lead, tail=tail, block=34)
    monkeypatch.setattr(matmul, "search", found)
    module = tiling.module(*normalized())
    kernels = tiling.check(module, tiling.arrays(module))
    assert len(product_of(kernels).outputs) == 3


@pytest.mark.parametrize("columns", [32, 150])
@pytest.mark.parametrize("parts_in_acc", [False, True])
def test_statistics_of_a_batch(tiling, monkeypatch, columns, parts_in_acc):
    monkeypatch.setattr(matmul, "search", tiling.forced("bijk", 16, columns, 40, parts_in_acc=parts_in_acc))
    module = tiling.module(*normalized(shape=(2, 3, 20, DEPTH)))
    tiling.check(module, tiling.arrays(module))


def test_nothing_cancels_where_the_mean_is_large(tiling, monkeypatch):
    monkeypatch.setattr(matmul, "search", tiling.forced("bijk", ROWS, 32, DEPTH))
    module = tiling.module(*normalized(offset=1000.0))
    # What is left of float32 beside the mean: the sum of squares would keep nothing.
    tiling.check(module, tiling.arrays(module), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kinds", [("mean",), ("variance",)])
def test_a_mean_goes_alone_but_a_variance_does_not(tiling, kinds):
    module = tiling.module(*normalized(kinds))
    kernels = tiling.check(module, tiling.arrays(module))
    assert len(product_of(kernels).outputs) == 1 + ("mean" in kinds)


def test_statistics_are_made_apart_without_the_measure(tiling):
    module = tiling.module(*normalized())
    TileKernels(row_statistics=False).apply(tiling.context(), module)
    assert len(product_of([op for op in module.walk() if isinstance(op, KernelOp)]).outputs) == 1


def test_statistics_are_results_of_the_model(tiling, monkeypatch):
    monkeypatch.setattr(matmul, "search", tiling.forced("bijk", 20, 32, DEPTH))

    def body(x):
        total = summed(x)
        return [total, *(nn.ReduceOp(kind, total, [-1]).result for kind in ("variance", "mean"))]

    module = tiling.module([(f32, (ROWS, DEPTH))], body)
    kernels = tiling.check(module, tiling.arrays(module))
    assert [output.type.space.data for output in product_of(kernels).outputs] == ["dram"] * 3
