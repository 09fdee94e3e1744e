"""The residual stream as 16-bit floats and as int8: which values it is, how they are stored, who shares them."""

import numpy as np
from xdsl.dialects.builtin import bf16, f32, i8

from attnc.dialects import nn
from attnc.dialects.context import CompilerContext
from attnc.dialects.elements import element_type
from attnc.dialects.interpret.function import run
from attnc.dialects.tile import KernelOp
from attnc.isa.machine import load_machine
from attnc.passes.precision.calibrate import calibrate
from attnc.passes.precision.quantize_products import QuantizeProducts
from attnc.passes.precision.repeat_dequantization import RepeatDequantization
from attnc.passes.precision.residuals import NarrowResiduals, QuantizeResiduals
from attnc.passes.tile.tile import TileKernels

from .conftest import products

RANDOM = np.random.default_rng(5)


def random(*shape: int) -> np.ndarray:
    return RANDOM.normal(0, 2, shape).astype(np.float32)


def residual_stream(quantized):
    x = random(3, 16)
    graph = quantized(x)
    stream = graph.map("add", graph.inputs[0], 1.0)
    normed = graph.add(nn.LayerNormOp(stream, None, None, 1, 1e-5))
    updated = graph.map("add", stream, graph.matmul(normed, graph.typed(random(16, 16) / 16)))
    last = graph.add(nn.RmsNormOp(updated, None, 1, 1e-5))
    graph.done(graph.map("mul", last, 0.5), updated)
    return graph


def test_residual_stream_is_stored_narrow_but_results_are_not(quantized) -> None:
    graph = residual_stream(quantized)
    before = graph.run(graph.arrays)
    operations = graph.apply(NarrowResiduals("bf16"))
    norms = [op for op in operations if isinstance(op, nn.LayerNormOp | nn.RmsNormOp)]
    assert [element_type(op.input) for op in norms] == [bf16, bf16]
    assert element_type(graph.block.last_op.operands[1]) == f32
    for given, wanted in zip(graph.run(graph.arrays), before, strict=True):
        np.testing.assert_allclose(given, wanted, atol=0.05)


def test_residual_stream_runs_on_the_simulator(quantized) -> None:
    graph = residual_stream(quantized)
    graph.apply(NarrowResiduals("bf16"))
    wanted = graph.result()
    # Both values of the stream may be read unrounded by the kernel that makes them: half a step of bf16 each.
    np.testing.assert_allclose(graph.simulated(), wanted, rtol=0, atol=2 * 2**-9 * np.abs(wanted).max())


def test_values_outside_the_stream_keep_float32(quantized) -> None:
    graph = quantized(random(3, 16))
    shared = graph.map("exp", graph.inputs[0])
    graph.done(graph.map("add", graph.map("mul", shared, 2.0), graph.map("neg", shared)))
    operations = graph.apply(NarrowResiduals("bf16"))
    assert {element_type(op.results[0]) for op in operations} == {f32}


def post_norm_block(quantized, x: np.ndarray):
    """norm(x + x @ w), read by a product, whose sum with it is normalized again."""
    graph = quantized(x)
    [stream], width = graph.inputs, x.shape[-1]
    for _ in range(2):
        branch = graph.matmul(stream, graph.typed(random(width, width)))
        stream = graph.add(nn.LayerNormOp(graph.map("add", stream, branch), None, None, 1, 1e-5))
    graph.done(stream)
    return graph


def quantize(graph, samples: np.ndarray | None):
    if samples is not None:
        calibrate(graph.module, graph.context, [(samples,)])
    operations = graph.apply(QuantizeResiduals(), QuantizeProducts())
    RepeatDequantization().apply(graph.context, graph.module)
    return operations


def stored_formats(graph) -> set[str]:
    """The formats of what the kernels of the module store, but for the last, which makes the result."""
    module = graph.module.clone()
    context = CompilerContext(store=graph.context.store, machine=load_machine("edge"))
    TileKernels().apply(context, module)
    kernels = [op for op in module.walk() if isinstance(op, KernelOp)]
    return {str(output.type.format) for kernel in kernels[:-1] for output in kernel.outputs}


def quantized_as(graph, index: int) -> np.ndarray:
    """The levels of the int8 tensor of that number, as the interpreter makes them."""
    found: list[np.ndarray] = []

    def observe(operation, _, results) -> None:
        if isinstance(operation, nn.CastOp) and element_type(operation.result) == i8:
            found.append(results[0])

    run(graph.module, graph.arrays, graph.context.store, observe)
    return found[index]


