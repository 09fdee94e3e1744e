"""The README's first command does what it shows."""

import re
from pathlib import Path

import pytest

from attnc.compiler.command_line.main import main

ROOT = Path(__file__).parents[2]


def test_first_command_prints_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = next(
        line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("pip install . &&")
    )
    steps = [step.strip().split()[1:] for step in command.split("&&")[1:]]
    monkeypatch.chdir(ROOT)
    for words in steps:
        assert main([str(tmp_path / word) if word == "digits.attn" else word for word in words]) == 0
    printed = capsys.readouterr().out
    assert "greatest at 0" in printed
    assert re.search(r"latency, cold +[\d,]+ cycles", printed)
    assert re.search(r"energy +[\d.]+ uJ", printed)


def test_links_lead_to_files() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
