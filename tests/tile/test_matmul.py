"""Matrix products: values for any shape, layout, format, epilogue and tiling."""

import numpy as np
import pytest
from xdsl.dialects.builtin import bf16, f16, f32, i8

from attnc.dialects import nn
from attnc.passes.tile import matmul
from attnc.passes.tile.loop_order import ORDERS
from attnc.passes.tile.matmul_plan import Rest

TOLERANCE = {f32: 1e-5, i8: 0.0, f16: 3e-3, bf16: 2e-2}


def product(transposed=False):
    return lambda a, b: [nn.MatmulOp(a, b, transposed).result]


def checked(tiling, arguments, body, sram_bytes=None, inputs=None):
    module = tiling.module(arguments, body)
    inputs = tiling.arrays(module) if inputs is None else inputs
    tolerance = max(TOLERANCE[element] for element, _ in arguments)
    scale = max((np.abs(array.astype(np.float32)).max() for array in inputs if array.size), default=1.0)
    return tiling.check(module, inputs, sram_bytes, rtol=tolerance, atol=tolerance * 100 * scale**2)


@pytest.mark.parametrize("element", [f32, i8, bf16, f16])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("m", "n", "k"), [(1, 1, 1), (1, 5, 7), (33, 1, 3), (197, 65, 129), (3, 300, 700), (400, 10, 27)]
)
def test_any_shape_and_format(tiling, element, transposed, m, n, k):
    shape = (n, k) if transposed else (k, n)
    checked(tiling, [(element, (m, k)), (element, shape)], product(transposed))


def integers(seed, *shape):
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("right", "rest"),
    [
        ("shared constant", Rest.ACC),
        ("shared constant", Rest.DRAM),
        ("constant", Rest.SRAM),
        ("activations", Rest.ACC),
        ("activations", Rest.SRAM),
    ],
)
def test_every_order_over_a_batch(tiling, monkeypatch, order, rest, right):
    batch, rows, columns, depth = 3, 67, 50, 33
    monkeypatch.setattr(matmul, "search", tiling.forced(order, 13, 32, 10, strip=5, rest=rest))
    left = (i8, (batch, rows, depth))
    if right == "activations":
        checked(tiling, [left, (i8, (batch, columns, depth))], product(True))
    else:
        weight = integers(1, *(() if right == "shared constant" else (batch,)), depth, columns)
        # The rows do not fold into the batch: they are turned.
        body = lambda a: [nn.MatmulOp(nn.TransposeOp(a, (0, 2, 1)), nn.ConstantOp(weight)).result]  # noqa: E731
        checked(tiling, [(i8, (batch, depth, rows))], body)


@pytest.mark.parametrize("order", sorted({order.replace("b", "") for order in ORDERS}))
@pytest.mark.parametrize("holds", [(), ("left",), ("right",), ("left", "right")])
@pytest.mark.parametrize("tiles", [(64, 64, 64), (5, 32, 11), (13, 32, 70), (70, 9, 3)])
def test_every_order_and_all_that_it_can_hold(tiling, monkeypatch, order, holds, tiles):
    rows, columns, depth = 67, 50, 33
    m, n, k = (min(size, extent) for size, extent in zip(tiles, (rows, columns, depth), strict=True))
    found = tiling.forced(f"b{order}", m, n, k, holds=frozenset(holds), rest=Rest.DRAM)
    monkeypatch.setattr(matmul, "search", found)
    checked(
        tiling, [(i8, (rows, depth))], lambda a: [nn.MatmulOp(a, nn.ConstantOp(integers(2, depth, columns))).result]
    )
    checked(tiling, [(i8, (rows, depth)), (i8, (columns, depth))], product(True))


def test_sums_rest_while_many_pieces_of_the_depth_go_by(tiling, monkeypatch):
    rows, columns, depth = 20, 40, 100
    for rest in (Rest.ACC, Rest.SRAM, Rest.DRAM):
        monkeypatch.setattr(matmul, "search", tiling.forced("bkij", 7, 32, 3, rest=rest))
        checked(tiling, [(i8, (rows, depth)), (i8, (depth, columns))], product())


@pytest.mark.parametrize("holds", [(), ("left",), ("right",)])
@pytest.mark.parametrize(("lead", "tail"), [(32, 0), (0, 64), (32, 48), (75, 75)])
@pytest.mark.parametrize("order", ["bijk", "bjik"])
def test_edges_are_done_in_row_blocks(tiling, monkeypatch, holds, lead, tail, order):
    rows, columns, depth = 67, 150, 40
    found = tiling.forced(order, rows, 32, 16, holds=frozenset(holds), lead=lead, tail=tail, block=34)
    monkeypatch.setattr(matmul, "search", found)
    bias = np.arange(columns, dtype=np.int32)

    def body(a):
        summed = nn.MatmulOp(a, nn.ConstantOp(integers(3, depth, columns)))
        return [nn.MapOp("add", [summed, nn.ConstantOp(bias)]).result]

    checked(tiling, [(i8, (rows, depth))], body)
    checked(tiling, [(i8, (rows, depth)), (i8, (columns, depth))], product(True))


