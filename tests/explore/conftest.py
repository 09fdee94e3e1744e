"""A small model, a space for it, and labelled samples, in files."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from ..compiler.conftest import TOKENS, VOCABULARY, small_model

SPACE = """
[machine]
extends = "tiny"
sram.bytes = { choice = [16384, 32768, 65536] }
dram.bytes_per_cycle = { int = [4, 16], step = 4 }
vector.lanes = { choice = [8, 16] }
[recipe]
precision = { choice = ["model", "bf16", "int8"] }
"""


def fill(folder: Path) -> None:
    """Write model.onnx, space.toml and data.npz into a folder."""
    onnx.save(small_model(), folder / "model.onnx")
    (folder / "space.toml").write_text(SPACE)
    random = np.random.default_rng(0)
    ids, labels = random.integers(0, VOCABULARY, (8, TOKENS)), random.integers(0, 16, (8, TOKENS))
    np.savez(folder / "data.npz", ids=ids, mask=np.ones((8, TOKENS), np.int64), labels=labels)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with those files, which is the current one."""
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path
