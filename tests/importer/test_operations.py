"""The `onnx` operations that come of nodes: types, names, locations, attributes and operands."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from attnc.dialects.onnx_interface import Interface, inputs_of, main_of, outputs_of
from attnc.dialects.provenance import Node, nodes_of


def test_unnamed_nodes_get_unique_names(build) -> None:
    nodes = [
        build.node("Relu", ["x"], ["a"], "Relu_1"),
        build.node("Relu", ["a"], ["b"]),
        build.node("Relu", ["b"], ["c"], "Relu_1"),
    ]
    imported = build.imported(build.model(nodes, [build.value("x", 2)], ["c"]))
    located = [nodes_of(operation) for operation in imported.operations]
    assert located == [(Node(name, "Relu"),) for name in ("Relu_1", "Relu_1_1", "Relu_1_2")]


def test_operands_and_attributes_are_read_by_name(build) -> None:
    node = build.node("LayerNormalization", ["x", "s"], ["y", "", "d"], "norm", epsilon=0.5)
    imported = build.imported(build.model([node], [build.value("x", 2, 4), build.value("s", 4)], ["y", "d"]))
    (norm,) = imported.operations
    assert norm.operand("X").name_hint == "x"
    assert norm.optional_operand("B") is None
    assert norm.attribute("epsilon", float) == 0.5
    assert norm.attribute("axis", int) == -1
    assert norm.output_names == ("y", "", "d")
    assert imported.outputs() == ["tensor<2x4xf32>", "tensor<2x1xf32>"]
    with pytest.raises(KeyError, match="it has X, Scale, B"):
        norm.operand("bias")
    with pytest.raises(KeyError, match="without its input 'B'"):
        norm.operand("B")


def test_optional_input_in_the_middle_is_left_out(build) -> None:
    node = build.node("Clip", ["x", "", "high"], ["y"], "clip")
    model = build.model([node], [build.value("x", 2)], ["y"], {"high": np.array(1, np.float32)})
    (clip,) = build.imported(model).operations
    assert [value is None for value in clip.inputs] == [False, True, False]
    assert clip.optional_operand("min") is None
    assert clip.optional_operand("max") is not None


def test_variadic_operands(build) -> None:
    node = build.node("Concat", ["x", "x", "x"], ["y"], axis=0)
    imported = build.imported(build.model([node], [build.value("x", 2)], ["y"]))
    assert len(imported.operations[0].variadic_operands("inputs")) == 3
    assert imported.outputs() == ["tensor<6xf32>"]


def test_inputs_and_outputs_are_kept_as_declared(build) -> None:
    inputs = [build.value("ids", "N", 4, element=TensorProto.INT64)]
    module = build.imported(build.model([build.node("Neg", ["ids"], ["y"])], inputs, ["y"]), {"ids": (2, 4)}).module
    main = main_of(module)
    (given,) = inputs_of(main)
    assert given == Interface("ids", "INT64", ("N", 4), given.type)
    assert str(given.type) == "tensor<2x4xi64>"
    assert [(item.name, item.element) for item in outputs_of(main)] == [("y", "INT64")]


def test_unknown_domain_is_a_generic_operation(build) -> None:
    node = build.node("Sparkle", ["x", "", "x"], ["y", "z"], "node", domain="org.example", glow=3)
    opsets = [helper.make_opsetid("org.example", 7)]
    imported = build.imported(build.model([node], [build.value("x", 2)], ["y"], opsets=opsets))
    (sparkle,) = imported.operations
    assert (sparkle.name, sparkle.domain, sparkle.operator) == ("onnx.Custom", "org.example", "Sparkle")
    assert sparkle.attribute("glow", int) == 3
    assert sparkle.since.value.data == 7
    assert imported.outputs() == ["!onnx.unknown"]
    assert imported.nodes == ["node"]


def test_declared_type_stands_for_an_unknown_one(build) -> None:
    nodes = [build.node("Sparkle", ["x"], ["a"], domain="org.example"), build.node("Neg", ["a"], ["y"])]
    model = build.model(nodes, [build.value("x", 2)], ["y"], opsets=[helper.make_opsetid("org.example", 1)])
    model.graph.value_info.append(build.value("a", 5, 6))
    assert build.imported(model).outputs() == ["tensor<5x6xf32>"]


def test_data_dependent_extents_stay_open(build) -> None:
    nodes = [build.node("NonZero", ["x"], ["n"]), build.node("Transpose", ["n"], ["y"])]
    imported = build.imported(build.model(nodes, [build.value("x", 3, 4)], ["y"]))
    assert imported.outputs() == ["tensor<?x2xi64>"]


def test_split_whose_rank_runtimes_disagree_on(build) -> None:
    nodes = [
        build.node("SplitToSequence", ["x", "sizes"], ["s"], axis=1, keepdims=0),
        build.node("SequenceAt", ["s", "zero"], ["y"]),
    ]
    constants = {"sizes": np.array([1, 1]), "zero": np.array(0)}
    imported = build.imported(build.model(nodes, [build.value("x", 3, 2)], ["y"], constants))
    assert imported.outputs() == ["tensor<*xf32>"]


def test_opaque_types(build) -> None:
    nodes = [
        build.node("SequenceConstruct", ["x", "x"], ["s"]),
        build.node("Optional", ["x"], ["o"]),
        build.node("StringConcat", ["t", "t"], ["u"]),
    ]
    inputs = [build.value("x", 2), build.value("t", 3, element=TensorProto.STRING)]
    imported = build.imported(build.model(nodes, inputs, ["s", "o", "u"]))
    assert imported.outputs() == [
        "!onnx.sequence<tensor<2xf32>>",
        "!onnx.optional<tensor<2xf32>>",
        "tensor<3x!onnx.string>",
    ]


@pytest.mark.parametrize("code", [c for n, c in TensorProto.DataType.items() if n not in ("UNDEFINED", "STRING")])
def test_every_element_type_is_read(build, code: int) -> None:
    dtype = helper.tensor_dtype_to_np_dtype(code)
    values = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
    model = build.model([build.node("Identity", ["w"], ["y"])], [build.value("x", 1)], ["y"])
    model.graph.initializer.append(numpy_helper.from_array(values, "w"))
    (output,) = build.imported(model).outputs()
    assert output.dtype == dtype
    np.testing.assert_array_equal(output.astype(np.complex64), values.astype(np.complex64))


def test_sparse_initializer_is_dense(build) -> None:
    model = build.model([build.node("Add", ["x", "w"], ["y"])], [build.value("x", 2, 3)], ["y"])
    values = numpy_helper.from_array(np.array([5, 7], np.float32), "w")
    indices = numpy_helper.from_array(np.array([1, 5]), "at")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2, 3]))
    (constant,) = [operation for operation in build.imported(model).module.walk() if operation.name == "onnx.Constant"]
    assert "dense<[[0.000000e+00, 5.000000e+00, 0.000000e+00], [0.000000e+00, 0.000000e+00, 7.000000e+00]]>" in str(
        constant
    )


def test_operator_that_only_onnx_runtime_has_in_the_default_domain(build) -> None:
    node = build.node("SimplifiedLayerNormalization", ["x", "s"], ["y"], axis=-1)
    imported = build.imported(build.model([node], [build.value("x", 2, 4), build.value("s", 4)], ["y"]))
    assert (imported.operations[0].name, imported.operators) == (
        "onnx.Custom",
        ["SimplifiedLayerNormalization"],
    )
    assert imported.operations[0].operand("scale").name_hint == "s"
    assert imported.outputs() == ["tensor<2x4xf32>"]


M, Q = "com.microsoft", "qonnx.custom_op.general"


@pytest.mark.parametrize(
    ("domain", "operator", "inputs", "attributes", "expected"),
    [
        (Q, "BipolarQuant", [(4, 8), (1,)], {}, ["4x8xf32"]),
        (Q, "Quant", [(4, 8), (4, 1), (), ()], {"signed": 1}, ["4x8xf32"]),
        (M, "BiasGelu", [(2, 3, 8), (8,)], {}, ["2x3x8xf32"]),
        (M, "FusedMatMul", [(2, 8, 3), (2, 8, 5)], {"transA": 1}, ["2x3x5xf32"]),
        (
            M,
            "MatMulNBits",
            [(2, 3, 64), (10, 2, 16), (10, 2)],
            {"K": 64, "N": 10, "block_size": 32},
            ["2x3x10xf32"],
        ),
        (M, "QLinearAdd", [(2, 3), (), (), (3,), (), (), (), ()], {}, ["2x3xf32"]),
        (M, "QLinearConcat", [(), (), (2, 3), (), (), (2, 5), (), ()], {"axis": 1}, ["2x8xf32"]),
        (M, "SkipLayerNormalization", [(2, 3, 8), (2, 3, 8), (8,)], {}, ["2x3x8xf32", "2x3x1xf32"]),
        (
            M,
            "EmbedLayerNormalization",
            [(2, 5), (2, 5), (9, 8), (7, 8), (2, 8), (8,), (8,)],
            {},
            ["2x5x8xf32", "2xi32"],
        ),
        (M, "MultiHeadAttention", [(2, 5, 8), (2, 6, 8), (2, 6, 12)], {"num_heads": 2}, ["2x5x12xf32"]),
        (
            M,
            "GroupQueryAttention",
            [(1, 5, 32), (1, 5, 8), (1, 5, 8)],
            {"num_heads": 4, "kv_num_heads": 1},
            ["1x5x32xf32"],
        ),
        (M, "Attention", [(2, 5, 8), (8, 24), (24,)], {"num_heads": 2}, ["2x5x8xf32"]),
        (M, "FusedConv", [(1, 3, 8, 8), (4, 3, 3, 3)], {"pads": [1, 1, 1, 1]}, ["1x4x8x8xf32"]),
    ],
)
def test_contributed_operators_have_types(build, domain, operator, inputs, attributes, expected) -> None:
    names = [f"i{index}" for index in range(len(inputs))]
    outputs = [f"o{index}" for index in range(len(expected))]
    node = build.node(operator, names, outputs, domain=domain, **attributes)
    values = [build.value(name, *shape) for name, shape in zip(names, inputs, strict=True)]
    model = build.model([node], values, outputs, opsets=[helper.make_opsetid(domain, 1)])
    assert build.imported(model).outputs() == [f"tensor<{text}>" for text in expected]
