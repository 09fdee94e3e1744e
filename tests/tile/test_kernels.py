"""Single kernels: what they are made of, and that their values are those of the tensor operations."""

import numpy as np
import pytest
from xdsl.dialects.builtin import bf16, f16, f32, i1, i8, i32

from attnc.dialects import nn


def kinds(kernels):
    return [kernel.label.data.rpartition("_")[0] for kernel in kernels]


def test_a_residual_and_its_norm_are_one_kernel(tiling):
    def body(x, y, g, b):
        total = nn.MapOp("add", [x, y]).result
        return [nn.LayerNormOp(total, g, b, 2, 1e-5).result, total]

    module = tiling.module([(f32, (2, 17, 64)), (f32, (2, 17, 64)), (f32, (64,)), (f32, (64,))], body)
    kernels = tiling.check(module, tiling.arrays(module))
    assert kinds(kernels) == ["rowwise"]
    assert kernels[0].plan.data["passes"].value.data == 2


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_softmax_over_any_axis(tiling, axis):
    module = tiling.module([(f32, (3, 5, 7))], lambda x: [nn.SoftmaxOp(x, axis).result])
    tiling.check(module, tiling.arrays(module))


@pytest.mark.parametrize("empty_row", ["nan", "zero"])
def test_softmax_of_a_fully_masked_row(tiling, empty_row):
    module = tiling.module([(f32, (2, 4))], lambda x: [nn.SoftmaxOp(x, 1, nn.EmptyRow(empty_row)).result])
    tiling.check(module, [np.array([[1, 2, -np.inf, 0], [-np.inf] * 4], np.float32)])


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 2), (1, 3), (0, 1, 2, 3)])
@pytest.mark.parametrize("kind", ["sum", "max", "mean", "variance"])
def test_reductions_over_any_axes(tiling, axes, kind):
    module = tiling.module([(f32, (2, 3, 4, 5))], lambda x: [nn.ReduceOp(kind, x, axes).result])
    tiling.check(module, tiling.arrays(module))


@pytest.mark.parametrize(
    "body",
    [
        lambda x: [nn.SoftmaxOp(x, 1).result],
        lambda x: [nn.LayerNormOp(x, None, None, 1, 1e-5).result],
        lambda x: [nn.DynamicQuantizeOp(x).result, nn.DynamicQuantizeOp(x).scale],
        lambda x: [nn.ReduceOp("variance", x, [1]).result],
        lambda x: [nn.SoftmaxOp(nn.TransposeOp(x, [1, 0]).result, 0).result],
    ],
)
def test_rows_that_do_not_fit_go_in_pieces(tiling, body):
    module = tiling.module([(f32, (3, 2000))], body)
    kernels = tiling.check(module, tiling.arrays(module), sram_bytes=4096)
    assert any("pieces" in kernel.plan.data for kernel in kernels)


def test_outer_axes_are_reduced_without_transposing(tiling):
    def body(x):
        scale = nn.ReduceOp("max", nn.MapOp("abs", [x]).result, [1]).result
        return [nn.CastOp(nn.MapOp("div", [x, scale]).result, i8).result, scale]

    module = tiling.module([(f32, (3, 98, 64))], body)
    kernels = tiling.check(module, tiling.arrays(module))
    assert "turned" in kernels[0].plan.data


def test_elementwise_work_on_long_rows_needs_no_pieces(tiling):
    module = tiling.module([(f32, (3, 5000)), (f32, (3, 1))], lambda x, y: [nn.MapOp("mul", [x, y]).result])
    kernels = tiling.check(module, tiling.arrays(module), sram_bytes=4096)
    assert "pieces" not in kernels[0].plan.data


@pytest.mark.parametrize("element", [f32, f16, bf16, i32, i8, i1])
def test_concatenation_padding_and_transposition_move_every_format(tiling, element):
    def body(x, y):
        joined = nn.ConcatOp([nn.TransposeOp(x, [0, 2, 1]).result, y], 2).result
        fill = nn.ConstantOp(np.ones((), _dtype(element))).result
        return [nn.PadOp(joined, fill, [1, 0, 2], [0, 3, 1]).result]

    module = tiling.module([(element, (2, 3, 4)), (element, (2, 4, 5))], body)
    tiling.check(module, tiling.arrays(module))


def _dtype(element):
    from attnc.dialects.elements import dtype_of

    return dtype_of(element)


def test_pieces_of_a_concatenation_are_written_in_place(tiling):
    def body(x, y):
        left, right = nn.MapOp("exp", [x]).result, nn.MapOp("tanh", [y]).result
        return [nn.ConcatOp([left, right], 1).result]

    module = tiling.module([(f32, (4, 3)), (f32, (4, 5))], body)
    assert kinds(tiling.check(module, tiling.arrays(module))) == ["rowwise", "rowwise"]


