"""Every command of docs/reports.md does what it says."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from attnc.compiler.command_line.main import main

ROOT = Path(__file__).parents[2]


def test_commands_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "examples" / "digits_vit" / "model.onnx", tmp_path / "model.onnx")
    shutil.copy(ROOT / "examples" / "digits_vit" / "first_image.npz", tmp_path / "inputs.npz")
    monkeypatch.chdir(tmp_path)
    block = re.search(r"```sh\n(.*?)```", (ROOT / "docs" / "reports.md").read_text(), re.S)
    assert block is not None
    for line in block[1].splitlines():
        words = shlex.split(line, comments=True)[1:]
        assert main(words) == 0, line
    for page in ("run.html", "compare.html", "diff.html"):
        assert Path(page).stat().st_size > 4e6
