"""Whatever a user gets wrong is one clear sentence, an exit code, and nothing lost or half-written."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from attnc.isa.container import container_parts, read_container

from .conftest import SHAPE, Outcome, listing

Prepare = Callable[[Path], None]


def refused(found: Outcome, status: int, reason: str) -> None:
    """One sentence on stderr, nothing on stdout."""
    assert found.status == status
    assert found.out == ""
    assert reason in found.err
    assert found.err.startswith("error[E")
    assert found.err.count("\n") == 1


def truncated(folder: Path) -> None:
    content = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(content[: len(content) // 2])


def external(place: str) -> Prepare:
    """A model whose weight lies at `place`."""

    def prepare(folder: Path) -> None:
        (folder.parent / "outside.bin").write_bytes(bytes(64))
        tensor = numpy_helper.from_array(np.zeros(16, np.float32), "w")
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=place)
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [16]) for name in "xy"]
        node = helper.make_node("Add", ["x", "w"], ["y"], "add")
        graph = helper.make_graph([node], "external", values[:1], values[1:], [tensor])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        (folder / "model.onnx").write_bytes(model.SerializeToString())

    return prepare


def content(data: bytes) -> Prepare:
    return lambda folder: (folder / "model.onnx").write_bytes(data) and None


MODELS = {
    "truncated": (truncated, "is not an ONNX model, or it is cut off"),
    "text": (content(b"not a model at all\n"), "is not an ONNX model"),
    "zero bytes": (content(b""), "the file is empty"),
    "missing": (lambda folder: (folder / "model.onnx").unlink(), "there is no such file"),
    "outside": (external("../outside.bin"), "model.onnx"),
    "absolute": (external("/etc/hostname"), "model.onnx"),
    "missing data": (external("weights.bin"), "model.onnx"),
}


@pytest.mark.parametrize("command", ["compile", "check", "compare"])
@pytest.mark.parametrize("case", MODELS)
def test_model_that_cannot_be_read(attnc, folder: Path, command: str, case: str) -> None:
    prepare, reason = MODELS[case]
    prepare(folder)
    before = listing(folder)
    output = ["-o", "new.attn"] if command == "compile" else []
    shape = [] if case in ("outside", "absolute", "missing data") else SHAPE
    refused(attnc(command, "model.onnx", *output, *shape), 2, reason)
    assert listing(folder) == before


def flip(folder: Path) -> None:
    data = bytearray((folder / "model.attn").read_bytes())
    data[len(data) // 2] ^= 0x10
    (folder / "model.attn").write_bytes(data)


def metadata(key: str, value: object) -> Prepare:
    """Another value in the program's metadata, its digest made right again."""

    def prepare(folder: Path) -> None:
        path = folder / "model.attn"
        found, tensors = read_container(path.read_bytes(), str(path))
        del found["digest"]
        path.write_bytes(b"".join(container_parts(found | {key: value}, tensors)))

    return prepare


def program(data: bytes) -> Prepare:
    return lambda folder: (folder / "model.attn").write_bytes(data) and None


PROGRAMS = {
    "flipped byte": (flip, "its digest does not match"),
    "other version": (metadata("format_version", 99), "has format version 99"),
    "other instruction set": (metadata("isa", "0" * 16), "was compiled for instruction set"),
    "text": (program(b"no program\n" * 20), "is not an attnc program"),
    "zero bytes": (program(b""), "is not an attnc program"),
    "missing": (lambda folder: (folder / "model.attn").unlink(), "cannot be read"),
    "folder": (lambda folder: ((folder / "model.attn").unlink(), (folder / "model.attn").mkdir()), "cannot be read"),
}


@pytest.mark.parametrize("words", [["run", "--random", "0"], ["inspect"], ["disasm", "-o", "new.asm"]], ids=str)
@pytest.mark.parametrize("case", PROGRAMS)
def test_program_that_cannot_be_read(attnc, folder: Path, words: list[str], case: str) -> None:
    prepare, reason = PROGRAMS[case]
    prepare(folder)
    before = listing(folder)
    refused(attnc(words[0], "model.attn", *words[1:]), 2, reason)
    assert listing(folder) == before


def save(**arrays: np.ndarray) -> Prepare:
    return lambda folder: np.savez(folder / "inputs.npz", **arrays)


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def damaged_entry(folder: Path) -> None:
    """Compressed arrays with a flipped byte in the first one."""
    path = folder / "inputs.npz"
    np.savez_compressed(path, ids=IDS, mask=MASK)
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF
    path.write_bytes(content)


