"""The page of a difference: figures, settings and nodes of two runs side by side."""

from __future__ import annotations

from typing import Any

from ..difference import Difference, NodeChange
from .render import render
from .table import Cell, Column, Table

PLOTTED = 30
"""Nodes that the plot shows."""


def difference_page(difference: Difference) -> str:
    """The page as text."""
    before, after = difference.before.summary, difference.after.summary
    settings = _settings(difference)
    return render(
        "difference.html",
        title=f"{before.program} and {after.program}",
        parts=[
            ("figures-part", "Figures"),
            *([("settings-part", "Machine and recipe")] if settings.rows else []),
            ("changes-part", "Most changed"),
            ("nodes-part", "Nodes"),
        ],
        before=difference.before,
        after=difference.after,
        figures=_figures(difference),
        settings=settings,
        nodes=_nodes(difference),
        changes=[_plotted(node) for node in difference.nodes[:PLOTTED] if node.change("critical_cycles")],
    )


def _figures(difference: Difference) -> Table:
    columns = (
        Column("figure", note="Of one inference."),
        Column("unit"),
        Column("before", digits=-4),
        Column("after", digits=-4),
        Column("change", "%", "Of what it was before.", 1),
    )
    rows = [
        (
            item.figure,
            item.unit,
            item.before,
            item.after,
            None if item.relative is None else 100 * item.relative,
        )
        for item in difference.figures
        if item.before or item.after
    ]
    return Table("figures", columns, rows)


def _settings(difference: Difference) -> Table:
    columns = (Column("key", note="In the machine's description or in the recipe."), Column("before"), Column("after"))
    rows = [
        (item.key, *("-" if value is None else str(value) for value in (item.before, item.after)))
        for item in difference.settings
    ]
    return Table("settings", columns, rows)


_FIELDS = (
    ("on the path", "cycles", "critical_cycles", 1.0, 0, "Cycles of the latency that the node makes."),
    ("busy", "cycles", "cycles", 1.0, 0, "Of all engines, which work side by side."),
    ("DRAM", "bytes", "dram_bytes", 1.0, 0, "Read and written."),
    ("energy", "uJ", "energy_pj", 1e-6, 3, "Of its instructions, without leakage."),
)


def _nodes(difference: Difference) -> Table:
    columns = [
        Column("node", note="Of both runs by name, or else by path and operator."),
        Column("operator"),
        Column("path", note="Its place in the model's structure."),
        Column("only", note="In one of the runs only."),
    ]
    for title, unit, _, _, digits, note in _FIELDS:
        columns.append(Column(title, f"{unit}, before", note, digits))
        columns.append(Column(title, f"{unit}, after", note, digits))
        columns.append(Column("change", unit, f"Of {title}.", digits))
    return Table("nodes", columns, [_row(node) for node in difference.nodes])


def _row(node: NodeChange) -> list[Cell]:
    only = "" if node.before and node.after else "after" if node.after else "before"
    cells: list[Cell] = [node.name, node.op, node.path, only]
    for _, _, field, scale, _, _ in _FIELDS:
        before, after = (value * scale for value in node.both(field))
        cells += [before, after, after - before]
    return cells


def _plotted(node: NodeChange) -> dict[str, Any]:
    before, after = node.both("critical_cycles")
    return {"node": node.name, "before": before, "after": after}
