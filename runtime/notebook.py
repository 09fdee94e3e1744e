"""Results as a notebook shows them: HTML without style sheets, scripts or anything from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from ..isa.formats import Array
from .report import Report
from .summary import figures
from .tables import html_lines, html_section, html_table

_NODE_COLUMNS = ("node", "op", "path", "engine", "mode", "cycles", "stall_cycles", "dram_bytes", "energy_pj")
_ENGINE_COLUMNS = ("engine", "instructions", "busy_cycles", "dependency_cycles", "channel_cycles", "utilization")
_SHOWN_VALUES = 6


def report_html(report: Report) -> str:
    """A report: the figures open, rows of nodes, engines and stalls to be opened; the dearest nodes first."""
    summary = report.summary
    parts = [f"<p><b>{escape(summary.program)}</b> on {escape(summary.machine)}</p>"]
    if summary.performance is not None:
        parts.append(html_lines(figures(summary.performance)))
    dearest = sorted(report.nodes, key=lambda row: -row.cycles)
    parts.append(html_section("nodes, dearest first", html_table(dearest, _NODE_COLUMNS)))
    parts.append(html_section("engines", html_table(report.engines, _ENGINE_COLUMNS)))
    parts.append(html_section("stalls", html_table(report.stalls)))
    parts.append(html_section("not on the engine meant for it", html_table(report.unlowered)))
    return "".join(parts)


def result_html(outputs: Mapping[str, Array], report: Report) -> str:
    """The outputs in a line each, and the report."""
    lines = [
        (name, array.dtype.name, "x".join(map(str, array.shape)) or "scalar", _values(array))
        for name, array in outputs.items()
    ]
    return html_lines(lines) + report_html(report)


def _values(array: Array) -> str:
    first = array.reshape(-1)[:_SHOWN_VALUES]
    return ", ".join(f"{value:.5g}" if array.dtype.kind == "f" else str(value) for value in first.tolist()) + (
        " ..." if array.size > _SHOWN_VALUES else ""
    )