IDS, MASK = np.zeros((1, 6), np.int64), np.ones((1, 6), np.int64)
INPUTS = {
    "no npz": (lambda folder: (folder / "inputs.npz").write_text("x = 1"), 2, "is not an npz file"),
    "cut off": (lambda folder: cut(folder / "inputs.npz"), 2, "is not an npz file"),
    "damaged": (damaged_entry, 2, "is not an npz file"),
    "objects": (lambda folder: np.savez(folder / "inputs.npz", ids=np.array([{}])), 2, "is not an npz file"),
    "one array": (lambda folder: np.save((folder / "inputs.npz").open("wb"), IDS), 2, "holds one array"),
    "missing file": (lambda folder: (folder / "inputs.npz").unlink(), 2, "cannot be read"),
    "missing name": (save(ids=IDS), 2, "'mask'"),
    "unknown name": (save(ids=IDS, mask=MASK, token=IDS), 2, "'token'"),
    "wrong type": (save(ids=IDS.astype(np.float32), mask=MASK), 2, "float32"),
    "wrong shape": (save(ids=np.zeros((1, 7), np.int64), mask=MASK), 2, "1x7"),
    "wrong rank": (save(ids=np.zeros(6, np.int64), mask=MASK), 2, "ids"),
    "id out of range": (save(ids=IDS + 10, mask=MASK), 1, "10"),
    "id beyond int32": (save(ids=IDS + 2**40, mask=MASK), 1, str(2**40)),
}


@pytest.mark.parametrize("case", INPUTS)
def test_inputs_that_do_not_fit(attnc, folder: Path, case: str) -> None:
    prepare, status, reason = INPUTS[case]
    prepare(folder)
    before = listing(folder)
    found = attnc("run", "model.attn", "--input", "inputs.npz", "--output", "out.npz", "--json", "r.json")
    refused(found, status, reason)
    assert listing(folder) == before


OUTPUTS = [
    (["compile", "model.onnx", *SHAPE, "-o"], "new"),
    (["run", "model.attn", "--random", "0", "--output"], "new"),
    (["run", "model.attn", "--random", "0", "--json"], "new"),
    (["run", "model.attn", "--random", "0", "--instructions"], "new"),
    (["disasm", "model.attn", "-o"], "new"),
    (["asm", "model.asm", "-o"], "new"),
]


