"""What changed between two runs: programs, reports read back, and the page of both."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attnc.compiler.command_line.main import main
from attnc.isa.errors import InputError
from attnc.isa.program import Program
from attnc.runtime.difference import Difference
from attnc.runtime.pages.difference_page import difference_page
from attnc.runtime.report import Report
from attnc.runtime.report_file import read_report, report_of
from attnc.runtime.session import Session


def run_of(program: Program) -> Report:
    return Session(program).run(mode="timing").report


@pytest.fixture(scope="module")
def program(digits: Path) -> Program:
    return Program.load(digits / "digits.attn")


@pytest.fixture(scope="module")
def difference(program: Program) -> Difference:
    """The digits Transformer on its machine, and on one whose DRAM has half the bandwidth."""
    machine = replace(program.machine, name="half", dram=replace(program.machine.dram, bytes_per_cycle=8))
    return Difference(run_of(program), run_of(replace(program, machine=machine)))


def test_a_report_is_read_back_as_it_was(program: Program) -> None:
    report = run_of(program)
    again = report_of(json.loads(json.dumps(report.to_dict())))
    assert again == report
    assert again.changes == report.changes


def test_a_run_does_not_differ_from_itself(program: Program) -> None:
    found = Difference(run_of(program), run_of(program))
    assert found.settings == ()
    assert all(item.before == item.after for item in found.figures)
    assert not any(node.change(field) for node in found.nodes for field in ("critical_cycles", "cycles", "energy_pj"))


def test_what_changed_is_named(difference: Difference) -> None:
    assert {item.key: (item.before, item.after) for item in difference.settings} == {
        "machine.name": ("edge", "half"),
        "machine.dram.bytes_per_cycle": (16, 8),
    }
    latency = difference.figures[0]
    assert latency.before == difference.before.performance.cycles
    assert latency.after == difference.after.performance.cycles > latency.before
    assert difference.after.performance.limited_by == "dram"


def test_changes_of_nodes_add_up_to_the_change_of_the_run(difference: Difference) -> None:
    cycles = [report.performance.cycles for report in (difference.before, difference.after)]
    assert sum(node.change("critical_cycles") for node in difference.nodes) == pytest.approx(cycles[1] - cycles[0])
    changes = [abs(node.change("critical_cycles")) for node in difference.nodes]
    assert changes == sorted(changes, reverse=True)


def test_nodes_of_other_names_belong_together_by_path_and_operator(difference: Difference) -> None:
    before = difference.before
    renamed = tuple(replace(row, node=f"other_{row.node}") for row in before.nodes)
    found = Difference(before, replace(before, nodes=renamed))
    alone = [node for node in found.nodes if node.before is None or node.after is None]
    assert all(not node.path for node in alone)
    assert sum(node.before is not None and node.after is not None for node in found.nodes) == sum(
        bool(row.path) for row in before.nodes
    )


def test_page_is_drawn(difference: Difference, tmp_path: Path, visit: Callable[..., Any]) -> None:
    path = tmp_path / "diff.html"
    path.write_text(difference_page(difference))
    opened = visit(path, phone=True)
    assert opened.complaints == []
    assert opened.page.locator("#changes-chart svg.main-svg").first.is_visible()
    assert opened.page.locator("#settings tbody tr").count() == 2


def test_command_compares_a_program_with_a_report(digits: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    program = str(digits / "digits.attn")
    assert main(["run", program, "--random", "0", "--mode", "timing", "--json", "old.json"]) == 0
    capsys.readouterr()
    assert main(["diff", "old.json", program, "--report", "page.html"]) == 0
    told = capsys.readouterr().out
    assert "limited by array" in told
    assert "no node changed" in told
    assert Path("page.html").exists()
    assert main(["diff", "old.json", program, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"] == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: [], "it is no mapping"),
        (lambda content: {**content, "schema_version": 0}, "schema_version"),
        (lambda content: {**content, "nodes": [{}]}, "lacks 'node'"),
        (lambda content: {**content, "engines": 3}, "engines is no list"),
        (lambda content: {**content, "summary": {**content["summary"], "cycles": "many"}}, "cycles is 'many', not int"),
    ],
)
def test_what_is_no_report_is_refused(program: Program, tmp_path: Path, change, reason) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(change(run_of(program).to_dict())))
    with pytest.raises(InputError, match=reason):
        read_report(path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert main(["diff", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 2


def test_a_report_without_timing_is_refused(digits: Path, tmp_path: Path, capsys) -> None:
    path = tmp_path / "values.json"
    words = ["run", str(digits / "digits.attn"), "--random", "0", "--mode", "values", "--json", str(path)]
    assert main(words) == 0
    assert main(["diff", str(path), str(path)]) == 2
    assert "without timing" in capsys.readouterr().err
