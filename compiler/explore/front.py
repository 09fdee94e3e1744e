"""The Pareto front: the trials that keep every limit and that no other such trial beats."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from io import StringIO

from ...isa.frozen import frozen
from .objectives import FIGURES, Figure, Figures, dominates
from .setup import Setup
from .study import Trial


@frozen
class Point:
    """A trial of the front, and the numbers of the others whose objectives are the same."""

    trial: Trial
    figures: Figures
    equals: tuple[int, ...] = ()


def front_of(setup: Setup, trials: Iterable[Trial]) -> tuple[Point, ...]:
    """The front, best first by the first objective."""
    alike: dict[tuple[float, ...], list[tuple[Trial, Figures]]] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        figures = trial.outcome.figures
        if figures and all(limit.excess(figures) <= 0 for limit in setup.limits):
            alike.setdefault(tuple(figures[item.name] for item in setup.objectives), []).append((trial, figures))
    firsts = [same[0][1] for same in alike.values()]
    found = [
        Point(same[0][0], same[0][1], tuple(trial.number for trial, _ in same[1:]))
        for same in alike.values()
        if not any(dominates(other, same[0][1], setup.objectives) for other in firsts)
    ]

    def order(point: Point) -> tuple[float, ...]:
        return tuple((-1 if item.most else 1) * point.figures[item.name] for item in setup.objectives)

    return tuple(sorted(found, key=order))


def shown_figures(setup: Setup) -> tuple[Figure, ...]:
    """The objectives, then what limits are about besides."""
    return tuple(dict.fromkeys((*setup.objectives, *(limit.figure for limit in setup.limits))))


def short_names(names: Sequence[str]) -> list[str]:
    """Names of parameters without the [machine] or [recipe] that they begin with, if no two are then alike."""
    shorts = [name.partition(".")[2] or name for name in names]
    return shorts if len(set(shorts)) == len(shorts) else list(names)


def value_text(value: object) -> str:
    """A parameter's value in print."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def csv_text(setup: Setup, trials: Iterable[Trial], points: Sequence[Point]) -> str:
    """Every trial as a row: whether it is of the front, its figures with units, its parameters, why it was refused."""
    best = {number for point in points for number in (point.trial.number, *point.equals)}
    names = list(setup.parameters)
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["trial", "front", "outcome", *(figure.label for figure in FIGURES.values()), *names, "reason"])
    for trial in sorted(trials, key=lambda trial: trial.number):
        outcome = trial.outcome
        kind = "measured" if outcome.figures else "failed" if outcome.failure else "refused"
        figures = [outcome.figures.get(name, "") for name in FIGURES]
        values = [trial.assignment[name] for name in names]
        reason = outcome.refusal or outcome.failure
        writer.writerow([trial.number, str(trial.number in best).lower(), kind, *figures, *values, reason])
    return stream.getvalue()
