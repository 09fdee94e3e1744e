"""What is computed at import, what stays, and the account of both."""

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper

FLOATS = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)
BYTES = np.random.default_rng(2).integers(-128, 128, (8, 8)).astype(np.int8)
ZERO, ONE = np.array(0, np.float32), np.array(1, np.float32)


def test_shape_arithmetic_folds(build) -> None:
    nodes = [
        build.node("Shape", ["x"], ["s"], "shape"),
        build.node("Gather", ["s", "zero"], ["n"], "gather", axis=0),
        build.node("Unsqueeze", ["n", "axes"], ["n1"], "unsqueeze"),
        build.node("Concat", ["n1", "rest"], ["target"], "concat", axis=0),
        build.node("Reshape", ["x", "target"], ["y"], "reshape"),
    ]
    constants = {"zero": np.array(0), "axes": np.array([0]), "rest": np.array([-1])}
    imported = build.imported(build.model(nodes, [build.value("x", 2, 3, 4)], ["y"], constants))
    assert imported.operators == ["Reshape"]
    assert imported.outputs() == ["tensor<2x12xf32>"]
    assert imported.folded == dict.fromkeys(("shape", "gather", "unsqueeze", "concat"), "all it depends on is constant")
    assert imported.nodes == ["concat", "gather", "reshape", "shape", "unsqueeze"]


def test_constants_and_unused_nodes_are_accounted_for(build) -> None:
    two = numpy_helper.from_array(np.array(2, np.float32))
    nodes = [
        build.node("Constant", [], ["c"], "constant", value=two),
        build.node("Neg", ["x"], ["unused"], "unused"),
        build.node("Exp", ["unused"], ["unused2"], "unused2"),
        build.node("Mul", ["x", "c"], ["y"]),
    ]
    imported = build.imported(build.model(nodes, [build.value("x", 2)], ["y"]))
    assert imported.folded == {
        "constant": "it is a constant",
        "unused": "nothing uses what it makes",
        "unused2": "nothing uses what it makes",
    }
    assert imported.nodes == ["Mul_3", "constant", "unused", "unused2"]


def test_large_results_are_made_when_needed(build) -> None:
    nodes = [build.node("Transpose", ["w"], ["wt"], perm=[1, 0]), build.node("MatMul", ["x", "wt"], ["y"])]
    weight = np.arange(512 * 256, dtype=np.float32).reshape(512, 256)
    imported = build.imported(build.model(nodes, [build.value("x", 1, 256)], ["y"], {"w": weight}))
    store = imported.context.store
    assert imported.keys == ["wt"]
    assert store.origins("wt") == ("w",)
    assert store.shape("wt") == (256, 512)
    np.testing.assert_array_equal(store.get("wt"), weight.T)


def test_huge_constants_are_never_made(build) -> None:
    nodes = [
        build.node("ConstantOfShape", ["shape"], ["zeros"]),
        build.node("Slice", ["zeros", "start", "end"], ["few"]),
        build.node("Add", ["x", "few"], ["y"]),
    ]
    constants = {"shape": np.array([10**12]), "start": np.array([0]), "end": np.array([3])}
    assert build.imported(build.model(nodes, [build.value("x", 3)], ["y"], constants)).operators == ["Add"]


def test_initializer_listed_as_input_is_a_constant(build) -> None:
    inputs = [build.value("x", 2), build.value("w", 2)]
    model = build.model([build.node("Add", ["x", "w"], ["y"])], inputs, ["y"], {"w": np.ones(2, np.float32)})
    module = build.imported(model).module
    assert [argument.name_hint for argument in next(iter(module.ops)).body.block.args] == ["x"]


def test_constant_output(build) -> None:
    model = build.model([build.node("Neg", ["w"], ["y"])], [build.value("x", 2)], ["y"], {"w": FLOATS})
    (output,) = build.imported(model).outputs()
    np.testing.assert_array_equal(output, -FLOATS)