def test_calibrated_stream_is_one_int8_tensor_for_products_and_sums(quantized) -> None:
    x = random(6, 32)
    graph = post_norm_block(quantized, x)
    [exact] = graph.run(graph.arrays)
    operations = quantize(graph, x)
    assert sum(isinstance(op, nn.CastOp) and element_type(op.result) == i8 for op in operations) == 4
    for product in products(operations):
        assert {type(use.operation) for use in product.lhs.uses} == {nn.MatmulOp, nn.CastOp}
    assert stored_formats(graph) == {"i8"}
    np.testing.assert_allclose(graph.simulated(), graph.result(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(graph.result(), exact, atol=0.1)


def test_stream_without_calibration_is_int8_by_token_and_bf16_before_norms(quantized) -> None:
    graph = post_norm_block(quantized, random(6, 32))
    [exact] = graph.run(graph.arrays)
    operations = quantize(graph, None)
    assert sum(isinstance(op, nn.CastOp) and element_type(op.result) == i8 for op in operations) == 2
    norms = [op for op in operations if isinstance(op, nn.LayerNormOp)]
    assert [element_type(op.input) for op in norms] == [bf16, bf16]
    assert stored_formats(graph) == {"i8", "bf16", "f32"}  # float32: one scale a token
    np.testing.assert_allclose(graph.simulated(), exact, atol=0.1)


def test_what_exceeds_the_calibrated_range_saturates(quantized) -> None:
    x = random(6, 32)
    graph = post_norm_block(quantized, x)
    quantize(graph, x / 4)
    for levels in (quantized_as(graph, 0), quantized_as(graph, 1)):
        assert (levels.min(), levels.max()) == (-128, 127)


def test_pre_norm_sum_is_widened_by_each_reader(quantized) -> None:
    x = random(6, 32)
    graph = quantized(x)
    [stream] = graph.inputs
    for _ in range(2):
        normed = graph.add(nn.LayerNormOp(stream, None, None, 1, 1e-5))
        stream = graph.map("add", stream, graph.matmul(normed, graph.typed(random(32, 32))))
    graph.done(graph.add(nn.LayerNormOp(stream, None, None, 1, 1e-5)))
    quantize(graph, x)
    assert stored_formats(graph) == {"i8"}
    np.testing.assert_allclose(graph.simulated(), graph.result(), rtol=0, atol=1e-5)


def test_layers_kept_in_float_read_the_int8_stream(quantized) -> None:
    x = random(6, 32)
    graph = post_norm_block(quantized, x)
    calibrate(graph.module, graph.context, [(x,)])
    operations = graph.apply(QuantizeResiduals(layers=("node0=model",)), QuantizeProducts(layers=("node0=model",)))
    first, second = products(operations)
    assert (element_type(first.lhs), element_type(second.lhs)) == (f32, i8)
    np.testing.assert_allclose(graph.simulated(), graph.result(), rtol=0, atol=1e-5)


def test_feed_forward_beyond_the_chip_leaves_the_same_int8_sums(quantized) -> None:
    x = random(128, 768)
    graph = quantized(x)
    [stream] = graph.inputs
    hidden = graph.map("gelu", graph.matmul(stream, graph.typed(random(768, 3072) / 40)))
    branch = graph.matmul(hidden, graph.typed(random(3072, 768) / 40))
    graph.done(graph.add(nn.LayerNormOp(graph.map("add", stream, branch), None, None, 1, 1e-5)))
    quantize(graph, x)
    np.testing.assert_allclose(graph.simulated(), graph.result(), rtol=0, atol=1e-5)


def test_what_products_read_in_few_levels_is_narrow_itself_and_not_on_the_way_there(quantized) -> None:
    graph = quantized(random(3, 16))
    moved = graph.map("sub", graph.inputs[0], 0.5)
    levels = [graph.map("select", graph.map("ge", moved, 0.0), 1.0, -1.0) for _ in range(2)]
    branches = [graph.matmul(level, graph.typed(random(16, 16))) for level in levels]
    graph.done(graph.map("add", graph.inputs[0], graph.map("mul", *branches)))
    operations = graph.apply(NarrowResiduals("bf16"))
    narrow = [op for op in operations if element_type(op.results[0]) == bf16]
    assert [type(op) for op in narrow] == [nn.CastOp]
