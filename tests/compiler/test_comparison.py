"""compare: everything agrees where nothing is broken, and what is broken is named, with its phase and node."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from attnc import compare
from attnc.compiler.comparison import PHASES
from attnc.isa import lane_plan, lane_steps, lanes
from attnc.isa.errors import InputError
from attnc.isa.instructions import matrix_product
from attnc.isa.lane_functions import LANE_FUNCTIONS


def test_unbroken_model_agrees_at_every_phase(model, inputs) -> None:
    report = compare(model, inputs)
    assert report.agrees
    assert report.first is None
    assert report.values == len(model.graph.node)
    counts = {phase: len(report.at(phase)) for phase in PHASES}
    assert all(counts.values())
    assert counts["graph"] >= counts["tile"] == counts["simulator"]
    assert {item.value for item in report.at("simulator")} >= {"y", "embedded", "stream"}
    assert max(item.relative_error for item in report.comparisons) < 1e-5


def test_an_input_that_is_bound_now_is_one_of_the_reference_too() -> None:
    x, c, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xcy")
    node = helper.make_node("Add", ["x", "c"], ["y"], "add")
    proto = helper.make_model(
        helper.make_graph([node], "sum", [x, c], [y]), opset_imports=[helper.make_opsetid("", 17)]
    )
    numbers = np.arange(4, dtype=np.float32)
    report = compare(proto, {"x": numbers}, constants={"c": 2 * numbers})
    assert report.agrees
    assert report.values == 1


def test_every_comparison_names_its_nodes(model, inputs) -> None:
    names = {node.name for node in model.graph.node}
    for item in compare(model, inputs).comparisons:
        assert item.nodes, item
        assert set(item.nodes) <= names


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """For breaking lane functions: plans made while one is broken are not kept for other tests."""
    lane_plan.plan.cache_clear()
    yield monkeypatch
    lane_plan.plan.cache_clear()


def wrong(name: str) -> lanes.LaneFunction:
    """A lane function that gives a hundredth more than it should."""
    function = LANE_FUNCTIONS[name]

    def off(kernel: Callable[..., object]) -> Callable[..., None]:
        def run(*operands: np.ndarray) -> None:
            kernel(*operands)
            operands[-1][...] *= np.float32(1.01)

        return run

    return replace(function, implementations={k: off(v) for k, v in function.implementations.items()})


def test_broken_lane_function_is_found_in_the_graph(model, inputs, broken: pytest.MonkeyPatch) -> None:
    broken.setitem(LANE_FUNCTIONS, "gelu", wrong("gelu"))
    report = compare(model, inputs)
    assert not report.agrees
    assert (report.first.phase, report.first.value, report.first.nodes) == ("graph", "bent", ("activation",))
    assert report.first.relative_error == pytest.approx(0.01, rel=1e-3)
    assert report.first.mismatches > 0
    assert report.first.cosine == pytest.approx(1)


def test_broken_lanes_are_found_in_the_tiles(model, inputs, broken: pytest.MonkeyPatch) -> None:
    """The interpreter of the graph is right, the lanes of the vector engine are not."""
    broken.setattr(lane_steps, "LANE_FUNCTIONS", {**LANE_FUNCTIONS, "gelu": wrong("gelu")})
    report = compare(model, inputs)
    assert all(item.agrees for phase in ("graph", "precision", "attention") for item in report.at(phase))
    assert report.first.phase == "tile"
    assert "activation" in report.first.nodes


def test_broken_instruction_is_found_in_the_simulator(model, inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = matrix_product.product

    def off(*form: object) -> Callable[..., None]:
        multiply = exact(*form)

        def run(a: np.ndarray, b: np.ndarray, acc: np.ndarray) -> None:
            multiply(a, b, acc)
            acc += np.float32(0.5)

        return run

    monkeypatch.setattr(matrix_product, "product", off)
    report = compare(model, inputs)
    assert {item.phase for item in report.comparisons if not item.agrees} == {"simulator"}
    assert report.first.nodes[0] in {"q_product", "k_product", "v_product"}


def test_tolerances_are_those_asked_for(model, inputs) -> None:
    strict = compare(model, inputs, rtol=0, atol=0)
    assert not strict.agrees
    assert compare(model, inputs, precision="int8", rtol=0.2, atol=0.2).agrees
    assert not compare(model, inputs, precision="int8").agrees


def test_random_inputs_are_within_their_ranges(model, shapes) -> None:
    first, again = (compare(model, shapes=shapes, seed=3) for _ in range(2))
    assert first.agrees
    assert first == again


def test_report_is_strict_json(model, inputs) -> None:
    broken = {"ids": inputs["ids"], "mask": np.zeros_like(inputs["mask"])}
    report = compare(model, broken)
    text = json.dumps(report.to_dict(), allow_nan=False)
    assert json.loads(text)["values"] == report.values


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mask": None}, "has no array 'mask'"),
        ({"ids": np.zeros((1, 6), np.int32)}, "array 'ids' is int32, the input is int64"),
        ({"ids": np.zeros((2, 6), np.int64)}, "array 'ids' is for more than one inference"),
    ],
)
def test_wrong_inputs(model, shapes, inputs, change, reason: str) -> None:
    given = {name: array for name, array in (inputs | change).items() if array is not None}
    with pytest.raises(InputError, match=reason):
        compare(model, given, shapes=shapes)


def odd_values(operator: str) -> onnx.ModelProto:
    node = helper.make_node(operator, ["x"], ["y"], "odd")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    graph = helper.make_graph([node], "odd", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_infinities_and_nan_agree_with_their_like() -> None:
    x = np.float32([0, -1, np.inf, np.nan])
    with pytest.warns(RuntimeWarning, match="NaN"):
        report = compare(odd_values("Log"), {"x": x})
    assert report.agrees
    assert {item.mismatches for item in report.comparisons} == {0}


def test_nan_where_there_should_be_none_differs(broken: pytest.MonkeyPatch) -> None:
    log = LANE_FUNCTIONS["log"]
    nothing = {kinds: lambda *operands: operands[-1].fill(np.nan) for kinds in log.implementations}
    broken.setitem(LANE_FUNCTIONS, "log", replace(log, implementations=nothing))
    report = compare(odd_values("Log"), {"x": np.float32([1, 2, 3, 4])})
    assert not report.agrees
    assert report.first.max_abs_error == np.inf
    assert report.first.to_dict()["max_abs_error"] is None
