"""Rows of dataclasses as tables: a pandas data frame, or HTML for a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from html import escape
from typing import TYPE_CHECKING, Any, cast

from ..isa.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from pandas import DataFrame

SHOWN_ROWS = 200
"""Rows that a notebook shows; a data frame has them all."""


def data_frame(rows: Sequence[DataclassInstance], kind: type[DataclassInstance]) -> DataFrame:
    """A data frame with a column for each field of `kind`, of which all rows are. UsageError without pandas."""
    try:
        from pandas import DataFrame
    except ImportError:
        raise UsageError("data frames need pandas", "pip install 'attnc[pandas]'") from None
    return DataFrame([asdict(row) for row in rows], columns=[item.name for item in fields(kind)])


def html_table(rows: Sequence[DataclassInstance], columns: Sequence[str] = ()) -> str:
    """An HTML table of the rows, all of one kind: the named fields, or all; "" where there is no row."""
    if not rows:
        return ""
    names = columns or [item.name for item in fields(rows[0])]
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in names)
    body = "".join(f"<tr>{''.join(_cell(getattr(row, name)) for name in names)}</tr>" for row in rows[:SHOWN_ROWS])
    more = len(rows) - SHOWN_ROWS
    note = f"<p>and {more:,} more</p>" if more > 0 else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"


def html_lines(lines: Iterable[Sequence[str]]) -> str:
    """An HTML table of texts, without a head; "" where there is no line."""
    body = "".join(f"<tr>{''.join(map(_cell, line))}</tr>" for line in lines)
    return f"<table><tbody>{body}</tbody></table>" if body else ""


def html_section(title: str, content: str, is_open: bool = False) -> str:
    """A part that a reader opens and closes; "" where it has no content."""
    mark = " open" if is_open else ""
    return f"<details{mark}><summary>{escape(title)}</summary>{content}</details>" if content else ""


def _cell(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        whole = isinstance(value, int) or value.is_integer()
        text = f"{value:,.0f}" if whole else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.1f}"
        return f'<td style="text-align: right">{text}</td>'
    if isinstance(value, tuple):
        items = cast("tuple[object, ...]", value)
        mark = "x" if all(isinstance(item, int) for item in items) else ", "
        value = mark.join(map(str, items))
    return f'<td style="text-align: left">{escape(str(value))}</td>'
