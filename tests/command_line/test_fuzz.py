"""Two hundred broken inputs for every command: no traceback, a sentence and an exit code, nothing half-written."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from attnc.compiler.command_line.main import COMMANDS as KNOWN
from attnc.compiler.command_line.main import main

from .conftest import SHAPE, listing
from .fuzzing import ALONE, COMMANDS, MACHINE, RECIPE, SPACE, fuzzed

EACH = 200
STUDY = "new.db"
SHARE = 8
"""Cases of each command in the quick tests; the slow ones do them all."""


@pytest.fixture(scope="session")
def right(originals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file that the commands read, all of them right."""
    folder = tmp_path_factory.mktemp("right")
    shutil.copytree(originals, folder, dirs_exist_ok=True)
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "machine.toml").write_text(MACHINE)
    (folder / "space.toml").write_text(SPACE)
    (folder / "alone.asm").write_text(ALONE)
    with np.load(folder / "samples.npz") as samples:
        labels = np.zeros((3, 6), np.int64)
        np.savez(folder / "labelled.npz", **samples, labels=labels)
    here = Path.cwd()
    os.chdir(folder)
    try:
        assert main(["compile", "model.onnx", *SHAPE, "--dump-ir", "phases", "--quiet"]) == 0
        assert main(["disasm", "model.attn", "-o", "model.asm"]) == 0
        assert main(["run", "model.attn", "--random", "0", "--json", "report.json", "--quiet"]) == 0
    finally:
        os.chdir(here)
    (folder / "taken").mkdir()
    (folder / "locked").mkdir(mode=0o500)
    return folder


@pytest.fixture
def folder(right: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where cases are tried: the current folder, empty yet."""
    place = tmp_path / "case"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def fresh(right: Path, folder: Path, content: dict[str, bytes]) -> None:
    """Make the folder what it was."""
    for name, data in listing(folder).items():
        if content.get(name) != data:
            (folder / name).unlink()
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not (right / path.relative_to(folder)).is_dir():
            path.rmdir()
    for name, data in content.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_bytes(data)
    for name in ("taken", "locked"):
        (folder / name).mkdir(exist_ok=True)


def check(command: str, right: Path, folder: Path, numbers: range, capsys: pytest.CaptureFixture[str]) -> None:
    content = listing(right)
    for number in numbers:
        fresh(right, folder, content)
        case = fuzzed(COMMANDS[command], folder, number)
        before = listing(folder)
        told = f"case {number} of {command}: {case.wrong}: {case.words}"
        try:
            status = main(case.words)
        except BaseException as error:
            raise AssertionError(f"{told}: {type(error).__name__}: {error}") from error
        captured = capsys.readouterr()
        assert status in (0, 1, 2), told
        # A study keeps what a search has done, however it ended.
        after = {name: data for name, data in listing(folder).items() if not name.startswith(STUDY)}
        if status == 2:
            assert captured.err, told
            assert captured.out == "", told
            assert after == before, f"{told}: it left {set(after) ^ set(before)}"
        if captured.err.startswith("error["):
            assert status == int(captured.err[7]), told
        assert {name: after.get(name) for name in before} == before, f"{told}: a file was changed"


@pytest.mark.parametrize("command", COMMANDS)
def test_right_use_is_right(command: str, right: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fresh(right, folder, listing(right))
    assert main(list(COMMANDS[command])) == 0, capsys.readouterr().err


def test_every_command_is_fuzzed() -> None:
    assert {words[0] for words in COMMANDS.values()} == set(KNOWN)


@pytest.mark.parametrize("command", COMMANDS)
def test_some_broken_inputs(command: str, right: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(command, right, folder, range(SHARE), capsys)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_all_broken_inputs(command: str, right: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(command, right, folder, range(SHARE, EACH), capsys)


WRITING = [command for command, words in COMMANDS.items() if any(word.startswith("new") for word in words[1:])]


@pytest.mark.parametrize("command", [name for name in WRITING if name != "explore"])
@pytest.mark.parametrize("room", [0, 100])
def test_a_full_disk_leaves_what_was_there(
    command: str, room: int, right: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No file may become longer than `room` bytes, as where a disk has no more."""
    fresh(right, folder, listing(right))
    before = listing(folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        status = main(list(COMMANDS[command]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    captured = capsys.readouterr()
    assert status == 2
    assert captured.err.startswith("error[E206]: new")
    assert "File too large" in captured.err
    assert listing(folder) == before


@pytest.mark.parametrize(
    "words", [["explain"], ["inspect", "model.attn"], ["disasm", "model.attn", "-o", "/dev/full"]], ids=" ".join
)
def test_a_full_device_is_one_sentence(words: list[str], right: Path, folder: Path) -> None:
    fresh(right, folder, listing(right))
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "attnc", *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert done.stderr.startswith("error[E206]: ")
    assert done.stderr.count("\n") == 1
    assert Path("/dev/full").is_char_device()


def test_a_link_stays_a_link_to_what_is_written(right: Path, folder: Path) -> None:
    fresh(right, folder, listing(right))
    (folder / "new.asm").symlink_to("taken/far.asm")
    assert main(list(COMMANDS["disasm"])) == 0
    assert (folder / "new.asm").is_symlink()
    assert (folder / "taken" / "far.asm").read_text().startswith(".data")
