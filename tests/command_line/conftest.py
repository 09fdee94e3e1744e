"""Commands run in this process, with what they print and what they leave in the folder."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

from attnc.compiler.command_line.main import main

from ..compiler.conftest import SHAPES, TOKENS, VOCABULARY, small_model

SHAPE = [word for name, shape in SHAPES.items() for word in ("--shape", f"{name}={'x'.join(map(str, shape))}")]


@dataclass(frozen=True)
class Outcome:
    """What a command gave: its exit code and what it printed."""

    status: int
    out: str
    err: str


@pytest.fixture
def attnc(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs a command."""

    def run(*words: str | Path) -> Outcome:
        capsys.readouterr()
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Outcome(status, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, its program, inputs and calibration samples."""
    folder = tmp_path_factory.mktemp("originals")
    onnx.save(small_model(), folder / "model.onnx")
    assert main(["compile", str(folder / "model.onnx"), "-o", str(folder / "model.attn"), *SHAPE, "--quiet"]) == 0
    random = np.random.default_rng(1)
    ids, mask = random.integers(0, VOCABULARY, (1, TOKENS)), np.ones((1, TOKENS), np.int64)
    np.savez(folder / "inputs.npz", ids=ids, mask=mask)
    np.savez(folder / "samples.npz", ids=ids.repeat(3, 0), mask=mask.repeat(3, 0))
    return folder


@pytest.fixture
def folder(originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh copy of those files, which is the current folder."""
    for path in originals.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listing(folder: Path) -> dict[str, bytes]:
    """Every file of a folder with its content."""
    return {os.path.relpath(path, folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