@pytest.mark.parametrize(("words", "_"), OUTPUTS, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
@pytest.mark.parametrize(("place", "reason"), [("taken", "it is a folder"), ("none/new", "its folder does not exist")])
def test_output_that_cannot_be_written(attnc, folder: Path, words: list[str], _: str, place: str, reason: str) -> None:
    (folder / "taken").mkdir()
    (folder / "model.asm").write_text('.machine "edge"\n')
    before = listing(folder)
    refused(attnc(*words, place), 2, reason)
    assert listing(folder) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_output_in_a_folder_without_permission(attnc, folder: Path) -> None:
    (folder / "locked").mkdir(mode=0o500)
    refused(attnc("compile", "model.onnx", *SHAPE, "-o", "locked/new.attn"), 2, "permission denied")


def test_disk_that_fails_leaves_what_was_there(attnc, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = listing(folder)
    monkeypatch.setattr(Path, "replace", full)
    refused(attnc("compile", "model.onnx", *SHAPE, "-o", "model.attn", "--quiet"), 2, "No space left on device")
    assert listing(folder) == before


@pytest.mark.parametrize(
    "words",
    [
        ["compile", "model.onnx", *SHAPE, "-o", "model.onnx"],
        ["run", "model.attn", "--input", "inputs.npz", "--output", "inputs.npz"],
        ["run", "model.attn", "--random", "0", "--json", "model.attn"],
        ["run", "model.attn", "--random", "0", "--json", "same", "--output", "./same"],
        ["disasm", "model.attn", "-o", "model.attn"],
    ],
    ids=" ".join,
)
def test_outputs_never_replace_an_input_or_each_other(attnc, folder: Path, words: list[str]) -> None:
    before = listing(folder)
    refused(attnc(*words), 2, "name another file")
    assert listing(folder) == before


USAGE = [
    (["compile", "model.onnx", *SHAPE, "--machine", "laptop"], "no machine of this name"),
    (["run", "model.attn", "--random", "0", "--machine", "laptop"], "no machine of this name"),
    (["machines", "laptop"], "no machine of this name"),
    (["compile", "model.onnx", "--shape", "ids"], "--shape 'ids' is not understood; write NAME=1x128"),
    (["compile", "model.onnx", "--shape", "ids=1x-6"], "is not understood"),
    (["compile", "model.onnx", "--shape", "ids=1y6"], "is not understood"),
    (["compile", "model.onnx", "--shape", "=1x6"], "is not understood"),
    (["compile", "model.onnx", "--shape", "ids=1x6", "--shape", "ids=2x6"], "gives 'ids' twice"),
    (["compile", "model.onnx", "--shape", "nobody=1x6"], "nobody"),
    (["compile", "model.onnx", "--shape", "ids=1x7"], "ids"),
    (["compile", "model.onnx"], "--shape"),
    (["compile", "model.onnx", *SHAPE, "--stop-after", "lower"], "there is no phase 'lower'"),
    (["compile", "model.onnx", *SHAPE, "--start-from", "graph"], "was settled when the folder was written"),
    (["compile", "model.onnx", "--start-from", "graph"], "compilation.json: cannot be read"),
    (["compile", "model.onnx", *SHAPE, "--calibrate", "samples.npz"], "int8 and formats of fewer bits only"),
    (["compile", "model.onnx", *SHAPE, "--precision", "int8", "--calibrate", "none.npz"], "cannot be read"),
    (["compile", "model.onnx", *SHAPE, "--recipe", "none.toml"], "cannot be read"),
    (["compile", "model.onnx", *SHAPE, "--recipe", "odd.toml"], "recipe has no key 'precison'"),
    (["compile", "model.onnx", *SHAPE, "--recipe", "lost.toml"], "'decoder.*' matches no product"),
    (["run", "model.attn"], "none given"),
    (["run", "model.attn", "--random", "0", "--until", "3"], "--until goes with --log"),
    (["run", "model.attn", "--random", "0", "--log", "--until", "-1"], "--until counts instructions"),
    (["run", "model.attn", "--random", "0", "--log", "--json", "-"], "would both write to stdout"),
    (["run", "model.attn", "--random", "0", "--mode", "values", "--log"], "need timing"),
    (["run", "model.attn", "--mode", "timing", "--output", "o.npz"], "--output needs values"),
    (["asm", "odd.asm", "-o", "new.attn"], "odd.asm:1:"),
    (["asm", "none.asm", "-o", "new.attn"], "cannot be read"),
]


@pytest.mark.parametrize(
    ("words", "reason"), USAGE, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_wrong_usage(attnc, folder: Path, words: list[str], reason: str) -> None:
    (folder / "odd.toml").write_text("precison = 'int8'\n")
    (folder / "lost.toml").write_text("[[layer]]\nmatch = 'decoder.*'\nprecision = 'int8'\n")
    (folder / "odd.asm").write_text("this is no assembly\n")
    before = listing(folder)
    refused(attnc(*words), 2, reason)
    assert listing(folder) == before


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["optimize", "model.onnx"],
        ["compile"],
        ["compile", "model.onnx", "--precision", "int9"],
        ["run", "model.attn", "--random", "zero"],
        ["run", "model.attn", "--random", "0", "--input", "inputs.npz"],
        ["asm", "model.asm"],
        ["inspect", "model.attn", "--colour"],
    ],
    ids=" ".join,
)
def test_words_that_are_no_command(attnc, folder: Path, words: list[str]) -> None:
    found = attnc(*words)
    assert found.status == 2
    assert found.out == ""
    assert "attnc" in found.err


def test_unsupported_model_lists_all_nodes_and_exits_1(attnc, folder: Path) -> None:
    nodes = [helper.make_node("NonZero", ["x"], [f"n{i}"], f"odd_{i}") for i in range(2)]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    outputs = [helper.make_tensor_value_info(f"n{i}", TensorProto.INT64, None) for i in range(2)]
    graph = helper.make_graph(nodes, "odd", [x], outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), "odd.onnx")
    checked = attnc("check", "odd.onnx")
    assert checked.status == 1
    assert checked.err == ""
    found = json.loads(attnc("check", "odd.onnx", "--json").out)
    assert not found["supported"]
    compiled = attnc("compile", "odd.onnx", "-o", "odd.attn")
    assert compiled.status == 1
    assert compiled.out == ""
    for name in ("odd_0", "odd_1"):
        assert name in checked.out
        assert name in compiled.err
    assert not (folder / "odd.attn").exists()


@pytest.mark.parametrize("command", ["compile", "run"])
def test_interruption_ends_with_130_and_leaves_nothing(
    attnc, folder: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    before = listing(folder)
    words = {
        "compile": ["compile", "model.onnx", *SHAPE, "-o", "new.attn", "--quiet"],
        "run": ["run", "model.attn", "--random", "0", "--output", "out.npz", "--quiet"],
    }
    found = attnc(*words[command])
    assert (found.status, found.out, found.err) == (130, "", "interrupted\n")
    assert listing(folder) == before
