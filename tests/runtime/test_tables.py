"""Results as data frames and in notebooks."""

import builtins
from html.parser import HTMLParser

import pytest

from attnc.isa.errors import UsageError
from attnc.runtime.report import NodeRow, Unlowered
from attnc.runtime.session import Session
from attnc.runtime.tables import html_table


def well_formed(text: str) -> str:
    """The text, if every element in it is closed in its turn."""
    open_elements: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            del attrs
            open_elements.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_elements.pop() == tag

    Checker().feed(text)
    assert open_elements == []
    return text


def test_rows_become_a_data_frame(linear, x) -> None:
    result = Session(linear).run({"x": x})
    frame = result.to_dataframe()
    assert list(frame.columns) == list(NodeRow.__dataclass_fields__)
    assert frame["cycles"].tolist() == [row.cycles for row in result.report.nodes]
    assert len(result.to_dataframe("engines")) == len(result.report.engines)
    assert list(result.to_dataframe("unlowered").columns) == list(Unlowered.__dataclass_fields__)
    with pytest.raises(UsageError, match="a report has no 'layers'; it has nodes"):
        result.to_dataframe("layers")


def test_data_frames_without_pandas_say_what_to_install(linear, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def without(name: str, *arguments: object) -> object:
        if name == "pandas":
            raise ImportError(name)
        return plain(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r"pip install 'attnc\[pandas\]'"):
        Session(linear).run(mode="timing").to_dataframe()


def test_a_notebook_shows_outputs_figures_and_nodes(linear, x) -> None:
    result = Session(linear).run({"x": x})
    text = well_formed(result._repr_html_())
    for part in ("y", "float32", "32x32", "latency, cold", f"{result.report.performance.cycles:,} cycles", "MatMul"):
        assert part in text
    assert "http" not in text
    assert "<script" not in text
    assert "latency" not in well_formed(Session(linear).run({"x": x}, "values").report._repr_html_())


def test_names_are_escaped() -> None:
    assert "<b>" not in html_table([Unlowered("<b>", "Op", "a & b")])
    assert "a &amp; b" in html_table([Unlowered("n", "Op", "a & b")])
