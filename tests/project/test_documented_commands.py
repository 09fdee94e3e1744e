"""Every command in the documentation and in `--help` does what it says: it is run, in the order in which it stands."""

import re
import shlex
from argparse import ArgumentParser
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from attnc.compiler.command_line.main import COMMANDS, main
from attnc.compiler.opt import main as opt

ROOT = Path(__file__).parents[2]
PAGES = [path for path in sorted((ROOT / "docs").rglob("*.md")) if re.search(r"^\$? ?attnc", path.read_text(), re.M)]
TOKENS, WIDTH = 128, 16

LONG = {"attention-forms.md", "explore.md", "index.md"}
"""Pages whose commands take longest, and show least that others do not."""

UNTRIED = {
    "pip": "installs",
    "pytest": "is what runs this",
    "dask": "starts a cluster; the tests of exploration do",
    "python": "benchmarks and trainings take minutes",
    "attnc explore": "takes minutes and the extra `explore`, which has tests of its own",
    "attnc machines edge-wide": "needs the example package installed: test_extension does it",
    "attnc asm examples/extension/fill.asm": "likewise",
    "attnc run fill.attn": "likewise",
}
"""Commands that are not run, by how they begin, and why."""


def model() -> onnx.ModelProto:
    """ids and a mask to logits: an embedding, a masked product of the tokens with themselves, a classifier."""
    draw = np.random.default_rng(0).normal
    arrays = {"table": draw(size=(50, WIDTH)), "head": draw(size=(WIDTH, 4)), "scale": np.ones(WIDTH)}
    weights = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()]
    axes = numpy_helper.from_array(np.int64([2]), "axes")
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"], "embedding"),
        helper.make_node("Cast", ["attention_mask"], ["shown"], "mask", to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["shown", "axes"], ["column"], "mask_column"),
        helper.make_node("Mul", ["embedded", "column"], ["kept"], "masking"),
        helper.make_node("Transpose", ["kept"], ["turned"], "turn", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["kept", "turned"], ["scores"], "scores"),
        helper.make_node("Softmax", ["scores"], ["weights"], "softmax"),
        helper.make_node("MatMul", ["weights", "kept"], ["mixed"], "context"),
        helper.make_node("LayerNormalization", ["mixed", "scale"], ["normed"], "norm"),
        helper.make_node("MatMul", ["normed", "head"], ["logits"], "classifier"),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, [1, TOKENS]) for name in ("input_ids", "attention_mask")
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, TOKENS, 4])]
    graph = helper.make_graph(nodes, "documented", inputs, outputs, [*weights, axes])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a reader has: the examples, a model, its program and its data under the names that the pages use."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    onnx.save(model(), "model.onnx")
    ids = np.random.default_rng(1).integers(0, 50, (3, TOKENS))
    data = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    np.savez("inputs.npz", **{name: array[:1] for name, array in data.items()})
    np.savez("masks.npz", attention_mask=data["attention_mask"][:1])
    np.savez("samples.npz", **data)
    for name in ("labelled", "test"):
        np.savez(f"{name}.npz", **data, y_test=np.zeros((3, TOKENS), np.int64))
    (tmp_path / "faster.toml").write_text('extends = "edge"\nname = "faster"\n[dram]\nbytes_per_cycle = 32\n')
    (tmp_path / "file.mlir").write_text("func.func @main() {\n  func.return\n}\n")
    return tmp_path


def prepare() -> None:
    """What an earlier step of the reader's has left: programs, text, a dump, reports."""
    for name in ("model", "float", "int8"):
        run(f"attnc compile model.onnx -o {name}.attn --quiet")
    run("attnc compile examples/digits_vit/model.onnx -o digits.attn --quiet")
    run("attnc compile model.onnx --dump-ir phases --quiet")
    run("attnc disasm model.attn -o model.asm")
    for name in ("yesterday", "before", "after"):
        run(f"attnc run model.attn --random 0 --json {name}.json --quiet")


def commands(text: str) -> Iterator[str]:
    """The commands of fenced blocks of a shell, one by one."""
    for language, block in re.findall(r"^```(sh|console)\n(.*?)^```", text, re.M | re.S):
        for line in block.splitlines():
            if language == "sh" or line.startswith("$ "):
                yield from re.split(r" && | ; ", line.removeprefix("$ "))


def run(command: str) -> None:
    words = shlex.split(command, comments=True)
    if not words or any(" ".join(words).startswith(untried) for untried in UNTRIED):
        return
    program = {"attnc": main, "attnc-opt": opt}.get(words[0])
    assert program is not None, f"{command}: neither run nor excused"
    # Whether values agree within a tolerance is an answer, and depends on the model.
    assert program(words[1:]) in ((0, 1) if words[1] == "compare" else (0,)), command


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(path, id=path.name, marks=[pytest.mark.slow] if path.name in LONG else [])
        for path in (ROOT / "README.md", *PAGES)
    ],
)
def test_commands_of_a_page_run(page: Path, folder: Path) -> None:
    prepare()
    for command in commands(page.read_text()):
        run(command)


def test_examples_of_help_run(folder: Path) -> None:
    prepare()
    for name in COMMANDS:
        parser = ArgumentParser()
        import_module(f"attnc.compiler.command_line.{name.replace('-', '_')}").add_arguments(parser)
        examples = re.findall(r"^  (attnc .*)$", parser.epilog or "", re.M)
        assert examples, f"{name} --help shows no example"
        for example in examples:
            run(example)
