"""Products of one left operand as one: what is merged, what stays apart, and that no column changes."""

from pathlib import Path

import numpy as np
import pytest
from xdsl.dialects.builtin import i8

from attnc import Session, compile
from attnc.compiler.recipe import LayerRule, Recipe
from attnc.dialects import nn
from attnc.dialects.elements import element_type, shape_of
from attnc.dialects.tile import KernelOp
from attnc.passes.graph.merge_products import MergeProducts
from attnc.passes.precision.quantize_products import QuantizeProducts
from attnc.passes.schedule_options import ScheduleOptions

from ..precision.conftest import Quantized, products

DIGITS = Path(__file__).parents[2] / "examples" / "digits_vit"
RANDOM = np.random.default_rng(11)


def random(*shape: int) -> np.ndarray:
    return RANDOM.normal(0, 1, shape).astype(np.float32)


def projections(x: np.ndarray, widths: tuple[int, ...], transposed: bool = False) -> Quantized:
    """One product with a bias for each width."""
    graph = Quantized(x)
    depth, results = x.shape[-1], []
    for width in widths:
        weights = graph.typed(random(*((width, depth) if transposed else (depth, width))))
        product = graph.matmul(graph.inputs[0], weights, transposed)
        results.append(graph.map("add", product, graph.typed(random(width))))
    graph.done(*results)
    return graph


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("widths", [(32, 32, 32), (64, 16, 16), (8, 24)])
def test_columns_do_not_change(widths: tuple[int, ...], transposed: bool) -> None:
    graph = projections(random(2, 5, 16), widths, transposed)
    before = graph.run(graph.arrays)
    [product] = products(graph.apply(MergeProducts()))
    assert shape_of(product.result) == (2, 5, sum(widths))
    for given, wanted in zip(graph.run(graph.arrays), before, strict=True):
        np.testing.assert_allclose(given, wanted, rtol=1e-6, atol=1e-6)


def test_dynamic_int8_keeps_one_scale_a_token() -> None:
    graph = projections(random(5, 16), (32, 8))
    apart = graph.apply(QuantizeProducts())
    before = graph.run(graph.arrays)
    assert len(products(apart)) == 2
    operations = graph.apply(MergeProducts())
    assert len(products(operations)) == 1
    assert sum(isinstance(op, nn.CastOp) and element_type(op.result) == i8 for op in operations) == 1
    for given, wanted in zip(graph.run(graph.arrays), before, strict=True):
        np.testing.assert_array_equal(given, wanted)
    np.testing.assert_array_equal(graph.simulated(), before[0])


def test_output_quantizers_of_different_scales_become_one_by_column() -> None:
    x = RANDOM.integers(-127, 127, (5, 16)).astype(np.int8)
    graph = Quantized(x)
    results = []
    for scale, zero in ((0.5, 3), (0.25, -7)):
        weights = graph.typed(RANDOM.integers(-127, 127, (16, 8)).astype(np.int8))
        sums = graph.add(nn.MatmulOp(graph.inputs[0], weights, False))
        real = graph.map("mul", graph.add(nn.CastOp(sums, nn.f32)), 0.01)
        results.append(graph.add(nn.QuantizeOp(real, graph.typed(np.float32(scale)), graph.typed(np.int8(zero)))))
    graph.done(*results)
    before = graph.run(graph.arrays)
    operations = graph.apply(MergeProducts())
    assert [type(op) for op in operations].count(nn.QuantizeOp) == 1
    for given, wanted in zip(graph.run(graph.arrays), before, strict=True):
        np.testing.assert_array_equal(given, wanted)


@pytest.mark.parametrize("other", ["another left side", "another format", "another epilogue", "weights that run"])
def test_products_that_differ_stay_apart(other: str) -> None:
    x = random(5, 16)
    graph = Quantized(x, random(5, 16), random(16, 8))
    first = graph.matmul(graph.inputs[0], graph.typed(random(16, 8)))
    left = graph.inputs[1] if other == "another left side" else graph.inputs[0]
    right = graph.inputs[2] if other == "weights that run" else graph.typed(random(16, 8))
    if other == "another format":
        right = graph.typed(RANDOM.integers(-9, 9, (16, 8)).astype(np.int8))
        left = graph.add(nn.CastOp(graph.inputs[0], i8))
        second = graph.map("mul", graph.add(nn.CastOp(graph.add(nn.MatmulOp(left, right, False)), nn.f32)), 0.5)
    else:
        second = graph.matmul(left, right)
    if other == "another epilogue":
        second = graph.map("tanh", second)
    graph.done(first, second)
    assert len(products(graph.apply(MergeProducts()))) == 2


def compiled(merge: bool, *layers: LayerRule):
    """The kernels of the digits Transformer as int8, and its result on an image."""
    images = np.load(DIGITS / "images.npz")["image"]
    recipe = Recipe("int8", layers=layers, schedule=ScheduleOptions(merge_products=merge))
    model = compile(DIGITS / "model.onnx", recipe=recipe, calibrate={"image": images[:4]}, stop_after="tile")
    kernels = [op for op in model.module.walk() if isinstance(op, KernelOp)]
    model.continue_to("emit")
    return kernels, Session(model.program).run({"image": images[:1]}, check=True)


def kinds(kernels: list[KernelOp]) -> list[str]:
    return [kernel.label.data.rpartition("_")[0] for kernel in kernels]


def test_whole_model_has_fewer_products_no_copies_and_the_same_bits() -> None:
    (apart, wanted), (merged, given) = compiled(False), compiled(True)
    assert kinds(merged).count("matmul") == kinds(apart).count("matmul") - 8
    assert kinds(merged).count("copy") == kinds(apart).count("copy")
    assert kinds(merged).count("rowwise") == kinds(apart).count("rowwise")
    np.testing.assert_array_equal(given.outputs["logits"], wanted.outputs["logits"])


def test_a_rule_for_one_projection_keeps_it_apart() -> None:
    kernels, _ = compiled(True, LayerRule("encoder.0.attention.q", "bf16"))
    paths = {kernel.path.data for kernel in kernels}
    assert {"encoder.0.attention.q", "encoder.0.attention.k+v", "encoder.1.attention.q+k+v"} <= paths
