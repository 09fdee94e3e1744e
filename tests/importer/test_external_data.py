"""Weights in files beside the model: read where they are, and never elsewhere."""

import mmap
from pathlib import Path

import numpy as np
import onnx
import pytest

from attnc.compiler.importer import import_model
from attnc.isa.errors import InputError

WEIGHT = np.arange(4096, dtype=np.float32).reshape(64, 64)


def written(build, folder: Path, location: str = "weights.bin") -> Path:
    """A model beside its weights; its entry then says `location`."""
    model = build.model(
        [build.node("MatMul", ["x", "w"], ["y"], "product")], [build.value("x", 1, 64)], ["y"], {"w": WEIGHT}
    )
    path = folder / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    saved = onnx.load(path, load_external_data=False)
    for entry in saved.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    path.write_bytes(saved.SerializeToString())
    return path


def mapping_of(array: np.ndarray) -> bool:
    """Whether the array's bytes are those of a mapped file."""
    holder: object = array
    while isinstance(holder, np.ndarray):
        holder = holder.base
    return isinstance(holder, memoryview) and isinstance(holder.obj, mmap.mmap)


def refused(path: Path | onnx.ModelProto) -> str:
    with pytest.raises(InputError) as caught:
        import_model(path)
    return str(caught.value)


def test_weights_are_mapped(build, tmp_path: Path) -> None:
    imported = build.imported(written(build, tmp_path))
    array = imported.context.store.get("w")
    np.testing.assert_array_equal(array, WEIGHT)
    assert mapping_of(array)


def test_large_weights_inside_the_model_are_mapped(build, tmp_path: Path) -> None:
    nodes = [build.node("MatMul", ["x", "w"], ["y"]), build.node("Add", ["y", "b"], ["z"])]
    bias = np.arange(64, dtype=np.float32)
    model = build.model(nodes, [build.value("x", 1, 64)], ["z"], {"b": bias, "w": WEIGHT})
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    store = build.imported(path).context.store
    np.testing.assert_array_equal(store.get("w"), WEIGHT)
    np.testing.assert_array_equal(store.get("b"), bias)
    assert mapping_of(store.get("w"))
    assert not mapping_of(store.get("b"))


@pytest.mark.parametrize("location", ["../weights.bin", "inner/../../weights.bin", "/etc/hostname"])
def test_path_that_leaves_the_folder(build, tmp_path: Path, location: str) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    path = written(build, folder, location)
    (tmp_path / "weights.bin").write_bytes((folder / "weights.bin").read_bytes())
    assert f"{location!r} is outside the model's folder" in refused(path)


def test_link_that_leaves_the_folder(build, tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    path = written(build, folder)
    (folder / "weights.bin").rename(tmp_path / "weights.bin")
    (folder / "weights.bin").symlink_to(tmp_path / "weights.bin")
    assert "is outside the model's folder" in refused(path)


def test_link_to_a_folder_that_leaves_the_folder(build, tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    path = written(build, folder, "link/weights.bin")
    (tmp_path / "weights.bin").write_bytes((folder / "weights.bin").read_bytes())
    (folder / "link").symlink_to(tmp_path)
    assert "is outside the model's folder" in refused(path)


def test_link_inside_the_folder_is_followed(build, tmp_path: Path) -> None:
    path = written(build, tmp_path)
    (tmp_path / "weights.bin").rename(tmp_path / "real.bin")
    (tmp_path / "weights.bin").symlink_to("real.bin")
    np.testing.assert_array_equal(build.imported(path).context.store.get("w"), WEIGHT)


def test_missing_short_and_unnamed_files(build, tmp_path: Path) -> None:
    path = written(build, tmp_path)
    (tmp_path / "weights.bin").write_bytes(bytes(100))
    assert "ends at byte 16384 of 'weights.bin', which has 100" in refused(path)
    (tmp_path / "weights.bin").unlink()
    assert "no file 'weights.bin'" in refused(path)
    assert "names no file" in refused(written(build, tmp_path, ""))


def test_folder_as_a_file(build, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert "no file 'folder'" in refused(written(build, tmp_path, "folder"))


def test_offset_that_is_no_number(build, tmp_path: Path) -> None:
    path = written(build, tmp_path)
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        entry.value = "-1" if entry.key == "offset" else entry.value
    path.write_bytes(model.SerializeToString())
    assert "its offset '-1' is not a number of bytes" in refused(path)


def test_model_without_a_folder(build, tmp_path: Path) -> None:
    model = onnx.load(written(build, tmp_path), load_external_data=False)
    assert "give the model's path" in refused(model)
