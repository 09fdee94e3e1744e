"""The page of a run as a file: whole in itself, the same for the same run, safe whatever the nodes are called."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from attnc.compiler.command_line.main import main
from attnc.isa.program import Program
from attnc.runtime.pages.run_page import run_page
from attnc.runtime.session import Session

STYLES = Path(__file__).parents[2] / "runtime" / "pages" / "static" / "page.css"


def report_in(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="report">(.*?)</script>', page, re.S)[1])


def test_page_holds_all_that_it_needs(digits: Path) -> None:
    page = (digits / "run.html").read_text()
    assert len(page) < 6e6
    head, _, _ = page.partition('id="timeline-data"')
    assert not re.search(r'(src|href)="(?!#|data:)', head)
    assert "limited by" in head


def test_page_shows_the_report_of_the_json_file(digits: Path) -> None:
    result = Session(Program.load(digits / "digits.attn"), name="digits.attn").run(mode="timing")
    told = report_in(run_page(result))
    wanted = json.loads(json.dumps(result.to_dict()))
    assert told == wanted
    assert told == report_in(run_page(result))


def test_names_are_text_whatever_they_hold(digits: Path) -> None:
    program = Program.load(digits / "digits.attn")
    hostile = "</script><b onclick=alert(1)>&quot;"
    nodes = (replace(program.nodes[0], name=hostile), *program.nodes[1:])
    page = run_page(Session(replace(program, nodes=nodes)).run(mode="timing"))
    assert hostile not in page
    assert report_in(page)["nodes"][0]["node"] == hostile


def test_a_program_without_nodes_has_a_page(digits: Path) -> None:
    program = replace(Program.load(digits / "digits.attn"), nodes=(), source_offsets=[], source_nodes=[], folded=())
    assert report_in(run_page(Session(program).run(mode="timing")))["nodes"] == []


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--mode", "values", "--report", "page.html"], "need timing"),
        (["--ir", "phases"], "goes with --report"),
        (["--report", "page.html", "--ir", "nowhere"], "holds no phases"),
        (["--report", "nowhere/page.html"], "its folder does not exist"),
    ],
)
def test_what_cannot_be_shown_is_one_error(digits: Path, capsys, monkeypatch, words, reason) -> None:
    monkeypatch.chdir(digits)
    assert main(["run", "digits.attn", "--random", "0", *words]) == 2
    assert reason in capsys.readouterr().err
    assert not Path("page.html").exists()


def test_phases_of_another_program_are_refused(digits: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    other = tmp_path / "06-emit.asm"
    other.write_text(f'# .data "program" digest={64 * "0"}\n')
    monkeypatch.chdir(tmp_path)
    words = ["run", str(digits / "digits.attn"), "--random", "0", "--report", "page.html", "--ir", str(tmp_path)]
    assert main(words) == 2
    assert "is of another program" in capsys.readouterr().err


def luminance(colour: str) -> float:
    parts = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_stands_out_in_light_and_dark(scheme: int) -> None:
    # WCAG 2.2, success criterion 1.4.3: at least 4.5 to 1.
    colours = [dict(re.findall(r"--(\w+): (#\w{6});", part)) for part in STYLES.read_text().split("@media")[:2]][scheme]
    for text in ("ink", "soft", "accent", "good", "bad"):
        for ground in ("paper", "panel"):
            light, dark = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)
