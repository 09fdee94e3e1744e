"""Control flow as regions, branches that are always taken, and local functions."""

import numpy as np
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from attnc.compiler.importer import import_model
from attnc.isa.errors import InputError


def branch(build, operator: str, output: str):
    """A graph of one node that reads `x` from around it."""
    node = build.node(operator, ["x"], [output], operator.lower())
    return helper.make_graph([node], operator, [], [helper.make_empty_tensor_value_info(output)])


def choice(build):
    """Neg(x) if the condition holds, else Relu(x)."""
    return build.node(
        "If",
        ["c"],
        ["y"],
        "if",
        then_branch=branch(build, "Neg", "a"),
        else_branch=branch(build, "Relu", "b"),
    )


def test_if_has_a_region_for_each_branch(build) -> None:
    inputs = [build.value("x", 2, 3), build.value("c", element=TensorProto.BOOL)]
    imported = build.imported(build.model([choice(build)], inputs, ["y"]))
    assert imported.operators == ["If", "Relu", "Neg"]
    assert imported.outputs() == ["tensor<2x3xf32>"]
    assert imported.nodes == ["if", "neg", "relu"]
    operation = imported.operations[0]
    assert [inner.name for inner in operation.region("else_branch").block.ops] == ["onnx.Relu", "onnx.Yield"]


@pytest.mark.parametrize(("condition", "taken", "dropped"), [(True, "Neg", "relu"), (False, "Relu", "neg")])
def test_constant_condition_leaves_one_branch(build, condition: bool, taken: str, dropped: str) -> None:
    model = build.model([choice(build)], [build.value("x", 2, 3)], ["y"], {"c": np.array(condition)})
    imported = build.imported(model)
    assert imported.operators == [taken]
    assert imported.folded == {"if": "its condition is constant", dropped: "its branch is never taken"}


def test_branches_of_different_shapes_leave_extents_open(build) -> None:
    total = build.node("ReduceSum", ["x"], ["b"], "sum")
    graph = helper.make_graph([total], "sum", [], [helper.make_empty_tensor_value_info("b")])
    node = build.node("If", ["c"], ["y"], then_branch=branch(build, "Neg", "a"), else_branch=graph)
    inputs = [build.value("x", 2, 3), build.value("c", element=TensorProto.BOOL)]
    assert build.imported(build.model([node], inputs, ["y"])).outputs() == ["tensor<?x?xf32>"]


def loop(build, body_nodes, results: int):
    """A loop that carries `v` from `x` and yields what its nodes make: `keep`, `next` and scans."""
    body = helper.make_graph(
        body_nodes,
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_empty_tensor_value_info("v"),
        ],
        [helper.make_empty_tensor_value_info(name) for name in ["keep", "next", "seen"][: results + 1]],
    )
    return build.node("Loop", ["trips", "", "x"], ["y", "z"][:results], "loop", body=body)


def test_loop_stacks_what_it_scans(build) -> None:
    nodes = [
        build.node("Identity", ["go"], ["keep"], "keep"),
        build.node("Neg", ["v"], ["next"], "neg"),
        build.node("Exp", ["v"], ["seen"], "exp"),
    ]
    model = build.model([loop(build, nodes, 2)], [build.value("x", 3)], ["y", "z"], {"trips": np.array(5)})
    imported = build.imported(model)
    assert imported.outputs() == ["tensor<3xf32>", "tensor<?x3xf32>"]
    nodes[0] = build.node("Constant", [], ["keep"], "keep", value=numpy_helper.from_array(np.array(True)))
    model = build.model([loop(build, nodes, 2)], [build.value("x", 3)], ["y", "z"], {"trips": np.array(5)})
    assert build.imported(model).outputs() == ["tensor<3xf32>", "tensor<5x3xf32>"]


def test_growing_carried_value_has_an_open_extent(build) -> None:
    nodes = [
        build.node("Identity", ["go"], ["keep"], "keep"),
        build.node("Concat", ["v", "v"], ["next"], "concat", axis=0),
    ]
    model = build.model([loop(build, nodes, 1)], [build.value("x", 3, 2)], ["y"], {"trips": np.array(5)})
    imported = build.imported(model)
    assert imported.outputs() == ["tensor<?x2xf32>"]
    assert imported.nodes == ["concat", "keep", "loop"]


def test_scan_sees_slices(build) -> None:
    body = helper.make_graph(
        [build.node("Add", ["s", "e"], ["s2"], "add"), build.node("Neg", ["s2"], ["o"], "neg")],
        "body",
        [helper.make_empty_tensor_value_info(name) for name in ("s", "e")],
        [helper.make_empty_tensor_value_info(name) for name in ("s2", "o")],
    )
    node = build.node(
        "Scan",
        ["init", "x"],
        ["last", "all"],
        num_scan_inputs=1,
        scan_input_axes=[1],
        scan_output_axes=[-1],
        body=body,
    )
    model = build.model([node], [build.value("init", 3), build.value("x", 3, 7)], ["last", "all"])
    assert build.imported(model).outputs() == ["tensor<3xf32>", "tensor<3x7xf32>"]


def function(name: str, inputs: list[str], outputs: list[str], nodes, opset: int = 22, **options):
    return helper.make_function(
        "local",
        name,
        inputs,
        outputs,
        nodes,
        [helper.make_opsetid("", opset), helper.make_opsetid("local", 1)],
        **options,
    )


LOCAL = [helper.make_opsetid("local", 1)]


def test_function_is_inlined_with_its_attributes(build) -> None:
    leaky = build.node("LeakyRelu", ["a"], ["t"], "leaky")
    leaky.attribute.add(name="alpha", type=AttributeProto.FLOAT, ref_attr_name="slope")
    body = [leaky, build.node("Add", ["t", "b"], ["c"], "add")]
    made = function("Biased", ["a", "b"], ["c"], body, attributes=["slope"])
    nodes = [
        build.node("Biased", ["x", "x"], ["y"], "first", domain="local", slope=0.25),
        build.node("Biased", ["y", "x"], ["z"], "second", domain="local", slope=0.5),
    ]
    imported = build.imported(build.model(nodes, [build.value("x", 2)], ["z"], functions=[made], opsets=LOCAL))
    assert imported.operators == ["LeakyRelu", "Add"] * 2
    assert [imported.operations[index].attribute("alpha", float) for index in (0, 2)] == [0.25, 0.5]
    assert imported.nodes == ["first", "first/add", "first/leaky", "second", "second/add", "second/leaky"]
    assert imported.folded == dict.fromkeys(("first", "second"), "its function is inlined")


def test_functions_call_functions_in_their_own_operator_set(build) -> None:
    inner = function("Inner", ["a"], ["b"], [build.node("Softmax", ["a"], ["b"], "soft")], opset=11)
    outer = function("Outer", ["a"], ["b"], [build.node("Inner", ["a"], ["b"], "call", domain="local")])
    model = build.model(
        [build.node("Outer", ["x"], ["y"], "outer", domain="local")],
        [build.value("x", 2, 3, 4)],
        ["y"],
        functions=[inner, outer],
        opsets=LOCAL,
    )
    assert build.imported(model).operators == ["Flatten", "Softmax", "Reshape"]


def test_function_that_calls_itself(build) -> None:
    made = function("Again", ["a"], ["b"], [build.node("Again", ["a"], ["b"], "call", domain="local")])
    model = build.model(
        [build.node("Again", ["x"], ["y"], domain="local")],
        [build.value("x", 2)],
        ["y"],
        functions=[made],
        opsets=LOCAL,
    )
    with pytest.raises(InputError, match="'Again' calls itself"):
        import_model(model)
