"""The page of a run in a browser: it is drawn, sorts, filters, zooms, and asks nobody for anything."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def number(text: str) -> float:
    return float(text.replace(",", ""))


def column(page: Any, table: str, place: int) -> list[float]:
    return [number(text) for text in page.locator(f"#{table} tbody td:nth-child({place})").all_inner_texts()]


@pytest.fixture(scope="module")
def desktop(digits: Path, visit: Callable[..., Any]) -> Any:
    """The page, opened once for all tests of this module."""
    return visit(digits / "run.html")


@pytest.fixture
def page(desktop: Any) -> Any:
    """The opened page with the whole run in sight, no node chosen and all rows shown."""
    page = desktop.page
    page.get_by_role("button", name="Whole run").click()
    if page.locator("#choice").is_visible():
        page.get_by_role("button", name="Clear").click()
    page.locator("input[data-filters=nodes]").fill("")
    return page


def test_page_is_drawn_on_a_desktop_in_light(desktop: Any) -> None:
    assert_drawn(desktop)


def test_page_is_drawn_on_a_phone_in_the_dark(digits: Path, visit: Callable[..., Any]) -> None:
    assert_drawn(visit(digits / "run.html", dark=True, phone=True))


def assert_drawn(opened: Any) -> None:
    assert opened.complaints == []
    for chart in ("engine-chart", "timeline", "roofline", "energy-chart"):
        assert opened.page.locator(f"#{chart} svg.main-svg").first.is_visible()
    widths = opened.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1], "the page is wider than the screen"


def test_tables_sort_from_the_keyboard(page: Any) -> None:
    place = page.locator("#nodes thead th").all_inner_texts().index("busy\ncycles") + 1
    before = column(page, "nodes", place)
    head = page.locator(f"#nodes thead th:nth-child({place})")
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert column(page, "nodes", place) == sorted(before, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    page.keyboard.press("Enter")
    assert column(page, "nodes", place) == sorted(before)
    assert head.get_attribute("aria-sort") == "ascending"


def test_filter_leaves_rows_that_hold_the_text(page: Any) -> None:
    page.locator("input[data-filters=nodes]").fill("softmax")
    shown = page.locator("#nodes tbody tr:not([hidden])").all_inner_texts()
    assert shown
    assert all("softmax" in text.lower() for text in shown)


def test_timeline_zooms_by_button_and_by_dragging(page: Any) -> None:
    told = page.locator("#timeline-range")
    whole = told.inner_text()
    page.get_by_role("button", name="Closer").click()
    closer = told.inner_text()
    assert closer != whole
    page.get_by_role("button", name="Whole run").click()
    assert told.inner_text() == whole
    plot = page.locator("#timeline .nsewdrag").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 40, steps=5)
    page.mouse.up()
    page.wait_for_function("text => document.getElementById('timeline-range').value !== text", arg=whole)
    first, last = (number(word) for word in told.inner_text().replace(":", "").split()[1:4:2])
    cycles = page.evaluate("JSON.parse(document.getElementById('report').textContent).summary.cycles")
    assert first == pytest.approx(0.3 * cycles, abs=0.02 * cycles)
    assert last == pytest.approx(0.5 * cycles, abs=0.02 * cycles)


def test_an_instruction_leads_to_its_node_and_its_line(page: Any) -> None:
    page.evaluate(
        "document.getElementById('timeline').emit('plotly_click', {points: [{data: {type: 'bar'}, customdata: 6}]})"
    )
    detail = page.locator("#instruction")
    assert detail.locator("code").inner_text().startswith("mx.product")
    node = detail.locator("button").first.inner_text()
    assert node == "node_conv2d"
    assert page.locator("#nodes tr.chosen td").first.inner_text() == node
    lines = page.locator("[data-lines=right] .line.chosen").all_inner_texts()
    assert any("mx.product" in line for line in lines)
    assert page.locator("[data-lines=left] .line.chosen").first.inner_text().count("onnx.Conv")


def test_a_row_leads_to_its_lines_in_every_phase(page: Any) -> None:
    page.locator("#nodes tbody tr", has_text="node_softmax_1").first.press("Enter")
    for phase, word in (("import", "onnx.Softmax"), ("graph", "sattn.attention"), ("tile", "tile.kernel")):
        page.locator("[data-phase=left]").select_option(label=phase)
        assert any(word in line for line in page.locator("[data-lines=left] .line.chosen").all_inner_texts())
    assert page.locator("#choice").is_visible()
    whole = page.locator("#timeline-range").inner_text()
    page.get_by_role("button", name="Chosen node").click()
    assert page.locator("#timeline-range").inner_text() != whole
    page.locator("#choice").get_by_role("button", name="Clear").click()
    assert page.locator(".chosen").count() == 0


def test_plots_follow_a_change_of_colours(desktop: Any) -> None:
    ink = "getComputedStyle(document.querySelector('#roofline .xtick text')).fill"
    light = desktop.page.evaluate(ink)
    desktop.page.emulate_media(color_scheme="dark")
    desktop.page.wait_for_function(f"{ink} !== {light!r}")
    assert desktop.complaints == []
