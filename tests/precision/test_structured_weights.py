"""Weights of a structure, found in a model or pruned by a recipe: cycles and bytes go with what is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import attnc
from attnc.compiler.recipe import Recipe
from attnc.isa.errors import UsageError
from attnc.isa.machine import load_machine
from attnc.isa.program import Program
from attnc.isa.structures import Structure, pruned
from attnc.runtime.summary import summary_text

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits_vit"


def layer(structure: str, rows: int = 128, depth: int = 512, columns: int = 32) -> onnx.ModelProto:
    """x @ w with a w that obeys `structure`."""
    weight = np.random.default_rng(0).normal(size=(depth, columns)).astype(np.float32)
    weight = pruned(weight, Structure.parse(structure))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        "layer",
        [value("x", TensorProto.FLOAT, [rows, depth])],
        [value("y", TensorProto.FLOAT, [rows, columns])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def compiled(model: onnx.ModelProto, **options: object) -> Program:
    program = attnc.compile(model, **options).program  # pyright: ignore[reportArgumentType]
    assert program is not None
    return program


@pytest.mark.parametrize("precision", ["int8", "bf16", "model"])
@pytest.mark.parametrize("structure", ["1:2", "2:4", "1:8"])
def test_what_is_detected_changes_no_answer_and_takes_its_part_of_the_array(structure: str, precision: str) -> None:
    model = layer(structure)
    machine = "edge-structured"
    dense = compiled(model, machine=machine, precision=precision)
    found = compiled(model, machine=machine, precision=precision, detect_structure=True)
    inputs = {"x": np.random.default_rng(1).normal(size=(128, 512)).astype(np.float32)}
    answers = [attnc.Session(program).run(inputs, check=True) for program in (dense, found)]
    if precision == "int8":
        np.testing.assert_array_equal(answers[0].outputs["y"], answers[1].outputs["y"])
    else:
        np.testing.assert_allclose(answers[0].outputs["y"], answers[1].outputs["y"], rtol=1e-2, atol=1e-2)
    kept, group = map(int, structure.split(":"))
    macs = [sum(node.macs for node in answer.report.nodes) for answer in answers]
    assert macs[1] * group == macs[0] * kept
    index_bits, width = {2: 1, 4: 2, 8: 4}[group], {"int8": 8, "bf16": 16, "model": 32}[precision]
    weight = 512 * 32 * kept // group
    assert found.weight_bytes - dense.weight_bytes == weight * (width + index_bits) // 8 - 512 * 32 * width // 8


def test_nothing_is_looked_for_unasked_and_what_is_found_is_told() -> None:
    assert compiled(layer("2:4")).weight_bytes == 512 * 32 * 4
    assert "structured" not in compiled(layer("2:4")).describe()
    assert "; structured weights: 1 of 2:4" in compiled(layer("2:4"), detect_structure=True).describe()
    assert "; structured weights: none" in compiled(layer("3:4"), detect_structure=True).describe()


def test_the_least_that_check_tells_is_that_of_what_is_kept() -> None:
    dense, found = (attnc.check(layer("2:4"), precision="int8", detect_structure=asked) for asked in (False, True))
    work = [report.engines[0] for report in (dense, found)]
    assert work[0].amount == 2 * work[1].amount == 128 * 512 * 32
    assert dense.memory is not None
    assert found.memory is not None
    assert (dense.memory.weights["i8"], found.memory.weights["i8"]) == (512 * 32, 512 * 32 * 10 // 16)


def test_a_machine_that_lacks_the_structure_does_not_run_the_program() -> None:
    program = compiled(layer("1:8"), machine="edge-structured", precision="int8", detect_structure=True)
    with pytest.raises(UsageError, match=r"it lacks weights of .*1:8 in i8"):
        attnc.Session(program, load_machine("edge")).run(seed=0)


def test_a_recipe_prunes_and_the_answer_is_said_to_be_untrained() -> None:
    data = dict(np.load(EXAMPLE / "images.npz"))
    recipe = Recipe.of({"precision": "int8", "prune": [{"match": "*ffn*", "structure": "2:4"}]})
    assert Recipe.of(recipe.to_dict()) == recipe
    program = attnc.compile(EXAMPLE / "model.onnx", recipe=recipe).program
    assert program is not None
    assert program.untrained == ("2:4 weights",)
    result = attnc.Session(program).run({"image": data["image"][:1]}, check=True)
    assert "2:4 weights without training: accuracy unknown" in summary_text(result.report)


def test_small_weights_are_zero_where_a_recipe_says_so() -> None:
    model, inputs = layer("3:4"), {"x": np.random.default_rng(1).normal(size=(128, 512)).astype(np.float32)}
    recipe = Recipe.of({"prune": [{"match": "*", "threshold": 0.5}]})
    assert Recipe.of(recipe.to_dict()) == recipe
    program = compiled(model, recipe=recipe, machine="acceltran-edge", precision="int8")
    assert program.untrained == ("weights above 0.5",)
    weight = numpy_helper.to_array(model.graph.initializer[0])
    found = attnc.Session(compiled(model, recipe=recipe)).run(inputs).outputs["y"]
    wanted = inputs["x"] @ np.where(np.abs(weight) > 0.5, weight, 0)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ({"prune": [{"match": "nothing", "structure": "2:4"}]}, "matches no product with constant float weights"),
        ({"prune": [{"match": "*", "structure": "4:2"}]}, "4:2 is no structure"),
        ({"prune": [{"match": "*"}]}, "each .*prune.* needs `match` and `structure`"),
        ({"prune": [{"match": "*", "structure": "2:4", "threshold": 0.1}]}, "needs `structure` or `threshold`, one"),
        ({"prune": [{"match": "*", "threshold": -0.1}]}, "a threshold from 0 on"),
        ({"prune": [{"match": "*", "structure": "2:4", "keep": 1}]}, "has no key 'keep'"),
        ({"detect_structure": "yes"}, "`detect_structure` is true or false"),
    ],
)
def test_rules_that_make_no_sense_are_refused(tables: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        attnc.compile(layer("2:4"), recipe=Recipe.of(tables))


def test_a_machine_without_structures_is_named() -> None:
    with pytest.raises(UsageError, match="the matrix engine of machine bat has no structures of weights"):
        attnc.compile(layer("2:4"), machine="bat", detect_structure=True)
