"""The page of a study: it draws, sorts, shows any two figures, and tells how to have a design again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from attnc.compiler.explore.design import Outcome, Work
from attnc.compiler.explore.exploration import Exploration
from attnc.compiler.explore.front import front_of
from attnc.compiler.explore.objectives import FIGURES, objectives_of
from attnc.compiler.explore.page import front_page
from attnc.compiler.explore.setup import Setup
from attnc.compiler.explore.space import Space
from attnc.compiler.explore.study import Trial
from attnc.isa.machine import machine_tables

from .conftest import Opened

Visit = Callable[..., Opened]

TABLES = {
    "base": machine_tables("tiny"),
    "machine": {"sram": {"bytes": {"choice": [16384, 65536]}}},
    "recipe": {"precision": {"choice": ["int8", "bf16"]}, "schedule": {"prefetch": {"choice": [True, False]}}},
}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a study with 5 measured trials, two of them on the front, and a refused one."""
    folder = tmp_path_factory.mktemp("front")
    setup = Setup({"a/<b>": str(folder / "model.onnx")}, Space.of(TABLES, "s"), Work(), objectives_of("cycles,area"))

    def trial(number: int, cycles: float, area: float, precision: str) -> Trial:
        figures = dict.fromkeys((name for name in FIGURES if name != "accuracy"), 1.0) | {
            "cycles": cycles,
            "area": area,
        }
        outcome = Outcome(refusal="scores: 9 bytes needed <there>") if cycles == 0 else Outcome(figures)
        chosen = setup.first | {"recipe.precision": precision}
        return Trial(number, chosen, outcome)

    trials = (
        trial(0, 1000, 9, "int8"),
        trial(1, 50000, 2, "bf16"),
        trial(2, 2000, 9.5, "int8"),
        trial(3, 60000, 3, "bf16"),
        trial(4, 0, 0, "bf16"),
        trial(5, 1500, 12, "bf16"),
    )
    path = folder / "front.html"
    path.write_text(front_page(Exploration(folder / "s.db", setup, trials, front_of(setup, trials))))
    return path


@pytest.mark.parametrize("look", [{}, {"dark": True}, {"phone": True}])
def test_it_is_drawn_without_complaint_or_request(page: Path, visit: Visit, look: dict[str, bool]) -> None:
    opened = visit(page, **look)
    assert opened.complaints == []
    # The other designs, and a set of marks for each precision of the front.
    assert [mark.text_content() for mark in opened.page.query_selector_all(".legendtext")] == [
        "other designs",
        "front, precision int8",
        "front, precision bf16",
    ]
    assert len(opened.page.query_selector_all("#plot .points path")) == 5
    assert opened.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_row_tells_how_to_have_its_design_again(page: Path, visit: Visit) -> None:
    opened = visit(page)
    assert not opened.page.is_visible("#again")
    opened.page.click("#front-1")
    assert "--export 1 --to design" in opened.page.inner_text("#again")
    assert "attnc compile" in opened.page.inner_text("#again")


def test_menus_change_what_is_drawn(page: Path, visit: Visit) -> None:
    opened = visit(page)
    assert opened.page.text_content(".ytitle") == "area (mm2), less is better"
    opened.page.select_option("#up", label="frame rate (1/s)")
    assert opened.page.text_content(".ytitle") == "frame rate (1/s), more is better"
    opened.page.select_option("#coloured", label="nothing")
    assert len(opened.page.query_selector_all(".legendtext")) == 2


def test_tables_sort_and_tell_refusals(page: Path, visit: Visit) -> None:
    opened = visit(page)
    opened.page.click("#trials th:nth-child(2) button")
    rows = opened.page.query_selector_all("#trials tbody tr")
    assert [row.query_selector("td").inner_text() for row in rows] == ["3", "1", "2", "5", "0"]
    assert "9 bytes needed <there>" in opened.page.inner_text("#refused")
