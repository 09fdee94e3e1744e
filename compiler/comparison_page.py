"""The page of a comparison: where values first part from the reference, and how far each is off at each phase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..runtime.pages.render import render
from ..runtime.pages.table import Cell, Column, Table
from .comparison import SIMULATOR, CompareReport
from .deviations import Comparison


def comparison_page(report: CompareReport, model: str) -> str:
    """The page as text; `model` is what it calls the model."""
    return render(
        "compare.html",
        title=f"{model}: values against the reference",
        parts=[("first-part", "First divergence"), ("errors-part", "Errors"), ("values-part", "Values")],
        report=report,
        first=report.first,
        phases=_phases(report),
        values=_values(report),
        errors={phase: _errors(report, phase) for phase in report.phases},
    )


def _phases(report: CompareReport) -> Table:
    columns = (
        Column("phase", note="The IR after the phase, executed; the simulator runs the instructions."),
        Column("compared", "values", f"Of {report.values:,}: those that still are values of the model there.", 0),
        Column("differ", "values", "With an element outside the tolerance.", 0),
        Column("greatest error", "relative", "Greatest absolute error over the reference's greatest magnitude.", -3),
        Column("least cosine", "", "Of the flattened values; 1 is the same direction.", 6),
        Column("first that differs", note="In the order of execution."),
    )
    rows: list[tuple[Cell, ...]] = []
    for phase, first in report.first_by_phase.items():
        found = report.at(phase)
        rows.append(
            (
                phase,
                len(found),
                sum(not item.agrees for item in found),
                max((item.relative_error for item in found), default=None),
                min((item.cosine for item in found), default=None),
                "-" if first is None else first.value,
            )
        )
    return Table("phases", columns, rows)


def _values(report: CompareReport) -> Table:
    columns = (
        Column("value", note="A value of the model, in the order of execution."),
        Column("nodes", note="The ONNX nodes that made it, in the last phase that has it."),
        Column("differs from", note="The first phase at which it is outside the tolerance."),
        Column("at", note="The last phase that has it; the figures behind are of there."),
        Column("greatest error", "absolute", "Element by element.", -3),
        Column("greatest error", "relative", "Over the reference's greatest magnitude.", -3),
        Column("cosine", "", "Of the flattened values.", 6),
        Column("outside", "elements", "Outside the tolerance.", 0),
        Column("of", "elements", "", 0),
        Column("signs", "% agree", "Where the reference has two levels only: elements on its side of their middle.", 2),
        Column("popcount, least", "of a row", "Elements of a row on the upper side of two levels.", 0),
        Column("popcount, most", "of a row", "Elements of a row on the upper side of two levels.", 0),
    )
    return Table("values", columns, [_row(phases) for phases in report.by_value.values()])


def _row(phases: Mapping[str, Comparison]) -> tuple[Cell, ...]:
    last = list(phases.values())[-1]
    least, most = last.popcount or (None, None)
    return (
        last.value,
        ", ".join(last.nodes),
        next((phase for phase, item in phases.items() if not item.agrees), ""),
        last.phase,
        last.max_abs_error,
        last.relative_error,
        last.cosine,
        last.mismatches,
        last.elements,
        None if last.sign_agreement is None else 100 * last.sign_agreement,
        least,
        most,
    )


def _errors(report: CompareReport, phase: str) -> dict[str, Any]:
    """What the plot shows of a phase: the place of each value in the order of execution, and its figures."""
    places = {value: place for place, value in enumerate(report.by_value)}
    found = [item.to_dict() for item in report.at(phase)]
    return {
        "main": phase == SIMULATOR,
        "place": [places[item["value"]] for item in found],
        **{name: [item[name] for item in found] for name in ("value", "relative_error", "cosine", "agrees")},
    }