@pytest.mark.parametrize("order", ["bijk", "bjik", "bjki"])
@pytest.mark.parametrize(("rows", "lead"), [(67, 0), (67, 32), (34, 0)])
def test_results_of_several_tiles_are_stored_at_once(tiling, monkeypatch, order, rows, lead):
    columns, depth = 192, 40
    found = tiling.forced(order, rows, 16, 16, strip=20, rest=Rest.ACC, lead=lead, block=34, gathered=64, by_tile=True)
    monkeypatch.setattr(matmul, "search", found)
    bias = np.arange(columns, dtype=np.int32)

    def body(a):
        summed = nn.MatmulOp(a, nn.ConstantOp(integers(3, depth, columns)))
        return [nn.MapOp("add", [summed, nn.ConstantOp(bias)]).result]

    checked(tiling, [(i8, (67, depth))], body)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 1, 20, 8), (1, 5, 8, 9)),
        ((20, 8), (5, 8, 9)),
        ((2, 5, 1, 8), (8, 9)),
        ((2, 5, 3, 8), (8, 9)),
        ((4, 1, 7, 8), (1, 1, 8, 9)),
        ((5, 7, 8), (5, 8, 9)),
    ],
)
def test_batches_broadcast(tiling, left, right):
    checked(tiling, [(i8, left), (i8, right)], product())


def test_batches_of_rows_are_one_product(tiling):
    kernels = checked(tiling, [(f32, (6, 5, 16)), (f32, (16, 8))], product())
    assert kernels[0].plan.data["tile_m"].value.data >= 30


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 0, 3), (4, 3, 0)])
@pytest.mark.parametrize("element", [f32, i8])
def test_empty_extents(tiling, shape, element):
    m, n, k = shape
    checked(tiling, [(element, (m, k)), (element, (k, n))], product())


def test_extreme_int8_values_are_exact(tiling):
    rows, columns, depth = 40, 33, 3000
    for low, high in ((-128, -128), (-128, 127), (127, 127)):
        inputs = [np.full((rows, depth), low, np.int8), np.full((depth, columns), high, np.int8)]
        checked(tiling, [(i8, (rows, depth)), (i8, (depth, columns))], product(), inputs=inputs)


def test_small_memories_make_small_tiles(tiling):
    for sram_bytes in (6_000, 20_000, 60_000):
        checked(tiling, [(i8, (128, 512)), (i8, (512, 96))], product(), sram_bytes)


def test_heads_are_addressing(tiling):
    def scores(q, k):
        split = [nn.ReshapeOp(x, (2, x.type.get_shape()[1], 4, 16)).result for x in (q, k)]
        q, k = (nn.TransposeOp(x, (0, 2, 1, 3)).result for x in split)
        return [nn.MatmulOp(q, k, True).result]

    def merged(p, v):
        context = nn.MatmulOp(p, v).result
        return [nn.ReshapeOp(nn.TransposeOp(context, (0, 2, 1, 3)), (2, 30, 64)).result]

    for arguments, body in (
        ([(f32, (2, 30, 64)), (f32, (2, 20, 64))], scores),
        ([(f32, (2, 4, 30, 20)), (f32, (2, 4, 20, 16))], merged),
    ):
        kernels = checked(tiling, arguments, body)
        assert [kernel.label.data for kernel in kernels] == ["matmul_0"]


def test_a_left_operand_across_its_rows(tiling):
    body = lambda a, b: [nn.MatmulOp(nn.TransposeOp(a, (1, 0)), b).result]  # noqa: E731
    checked(tiling, [(f32, (50, 40)), (f32, (50, 33))], body)


@pytest.mark.parametrize("rows", [1, 70])
def test_bias_activation_and_residual_ride_along(tiling, rows):
    random = np.random.default_rng(2)
    weight, bias = (random.standard_normal(shape).astype(np.float32) for shape in ((96, 160), (160,)))

    def body(x, residual):
        y = nn.MapOp("add", [nn.MatmulOp(x, nn.ConstantOp(weight)), nn.ConstantOp(bias)])
        return [nn.MapOp("add", [nn.MapOp("gelu", [y]), residual]).result]

    kernels = checked(tiling, [(f32, (2, rows, 96)), (f32, (2, rows, 160))], body)
    assert len(kernels) == 1


def test_requantized_products_are_exact(tiling):
    random = np.random.default_rng(3)
    weight = random.integers(-128, 128, (100, 130)).astype(np.int8)
    scale, bias = (random.random(130).astype(np.float32) for _ in range(2))

    def body(x):
        y = nn.DequantizeOp(nn.MatmulOp(x, nn.ConstantOp(weight)), nn.ConstantOp(scale), None, 2)
        y = nn.MapOp("add", [y, nn.ConstantOp(bias)])
        return [nn.QuantizeOp(y, nn.ConstantOp(np.float32(113.7)), None).result]

    kernels = checked(tiling, [(i8, (1, 64, 100))], body)
    assert len(kernels) == 1


def test_operands_and_results_stay_on_chip(tiling):
    weight = np.random.default_rng(4).standard_normal((48, 48)).astype(np.float32)

    def body(x):
        for _ in range(3):
            x = nn.MatmulOp(nn.SoftmaxOp(x, 1), nn.ConstantOp(weight)).result
        return [nn.MapOp("neg", [x]).result]

    kernels = checked(tiling, [(f32, (40, 48))], body)
    program = kernels[0].parent_block()
    assert program is not None
    tensors = [op.label.data for op in program.ops if op.name == "tile.tensor" and op.role.data == "temporary"]
    assert tensors == []


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("sram_bytes", [None, 20_000])
def test_weights_stay_8_bit_and_are_scaled_on_chip(tiling, across, sram_bytes):
    random = np.random.default_rng(5)
    weight = random.integers(-128, 128, (160, 96) if across else (96, 160)).astype(np.int8)
    scale = random.random((160, 1) if across else (160,)).astype(np.float32)

    def body(x):
        scaled = nn.MapOp("mul", [nn.CastOp(nn.ConstantOp(weight), f32), nn.ConstantOp(scale)]).result
        return [nn.MatmulOp(x, nn.TransposeOp(scaled, (1, 0)) if across else scaled).result]

    kernels = checked(tiling, [(f32, (70, 96))], body, sram_bytes)
    assert [kernel.label.data for kernel in kernels] == ["matmul_0"]
