"""`--shape`: named dimensions everywhere, unnamed ones where they stand."""

import numpy as np
import pytest
from onnx import TensorProto

from attnc.compiler.importer import import_model, parse_shapes
from attnc.isa.errors import InputError, UsageError


def two_inputs(build):
    """Two inputs that share a batch, a length of the first's own and an unknown extent of the second's."""
    inputs = [build.value("ids", "batch", "length"), build.value("mask", "batch", None)]
    nodes = [build.node("Relu", ["ids"], ["a"]), build.node("Relu", ["mask"], ["b"])]
    return build.model(nodes, inputs, ["a", "b"])


def test_named_dimension_is_fixed_everywhere(build) -> None:
    imported = build.imported(two_inputs(build), {"mask": (2, 7), "ids": (2, 5)})
    assert imported.outputs() == ["tensor<2x5xf32>", "tensor<2x7xf32>"]
    inputs = [build.value("x", "n", 3), build.value("y", "n", 4)]
    model = build.model([build.node("Relu", ["y"], ["z"])], inputs, ["z"])
    assert build.imported(model, {"x": (6, 3)}).outputs() == ["tensor<6x4xf32>"]


def test_missing_dimension_names_the_flags(build) -> None:
    with pytest.raises(InputError) as caught:
        import_model(two_inputs(build))
    assert str(caught.value) == (
        "model: the inputs have dimensions without a size: ids [batch, length], mask [batch, ?]; "
        "give them, for example --shape ids=1x128 --shape mask=1x128"
    )


def test_missing_dimension_uses_what_is_known(build) -> None:
    with pytest.raises(InputError, match=r"--shape mask=3x128$"):
        import_model(two_inputs(build), {"ids": (3, 9)})


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({"ids": (1, 2), "mask": (3, 4)}, "--shape mask=3x4 makes 'batch' 3, and --shape ids=1x2 makes it 1"),
        ({"nobody": (1,)}, "the model's inputs are: ids, mask"),
        ({"ids": (1, 2, 3)}, "--shape ids=1x2x3 has 3 dimensions, and the input has 2: [batch, length]"),
    ],
)
def test_shape_that_does_not_fit(build, shapes: dict[str, tuple[int, ...]], reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        import_model(two_inputs(build), shapes)
    assert reason in str(caught.value)


def test_shape_against_the_models_own(build) -> None:
    model = build.model([build.node("Relu", ["x"], ["y"])], [build.value("x", 2, 3)], ["y"])
    with pytest.raises(UsageError, match="does not fit the model's own"):
        import_model(model, {"x": (2, 4)})
    assert build.imported(model, {"x": (2, 3)}).outputs() == ["tensor<2x3xf32>"]


def test_input_of_unknown_rank(build) -> None:
    model = build.model([build.node("Relu", ["x"], ["y"])], [build.value("x")], ["y"])
    model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(InputError, match="x of unknown rank"):
        import_model(model)
    assert build.imported(model, {"x": (4, 2)}).outputs() == ["tensor<4x2xf32>"]


def test_negative_dimension_is_unknown(build) -> None:
    model = build.model([build.node("Relu", ["x"], ["y"])], [build.value("x", -1, 3)], ["y"])
    with pytest.raises(InputError, match=r"x \[\?, 3\]; give them, for example --shape x=1x3"):
        import_model(model)
    assert build.imported(model, {"x": (5, 3)}).outputs() == ["tensor<5x3xf32>"]


def test_flags_are_read() -> None:
    assert parse_shapes(["ids=1x128", "a=b=3", "scalar="]) == {"ids": (1, 128), "a=b": (3,), "scalar": ()}


@pytest.mark.parametrize("flag", ["ids", "ids=1xn", "=1x2", "ids=1x", "ids=-1x2", "ids=1,2"])
def test_flag_that_is_no_shape(flag: str) -> None:
    with pytest.raises(UsageError, match="write it like --shape input_ids=1x128"):
        parse_shapes([flag])


def test_flag_given_twice() -> None:
    with pytest.raises(UsageError, match="twice"):
        parse_shapes(["a=1", "a=2"])


def test_input_bound_to_a_constant_is_an_input_no_longer(build) -> None:
    inputs = [build.value("x", 2, 6), build.value("shape", 2, element=TensorProto.INT64)]
    model = build.model([build.node("Reshape", ["x", "shape"], ["y"])], inputs, ["y"])
    assert build.imported(model).outputs() == ["tensor<?x?xf32>"]
    imported = build.imported(model, constants={"shape": np.array([3, 4])})
    assert imported.outputs() == ["tensor<3x4xf32>"]
    assert 'onnx.name = "shape"' not in str(imported.module)


@pytest.mark.parametrize(
    ("constants", "reason"),
    [
        ({"nobody": np.zeros(2, np.float32)}, "there is no input 'nobody'"),
        ({"x": np.zeros((2, 2), np.int64)}, "the constant for 'x' is int64, and the input is FLOAT"),
        ({"x": np.zeros((2, 3), np.float32)}, "does not fit"),
    ],
)
def test_constant_that_does_not_fit(build, constants: dict[str, np.ndarray], reason: str) -> None:
    model = build.model([build.node("Relu", ["x"], ["y"])], [build.value("x", 2, 2)], ["y"])
    with pytest.raises(UsageError, match=reason):
        import_model(model, constants=constants)
