"""Small activations in front of products are zero, as a recipe says, and are skipped: cycles go with what is kept."""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import attnc
from attnc.compiler.recipe import Recipe
from attnc.dialects.interpret import function
from attnc.dialects.sparsity import passes, sparse
from attnc.isa.errors import UnsupportedError, UsageError
from attnc.isa.program import Program
from attnc.runtime.session import Result

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits_vit"
NORMAL = NormalDist()
RANDOM = np.random.default_rng(1)
WEIGHT = np.random.default_rng(0).normal(size=(256, 128)).astype(np.float32)
VALUES = RANDOM.normal(size=(128, 256)).astype(np.float32)


def layer() -> onnx.ModelProto:
    """x @ w for 128 tokens."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        "layer",
        [value("x", TensorProto.FLOAT, [128, 256])],
        [value("y", TensorProto.FLOAT, [128, 128])],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def keeping(share: float) -> float:
    """The threshold that leaves such a share of normal numbers."""
    return NORMAL.inv_cdf(1 - share / 2)


def compiled(model: onnx.ModelProto | Path, **options: object) -> Program:
    program = attnc.compile(model, **options).program  # pyright: ignore[reportArgumentType]
    assert program is not None
    return program


def run(model: onnx.ModelProto | Path, inputs: dict[str, np.ndarray], **options: object) -> Result:
    return attnc.Session(compiled(model, **options)).run(inputs, check=True)


def busy(result: Result) -> float:
    """Cycles in which the array was at work."""
    performance = result.report.summary.performance
    assert performance is not None
    return performance.bound_cycles["mx"]


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
def test_what_is_not_above_the_threshold_counts_as_zero(share: float) -> None:
    threshold = keeping(share)
    found = run(layer(), {"x": VALUES}, sparsify=threshold)
    np.testing.assert_allclose(found.outputs["y"], sparse(VALUES, threshold) @ WEIGHT, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("precision", ["model", "fp16"])
@pytest.mark.parametrize("share", [1, 0.75, 0.5, 0.25, 0.1])
def test_the_array_takes_cycles_in_proportion_to_what_is_kept(share: float, precision: str) -> None:
    recipe = Recipe.of({"precision": precision, "tile": [{"match": "*", "depth": 128}]})
    threshold = keeping(share)
    dense = busy(run(layer(), {"x": VALUES}, recipe=recipe))
    found = busy(run(layer(), {"x": VALUES}, recipe=recipe, sparsify=threshold))
    kept = passes(VALUES, threshold).mean()
    # A row of the array takes 4 values of float32, 16 of fp16; of each 128 that it is gathered from, one is not full.
    padding = {"model": 4, "fp16": 16}[precision] / 128
    assert kept <= found / dense <= min(1, kept + 0.6 * padding)


def test_with_a_threshold_of_zero_integers_are_those_of_dense_products_to_the_bit() -> None:
    image = {"image": np.load(EXAMPLE / "images.npz")["image"][:1]}
    dense, found = (run(EXAMPLE / "model.onnx", image, precision="int8", sparsify=given) for given in (None, 0.0))
    for name, value in dense.outputs.items():
        np.testing.assert_array_equal(found.outputs[name], value)


@pytest.mark.parametrize("precision", ["model", "bf16", "int8"])
def test_a_program_has_the_values_of_the_definition(precision: str) -> None:
    image = np.load(EXAMPLE / "images.npz")["image"][:1]
    asked = {"precision": precision, "sparsify": 0.1, "attention": "threshold:0.05"}
    made = attnc.compile(EXAMPLE / "model.onnx", stop_after="attention", **asked)  # pyright: ignore[reportArgumentType]
    [wanted] = function.run(made.module, [image], made.context.store)
    [found] = run(EXAMPLE / "model.onnx", {"image": image}, **asked).outputs.values()
    np.testing.assert_allclose(found, wanted, rtol=1e-3 if precision == "model" else 5e-2, atol=1e-3)


def test_operands_are_compared_before_they_are_quantized() -> None:
    found = run(layer(), {"x": VALUES}, precision="int8", sparsify=0.5)
    pruned = sparse(VALUES, 0.5)
    wanted = run(layer(), {"x": pruned}, precision="int8")
    np.testing.assert_array_equal(found.outputs["y"], wanted.outputs["y"])


def test_a_recipe_says_it_and_the_first_rule_decides() -> None:
    tables = {"sparsity": [{"match": "encoder.0.*", "threshold": 1}, {"match": "*", "threshold": 0.25}]}
    recipe = Recipe.of(tables)
    assert Recipe.of(recipe.to_dict()) == recipe
    module = attnc.compile(EXAMPLE / "model.onnx", recipe=recipe, stop_after="precision").module
    products = [op for op in module.walk() if op.name == "nn.matmul"]
    found = {op.attributes["path"].data: op.threshold.value.data for op in products}  # pyright: ignore
    assert found["encoder.0.ffn.up"] == 1
    assert found["encoder.1.ffn.up"] == 0.25


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"match": "nothing", "threshold": 0.1}, "matches no product of an activation"),
        ({"match": "*", "threshold": -1}, "a threshold from 0 on"),
        ({"match": "*"}, "each .*sparsity.* needs `match`"),
        ({"match": "*", "threshold": 0.1, "keep": 1}, "has no key 'keep'"),
    ],
)
def test_rules_that_make_no_sense_are_refused(rule: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        attnc.compile(layer(), recipe=Recipe.of({"sparsity": [rule]}))


def test_packed_operands_and_those_that_the_model_quantizes_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match=r"product.*takes no mask of packed operands"):
        attnc.compile(layer(), precision="w1a1", sparsify=0.1)
    model = Path(__file__).parents[1] / "models" / "brevitas_w8a8_qcdq.onnx"
    with pytest.raises(UnsupportedError, match="the model quantizes what enters it"):
        attnc.compile(model, sparsify=0.1)