def test_a_split_of_heads_is_written_where_the_merge_reads_it(tiling):
    def body(x):
        heads = nn.TransposeOp(nn.MapOp("exp", [x]).result, [0, 2, 1, 3]).result
        return [nn.MapOp("neg", [nn.ReshapeOp(heads, (2, 5, 24)).result]).result]

    module = tiling.module([(f32, (2, 4, 5, 6))], body)
    assert kinds(tiling.check(module, tiling.arrays(module))) == ["rowwise", "rowwise"]


@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (2, 0)])
def test_scalars_and_empty_tensors(tiling, shape):
    module = tiling.module([(f32, shape)], lambda x: [nn.MapOp("neg", [nn.MapOp("exp", [x]).result]).result])
    tiling.check(module, tiling.arrays(module))


def test_a_sum_over_nothing_is_zero(tiling):
    module = tiling.module([(f32, (3, 0))], lambda x: [nn.ReduceOp("sum", x, [1]).result])
    kernels = tiling.check(module, tiling.arrays(module))
    assert len(kernels) == 1


def test_outputs_that_are_inputs_constants_and_parts_are_copied(tiling):
    def body(x):
        part = nn.SliceOp(nn.MapOp("exp", [x]).result, [0, 1], [4, 2]).result
        return [x, nn.ConstantOp(np.float32(3)).result, part, part, nn.TransposeOp(x, [1, 0]).result]

    module = tiling.module([(f32, (4, 4))], body)
    tiling.check(module, tiling.arrays(module))


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("sram_bytes", [None, 4096])
def test_running_sums(tiling, exclusive, reverse, axis, sram_bytes):
    def body(x):
        return [nn.CumsumOp(x, axis, exclusive, reverse).result]

    module = tiling.module([(i32, (7, 300))], body)
    tiling.check(module, tiling.arrays(module), sram_bytes)


def test_running_sums_of_bytes_wrap(tiling):
    module = tiling.module([(i8, (3, 50))], lambda x: [nn.CumsumOp(x, 1).result])
    tiling.check(module, tiling.arrays(module))


@pytest.mark.parametrize("sram_bytes", [None, 2048])
def test_gathers_pick_rows(tiling, sram_bytes):
    def body(table, ids):
        return [nn.GatherRowsOp(table, ids).result, nn.GatherRowsOp(nn.TransposeOp(table, [1, 0]).result, ids).result]

    module = tiling.module([(f32, (600, 600)), (i32, (3, 7))], body)
    table = np.random.default_rng(0).normal(size=(600, 600)).astype(np.float32)
    tiling.check(module, [table, np.arange(21, dtype=np.int32).reshape(3, 7) * 27], sram_bytes)


def test_indices_along_an_axis(tiling):
    def body(x):
        return [nn.MapOp("add", [x, nn.IotaOp((4, 5, 6), 1).result]).result, nn.IotaOp((3, 9000), 1).result]

    module = tiling.module([(i32, (4, 5, 6))], body)
    tiling.check(module, tiling.arrays(module))


def test_narrow_integers_wrap_between_fused_operations(tiling):
    def body(x, y):
        total = nn.MapOp("add", [x, y]).result
        return [nn.MapOp("mul", [total, nn.MapOp("max", [total, y]).result]).result]

    module = tiling.module([(i8, (5, 40)), (i8, (5, 40))], body)
    assert kinds(tiling.check(module, tiling.arrays(module))) == ["rowwise"]


def test_quantization_is_exact_between_fused_operations(tiling):
    def body(x):
        scale, zero = nn.ConstantOp(np.float32(0.0371)).result, nn.ConstantOp(np.int8(-3)).result
        levels = nn.QuantizeOp(x, scale, zero).result
        return [levels, nn.DequantizeOp(levels, scale, zero).result, nn.MapOp("add", [levels, levels]).result]

    module = tiling.module([(f32, (9, 50))], body)
    tiling.check(module, [np.random.default_rng(1).normal(0, 4, (9, 50)).astype(np.float32)], rtol=0, atol=0)


def test_windows_become_columns_and_pools(tiling):
    def body(x):
        windows = nn.WindowsOp(x, [3, 3], [2, 1], [1, 2]).result
        return [nn.ReduceOp("max", windows, [4, 5]).result, nn.MapOp("neg", [windows]).result]

    module = tiling.module([(f32, (2, 3, 9, 8))], body)
    tiling.check(module, tiling.arrays(module))


@pytest.mark.parametrize(("shape", "count"), [((1, 197), 96), ((3, 2, 9), 9), ((2, 65), 1)])
@pytest.mark.parametrize("element", [f32, i32])
def test_the_places_of_the_greatest_values_of_each_row(tiling, shape, count, element):
    module = tiling.module([(element, shape)], lambda x: [nn.GreatestOp(x, count).result])
    kernels = tiling.check(
        module, [np.random.default_rng(0).integers(-9, 10, shape).astype(np.float32 if element == f32 else np.int32)]
    )
    assert kinds(kernels) == ["greatest"]