def weight_chain(build, kind: str):
    """The nodes that make the float weights `w` of what a model keeps small: `q` int8, `l` latent float."""
    node = build.node
    match kind:
        case "cast and multiply":
            nodes = [node("Cast", ["q"], ["f"], to=TensorProto.FLOAT), node("Mul", ["f", "one"], ["w"])]
        case "subtract zero point":
            nodes = [
                node("Cast", ["q"], ["f"], to=TensorProto.FLOAT),
                node("Sub", ["f", "one"], ["d"]),
                node("Mul", ["d", "one"], ["w"]),
            ]
        case "dequantize":
            nodes = [node("DequantizeLinear", ["q", "one"], ["w"])]
        case "rearranged":
            nodes = [node("Transpose", ["q"], ["t"]), node("DequantizeLinear", ["t", "one"], ["w"])]
        case "clip and dequantize":
            nodes = [node("Clip", ["q", "low", "high"], ["c"]), node("DequantizeLinear", ["c", "one"], ["w"])]
        case "where":
            nodes = [
                node("GreaterOrEqual", ["l", "zero"], ["p"]),
                node("Where", ["p", "one", "minus"], ["b"]),
                node("Mul", ["b", "one"], ["w"]),
            ]
        case "sign of centred":
            nodes = [node("Sub", ["l", "one"], ["d"]), node("Sign", ["d"], ["w"])]
        case "fake quantization":
            nodes = [
                node("Div", ["l", "one"], ["d"]),
                node("Round", ["d"], ["r"]),
                node("Mul", ["r", "one"], ["w"]),
            ]
        case "quantize":
            nodes = [
                node("QuantizeLinear", ["l", "one", "nil"], ["i"]),
                node("DequantizeLinear", ["i", "one"], ["w"]),
            ]
        case _:
            nodes = [node("BipolarQuant", ["l", "one"], ["w"], domain="qonnx.custom_op.general")]
    return nodes


@pytest.mark.parametrize(
    ("kind", "stay"),
    [
        ("cast and multiply", ["Cast", "Mul"]),
        ("subtract zero point", ["Cast", "Sub", "Mul"]),
        ("dequantize", ["DequantizeLinear"]),
        ("rearranged", ["DequantizeLinear"]),
        ("clip and dequantize", ["Clip", "DequantizeLinear"]),
        ("where", ["GreaterOrEqual", "Where", "Mul"]),
        ("sign of centred", ["Sign"]),
        ("fake quantization", ["Round", "Mul"]),
        ("quantize", ["QuantizeLinear", "DequantizeLinear"]),
        ("bipolar", ["BipolarQuant"]),
    ],
)
def test_quantized_weights_are_not_folded_to_float(build, kind: str, stay: list[str]) -> None:
    constants = {
        "q": np.tile(BYTES, (8, 8)),
        "l": FLOATS,
        "one": ONE,
        "minus": -ONE,
        "zero": ZERO,
        "nil": np.array(0, np.int8),
        "low": np.array(-7, np.int8),
        "high": np.array(7, np.int8),
    }
    nodes = [*weight_chain(build, kind), build.node("MatMul", ["x", "w"], ["y"])]
    imported = build.imported(build.model(nodes, [build.value("x", 1, 64)], ["y"], constants))
    assert imported.operators == [*stay, "MatMul"]


def test_masks_fold(build) -> None:
    """Byte and boolean tables that choose between a score and minus infinity are no weights."""
    mask = np.tril(np.ones((1, 1, 64, 64), np.uint8))
    nodes = [
        build.node("Cast", ["mask"], ["keep"], to=TensorProto.BOOL),
        build.node("Where", ["keep", "zero", "low"], ["additive"]),
        build.node("Add", ["x", "additive"], ["y"]),
    ]
    constants = {"mask": mask, "zero": ZERO, "low": np.array(-np.inf, np.float32)}
    imported = build.imported(build.model(nodes, [build.value("x", 1, 1, 64, 64)], ["y"], constants))
    assert imported.operators == ["Add"]
    np.testing.assert_array_equal(imported.context.store.get("additive"), np.where(mask, 0, -np.inf).astype(np.float32))


def test_random_numbers_stay(build) -> None:
    nodes = [build.node("RandomUniformLike", ["w"], ["r"]), build.node("Add", ["x", "r"], ["y"])]
    imported = build.imported(build.model(nodes, [build.value("x", 2)], ["y"], {"w": np.ones(2, np.float32)}))
    assert imported.operators == ["RandomUniformLike", "Add"]


def test_integer_division_truncates(build) -> None:
    nodes = [build.node("Div", ["a", "b"], ["y"])]
    constants = {"a": np.array([7, -7, 7, -7]), "b": np.array([2, 2, -2, -2])}
    (output,) = build.imported(build.model(nodes, [build.value("x", 1)], ["y"], constants)).outputs()
    np.testing.assert_array_equal(output, [3, -3, -3, 3])


@pytest.mark.parametrize(
    ("start", "end", "step", "expected"),
    [(1, 2**63 - 1, 2, [1, 3, 5]), (-1, -(2**63), -2, [5, 3, 1]), (-3, 100, 1, [3, 4, 5]), (4, 1, 1, [])],
)
def test_slices_clamp(build, start: int, end: int, step: int, expected: list[int]) -> None:
    constants = {"data": np.arange(6)} | {
        name: np.array([item]) for name, item in (("s", start), ("e", end), ("a", 0), ("t", step))
    }
    nodes = [build.node("Slice", ["data", "s", "e", "a", "t"], ["y"])]
    (output,) = build.imported(build.model(nodes, [build.value("x", 1)], ["y"], constants)).outputs()
    np.testing.assert_array_equal(output, expected)
