"""What stays on chip between kernels, and packed weights."""

import numpy as np
import pytest
from xdsl.dialects.builtin import f32

from attnc.dialects import nn
from attnc.dialects.constants import ConstantStore
from attnc.passes.tile.weights import Packing


def residents(kernels):
    program = kernels[0].parent_block()
    assert program is not None
    return [op.result.type.bytes for op in program.ops if op.name == "tile.alloc"]


def chain(tiling, rows, width, links):
    """Products one after the other, each behind a softmax."""
    weight = np.random.default_rng(1).standard_normal((width, width)).astype(np.float32)

    def body(x):
        for _ in range(links):
            x = nn.MatmulOp(nn.SoftmaxOp(x, 1), nn.ConstantOp(weight)).result
        return [x]

    return tiling.module([(f32, (rows, width))], body)


def test_small_tensors_stay(tiling):
    module = chain(tiling, 32, 64, 3)
    # Every softmax but the first lies where the product that it reads did.
    assert residents(tiling.check(module, tiling.arrays(module))) == [32 * 64 * 4] * 3


@pytest.mark.parametrize("sram_bytes", [20_000, 48_000, 96_000])
def test_residents_leave_room_for_tiles(tiling, sram_bytes):
    module = chain(tiling, 48, 96, 3)
    found = residents(tiling.check(module, tiling.arrays(module), sram_bytes))
    assert all(size < sram_bytes for size in found)
    if sram_bytes == 20_000:
        assert found == []


def test_a_residual_read_much_later_stays_if_it_can(tiling):
    weight = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)

    def body(x):
        first = nn.SoftmaxOp(x, 1).result
        y = first
        for _ in range(2):
            y = nn.MatmulOp(nn.SoftmaxOp(y, 1), nn.ConstantOp(weight)).result
        return [nn.MapOp("add", [y, first]).result]

    module = tiling.module([(f32, (32, 64))], body)
    assert len(residents(tiling.check(module, tiling.arrays(module)))) >= 3


def residual(tiling, read_later):
    """(x + x w) w, and x + x w itself once more where it is read later."""
    weight = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)

    def body(x):
        stream = nn.SoftmaxOp(x, 1).result
        normal = nn.SoftmaxOp(stream, 1).result
        total = nn.MapOp("add", [stream, nn.MatmulOp(normal, nn.ConstantOp(weight)).result]).result
        result = nn.MatmulOp(nn.SoftmaxOp(total, 1), nn.ConstantOp(weight)).result
        return [nn.MapOp("add", [result, stream if read_later else total]).result]

    return tiling.module([(f32, (32, 64))], body)


@pytest.mark.parametrize("read_later", [False, True])
def test_a_sum_lies_where_the_residual_did_that_nothing_reads_any_more(tiling, read_later):
    module = residual(tiling, read_later)
    kernels = tiling.check(module, tiling.arrays(module))
    first, adding = kernels[0], next(kernel for kernel in kernels if "matmul" in kernel.label.data)
    assert (adding.outputs[0] in first.outputs) != read_later


def test_without_room_on_chip_storage_in_dram_is_taken_over(tiling):
    module = residual(tiling, False)
    kernels = tiling.check(module, tiling.arrays(module), 8_000)
    outputs = [output for kernel in kernels for output in kernel.outputs]
    assert len(set(outputs)) < len(outputs)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("columns", [1, 3, 7, 16])
def test_blocks_of_a_weight_follow_each_other(transposed, columns):
    stored = np.arange(2 * 5 * 7, dtype=np.int8).reshape((2, 7, 5) if transposed else (2, 5, 7))
    matrices = stored.swapaxes(1, 2) if transposed else stored
    strides = (35, 1, 5) if transposed else (35, 7, 1)
    packing = Packing(0, (2, 5, 7), strides, columns)
    store = ConstantStore()
    packed = store.get(packing.key(store, store.add("w", stored)))
    assert packed.shape == packing.packed_shape
    for block in range(packed.shape[1]):
        wanted = matrices[:, :, block * columns : (block + 1) * columns]
        np.testing.assert_array_equal(packed[:, block, :, : wanted.shape[2]], wanted)
        assert not packed[:, block, :, wanted.shape[2] :].any()
