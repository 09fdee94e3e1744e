"""Runs every .mlir file of this folder as lit would: its RUN lines, in this process."""

import shlex
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path

import pytest
from filecheck.matcher import Matcher
from filecheck.options import parse_argv_options

from attnc.compiler.opt import main

FILES = sorted(Path(__file__).parent.rglob("*.mlir"))


def run_lines(path: Path) -> list[str]:
    """The commands of a file, `%s` replaced by its path."""
    lines = [line.partition("RUN:")[2].strip() for line in path.read_text().splitlines() if "RUN:" in line]
    assert lines, f"{path} has no RUN line"
    return [line.replace("%s", str(path)) for line in lines]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(Path(__file__).parent)))
def test_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in run_lines(path):
        text = ""
        for index, command in enumerate(line.split(" | ")):
            words = shlex.split(command)
            monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(text.encode())))
            output, errors = StringIO(), StringIO()
            with redirect_stdout(output), redirect_stderr(errors):
                if words[0] == "attnc-opt":
                    status = main(words[1:])
                else:
                    assert words[0] == "filecheck", f"{path}: unknown command {words[0]}"
                    status = Matcher.from_opts(parse_argv_options(words)).run()
            text = output.getvalue()
            assert status == 0, f"command {index} of `{line}` failed:\n{errors.getvalue()}{text}"
