"""The predicted cycles of single products against the simulator's, and recipes that force tilings."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import attnc
from attnc.compiler.recipe import Recipe
from attnc.dialects.tile import KernelOp
from attnc.isa.errors import CapacityError, UsageError

NEAR = 0.1
"""How far the simulated cycles of a product that the array bounds may lie from the predicted ones."""


def model(m: int, n: int, k: int, integers: bool) -> bytes:
    random = np.random.default_rng(0)
    weight = random.integers(-128, 128, (k, n)).astype(np.int8) if integers else random.random((k, n), np.float32)
    operator = "MatMulInteger" if integers else "MatMul"
    source, target = (TensorProto.INT8, TensorProto.INT32) if integers else (TensorProto.FLOAT, TensorProto.FLOAT)
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"], name="the_product")],
        "product",
        [helper.make_tensor_value_info("x", source, [m, k])],
        [helper.make_tensor_value_info("y", target, [m, n])],
        [numpy_helper.from_array(weight, "w")],
    )
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return file.SerializeToString()


def plan(file: bytes, **options: object) -> dict[str, object]:
    module = attnc.compile(file, stop_after="tile", **options).module
    kernel = next(op for op in module.walk() if isinstance(op, KernelOp))
    return {key: value.value.data if hasattr(value, "value") else value.data for key, value in kernel.plan.data.items()}


@pytest.mark.parametrize("integers", [True, False])
@pytest.mark.parametrize("machine", ["edge", "tiny"])
@pytest.mark.parametrize(("m", "n", "k"), [(128, 768, 768), (512, 512, 512), (128, 3072, 768)])
def test_what_is_predicted_is_simulated(m: int, n: int, k: int, machine: str, integers: bool) -> None:
    file = model(m, n, k, integers)
    inputs = {"x": np.zeros((m, k), np.int8 if integers else np.float32)}
    program = attnc.compile(file, machine=machine).program
    cycles = attnc.Session(program).run(inputs, mode="timing").report.performance.cycles
    assert cycles == pytest.approx(plan(file, machine=machine)["cycles"], rel=NEAR)


def recipe(**rule: object) -> Recipe:
    return Recipe.of({"tile": [{"match": "the_*", **rule}]})


def test_a_recipe_forces_an_order_and_tiles() -> None:
    file = model(96, 64, 128, True)
    forced = plan(file, recipe=recipe(order="bkij", rows=32, depth=64))
    assert (forced["order"], forced["tile_m"], forced["tile_k"]) == ("bkij", 32, 64)
    assert forced["runner_up"] == "none"
    whole = plan(file, recipe=recipe(rows=5000))
    assert whole["tile_m"] == 96


def test_the_first_rule_that_matches_decides() -> None:
    rules = Recipe.of({"tile": [{"match": "the_product", "rows": 32}, {"match": "*", "rows": 64}]})
    assert plan(model(96, 64, 128, True), recipe=rules)["tile_m"] == 32
    assert Recipe.of(rules.to_dict()) == rules


def test_forced_tiles_that_do_not_fit_and_rules_that_match_nothing() -> None:
    file = model(512, 512, 128, True)
    with pytest.raises(CapacityError, match="ACC for the forced tile"):
        plan(file, recipe=recipe(rows=512, columns=512))
    with pytest.raises(UsageError, match="'nothing' matches no product"):
        plan(file, recipe=Recipe.of({"tile": [{"match": "nothing", "rows": 8}]}))


@pytest.mark.parametrize("switch", ["row_blocks", "tile_search"])
def test_values_stay_the_same_without_a_measure(switch: str) -> None:
    file = model(197, 64, 128, True)
    inputs = {"x": np.random.default_rng(1).integers(-128, 128, (197, 128)).astype(np.int8)}
    off = Recipe.of({"schedule": {switch: False}})
    with_it, without = (attnc.Session(attnc.compile(file, recipe=r).program).run(inputs) for r in (None, off))
    np.testing.assert_array_equal(with_it.outputs["y"], without.outputs["y"])
