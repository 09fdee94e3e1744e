"""What a comparison tells of bits, saves of values, and shows as a page."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnc import compare
from attnc.compiler.command_line.main import main
from attnc.compiler.comparison import CompareReport
from attnc.compiler.comparison_page import comparison_page
from attnc.compiler.deviations import Yardstick, middle_of_levels

BITS = Path(__file__).parents[1] / "models" / "brevitas" / "w1a1_qonnx.onnx"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("values")


@pytest.fixture(scope="module")
def report(saved: Path) -> CompareReport:
    return compare(BITS, save=saved)


def test_quantizers_have_a_reference_and_bits_have_signs_and_counts(report: CompareReport) -> None:
    assert report.agrees
    bits = report.by_value["/query_bits/act_quant/export_handler/BipolarQuant_output_0"]["graph"]
    assert bits.sign_agreement == 1
    assert bits.popcount is not None
    assert 0 <= bits.popcount[0] <= bits.popcount[1]
    assert report.by_value["y"]["simulator"].sign_agreement is None


def test_saved_values_are_those_that_were_compared(report: CompareReport, saved: Path) -> None:
    reference = np.load(saved / "reference.npz")
    for phase in report.phases:
        values = np.load(saved / f"{phase}.npz")
        assert set(values.files) == {item.value for item in report.at(phase)}
        for item in report.at(phase):
            worst = np.abs(values[item.value].astype(np.float64) - reference[item.value]).max(initial=0)
            assert worst == pytest.approx(item.max_abs_error)


def test_flipped_bits_and_rows_are_counted() -> None:
    expected = np.array([[1, -1, 1, 1], [-1, -1, -1, 1]], np.float32)
    given = expected.copy()
    given[0, 1] = 1
    found = Yardstick({"bits": expected}, 0, 0).compared("graph", "bits", ("node",), given)
    assert (found.mismatches, found.sign_agreement, found.popcount) == (1, 7 / 8, (1, 4))


@pytest.mark.parametrize(
    ("values", "middle"),
    [([0, 1, 1], 0.5), ([-2, -2, 6], 2.0), ([1, 1], None), ([0, 1, 2], None), ([0, np.nan], None), ([], None)],
)
def test_bits_are_values_of_two_levels(values: list[float], middle: float | None) -> None:
    assert middle_of_levels(np.array(values, np.float32)) == middle


def test_page_tells_every_value_and_phase(report: CompareReport) -> None:
    page = comparison_page(report, "w1a1.onnx")
    data = json.loads(re.search(r'id="errors-data">(.*?)</script>', page, re.S)[1])
    assert list(data) == list(report.phases)
    assert [len(phase["value"]) for phase in data.values()] == [len(report.at(phase)) for phase in report.phases]
    assert all(f"<td>{value}</td>" in page for value in report.by_value)
    assert "Every value that was compared agrees" in page


def test_page_is_drawn(report: CompareReport, tmp_path: Path, visit: Callable[..., Any]) -> None:
    path = tmp_path / "compare.html"
    path.write_text(comparison_page(report, "w1a1.onnx"))
    opened = visit(path, dark=True)
    assert opened.complaints == []
    assert opened.page.locator("#errors svg.main-svg").first.is_visible()
    assert opened.page.locator("#errors .legendtext").all_text_contents() == list(report.phases)


def test_command_writes_page_and_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, values = tmp_path / "page.html", tmp_path / "values"
    words = ["compare", str(BITS), "--report", str(page), "--save", str(values), "--all", "--quiet"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "popcount" in told
    assert "100.00%" in told
    assert page.exists()
    assert {path.name for path in values.iterdir()} >= {"reference.npz", "simulator.npz"}
    assert main(["compare", str(BITS), "--save", str(page), "--quiet"]) == 2
