"""Whatever is no valid model is one clear sentence."""

from contextlib import suppress
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from attnc.compiler.importer import import_model
from attnc.isa.errors import InputError


def relu(build) -> onnx.ModelProto:
    return build.model([build.node("Relu", ["x"], ["y"], "relu")], [build.value("x", 2, 3)], ["y"])


def refused(source: object) -> str:
    with pytest.raises(InputError) as caught:
        import_model(source)
    text = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"this is no model, only a sentence\n", "is not an ONNX model"),
        (b"\x00" * 64, "is not an ONNX model"),
        (b"PK\x03\x04" + bytes(60), "is not an ONNX model"),
        (onnx.ModelProto(ir_version=10).SerializeToString(), "it has no graph"),
    ],
)
def test_file_that_is_no_model(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    text = refused(path)
    assert reason in text
    assert str(path) in text


def test_truncated_anywhere(build) -> None:
    whole = relu(build).SerializeToString()
    for size in range(1, len(whole)):
        refused(whole[:size])


def test_every_flipped_byte_is_an_error_or_a_model(build) -> None:
    whole = relu(build).SerializeToString()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        with suppress(InputError):
            import_model(bytes(damaged))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "nothing.onnx")
    assert "is not a file" in refused(tmp_path)


def test_newer_operator_set(build) -> None:
    newest = onnx.defs.onnx_opset_version()
    model = relu(build)
    model.opset_import[0].version = newest + 1
    assert f"operator set {newest + 1}" in refused(model)


def test_newer_ir_version_is_read(build) -> None:
    model = relu(build)
    model.ir_version = 99
    assert build.imported(model).operators == ["Relu"]


def test_no_operator_set(build) -> None:
    model = relu(build)
    del model.opset_import[:]
    assert "names no operator set" in refused(model)


def test_unused_operator_sets_are_accepted(build) -> None:
    model = relu(build)
    for domain in ("ai.onnx.ml", "com.microsoft.nchwc", "org.pytorch.aten", "nobody.knows"):
        model.opset_import.append(helper.make_opsetid(domain, 1))
    assert build.imported(model).operators == ["Relu"]


def test_cycle(build) -> None:
    nodes = [build.node("Add", ["x", "b"], ["a"], "first"), build.node("Relu", ["a"], ["b"], "second")]
    assert "a cycle through 'first', 'second'" in refused(build.model(nodes, [build.value("x", 2)], ["b"]))


def test_missing_input_is_named_with_its_reader(build) -> None:
    model = build.model([build.node("Add", ["x", "nothing"], ["y"], "add")], [build.value("x", 2)], ["y"])
    assert "node 'add' reads 'nothing', which nothing makes" in refused(model)


def test_missing_output(build) -> None:
    model = build.model([build.node("Relu", ["x"], ["y"])], [build.value("x", 2)], ["z"])
    assert "'z', which nothing makes" in refused(model)


def test_value_made_twice(build) -> None:
    nodes = [build.node("Relu", ["x"], ["y"]), build.node("Neg", ["x"], ["y"], "again")]
    assert "'y' is made twice, the second time by node 'again'" in refused(
        build.model(nodes, [build.value("x", 2)], ["y"])
    )


def test_unsorted_nodes_are_sorted(build) -> None:
    nodes = [build.node("Neg", ["a"], ["b"], "late"), build.node("Relu", ["x"], ["a"], "early")]
    assert build.imported(build.model(nodes, [build.value("x", 2)], ["b"])).operators == ["Relu", "Neg"]


def test_unknown_operator(build) -> None:
    model = build.model([build.node("Rellu", ["x"], ["y"], "node")], [build.value("x", 2)], ["y"])
    assert "node 'node' is a Rellu, which operator set 22 does not have" in refused(model)


def test_shapes_that_do_not_fit(build) -> None:
    inputs = [build.value("a", 2, 3), build.value("b", 4, 5)]
    model = build.model([build.node("MatMul", ["a", "b"], ["y"], "product")], inputs, ["y"])
    assert "node 'product' (MatMul): Incompatible dimensions" in refused(model)


def test_missing_operand_and_attribute(build) -> None:
    model = build.model([build.node("Add", ["x"], ["y"], "add")], [build.value("x", 2)], ["y"])
    assert "node 'add' (Add)" in refused(model)
    model = build.model([build.node("Concat", ["x"], ["y"], "concat")], [build.value("x", 2)], ["y"])
    assert "'axis'" in refused(model)


def test_tensor_whose_data_does_not_fit_its_shape(build) -> None:
    model = build.model([build.node("Add", ["x", "w"], ["y"])], [build.value("x", 2)], ["y"])
    model.graph.initializer.append(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], raw_data=bytes(12)))
    assert "the tensor 'w' has 12 bytes of data, and its shape [4] needs 16" in refused(model)


def test_old_broadcasting_forms_are_refused(build) -> None:
    model = build.model([build.node("Add", ["x", "x"], ["y"], "add")], [build.value("x", 2)], ["y"], opset=6)
    assert "node 'add' is a Add of operator set 6" in refused(model)
