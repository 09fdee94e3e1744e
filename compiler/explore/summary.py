"""A study in print: the front as a table, what became of the other trials, and how to have a point again."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from .export import export_command
from .front import short_names, shown_figures, value_text

if TYPE_CHECKING:
    from .exploration import Exploration

SHOWN_REASONS = 3
"""Reasons for refusals that the summary tells; all of them stand in the CSV file."""

REASON_WIDTH = 160


def summary_text(found: Exploration) -> str:
    """The whole summary, without a line's end."""
    return "\n".join((*_table(found), "", *_counts(found), *_again(found)))


def _table(found: Exploration) -> list[str]:
    """The front as a table of text: trial, figures, parameters."""
    setup = found.setup
    shown, names = shown_figures(setup), list(setup.parameters)
    if not found.front:
        return ["no trial keeps every limit" if setup.limits else "no trial could be measured"]
    rows = [["trial", *(figure.label for figure in shown), *short_names(names)]]
    for point in found.front:
        figures = [figure.text(point.figures[figure.name]) for figure in shown]
        rows.append([str(point.trial.number), *figures, *(value_text(point.trial.assignment[name]) for name in names)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.rjust, row, widths)) for row in rows]


def _counts(found: Exploration) -> list[str]:
    setup, trials = found.setup, found.trials
    measured = [trial for trial in trials if trial.outcome.figures]
    failed = sum(bool(trial.outcome.failure) for trial in trials)
    refused = len(trials) - len(measured) - failed
    seconds = sum(trial.outcome.seconds for trial in trials)
    parts = [f"{len(found.front)} on the front", f"{refused} refused"]
    if setup.limits:
        beyond = sum(any(limit.excess(trial.outcome.figures) > 0 for limit in setup.limits) for trial in measured)
        parts.append(f"{beyond} beyond {' or '.join(map(str, setup.limits))}")
    if failed:
        parts.append(f"{failed} failed")
    lines = [f"{found.study}: {len(trials)} trials, {', '.join(parts)}; {seconds:,.0f} s of processors"]
    reasons = Counter(_first_line(trial.outcome.refusal) for trial in trials if trial.outcome.refusal)
    reasons.update(f"attnc failed: {_last_line(trial.outcome.failure)}" for trial in trials if trial.outcome.failure)
    lines += [f"  {count} x {reason}" for reason, count in reasons.most_common(SHOWN_REASONS)]
    return lines


def _again(found: Exploration) -> list[str]:
    if not found.front:
        return []
    return [f"a design again: {export_command(found.study, found.front[0].trial.number, 'DIR')}"]


def _first_line(text: str) -> str:
    line = text.splitlines()[0]
    return line if len(line) <= REASON_WIDTH else f"{line[: REASON_WIDTH - 3]}..."


def _last_line(text: str) -> str:
    return _first_line(text.strip().splitlines()[-1])
