"""The page of a study: the front as a plot of any two figures, and every trial with the commands that give it again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.pages.render import render
from ...runtime.pages.table import Cell, Column, Table
from .export import commands, export_command
from .front import short_names, shown_figures
from .objectives import FIGURES

if TYPE_CHECKING:
    from .exploration import Exploration
    from .parameters import Scalar
    from .study import Trial

EXPORTED = Path("design")
"""The folder that the commands of the page name."""


def front_page(found: Exploration) -> str:
    """The page as text."""
    setup, trials = found.setup, found.trials
    measured = [trial for trial in trials if trial.outcome.figures]
    refused = [trial for trial in trials if not trial.outcome.figures]
    parts = [("front-part", "Front"), ("trials-part", "All designs")]
    return render(
        "front.html",
        title=f"{found.study.stem}: machines and recipes",
        parts=[*parts, ("refused-part", "Refused")] if refused else parts,
        found=found,
        objectives=[f"{'most' if figure.most else 'least'} {figure.label}" for figure in setup.objectives],
        models=list(setup.models),
        seconds=sum(trial.outcome.seconds for trial in trials),
        front=_table("front", found, [point.trial for point in found.front]),
        trials=_table("trials", found, measured),
        refused=Table(
            "refused",
            (Column("trial", "", "", 0), Column("reason"), *_parameter_columns(found)),
            [(trial.number, _reason(trial), *_values(found, trial)) for trial in refused],
        ),
        data=_data(found, measured),
    )


def _table(name: str, found: Exploration, trials: list[Trial]) -> Table:
    figures = _figures(found)
    judged = shown_figures(found.setup)
    notes = {figure.name: f"{figure.meaning}{'' if figure in judged else ' (not searched for)'}" for figure in figures}
    columns = (
        Column("trial", "", "Its number in the study.", 0),
        *(Column(_title(figure.name), figure.unit, notes[figure.name], figure.digits) for figure in figures),
        *_parameter_columns(found),
    )
    rows: list[tuple[Cell, ...]] = [
        (trial.number, *(trial.outcome.figures.get(figure.name) for figure in figures), *_values(found, trial))
        for trial in trials
    ]
    return Table(name, columns, rows, anchors=[f"{name}-{trial.number}" for trial in trials])


def _figures(found: Exploration) -> list[Any]:
    """The objectives and limits first, then what else was measured."""
    measured = {name for trial in found.trials for name in trial.outcome.figures}
    judged = shown_figures(found.setup)
    return [*judged, *(figure for figure in FIGURES.values() if figure not in judged and figure.name in measured)]


def _title(name: str) -> str:
    return name.replace("_", " ")


def _parameter_columns(found: Exploration) -> list[Column]:
    parameters = found.setup.parameters
    return [
        Column(short, "", f"Parameter {name}.", None if _worded(parameters[name].values[0]) else _digits(name, found))
        for name, short in zip(parameters, short_names(list(parameters)), strict=True)
    ]


def _worded(value: object) -> bool:
    return isinstance(value, bool | str)


def _digits(name: str, found: Exploration) -> int:
    return -4 if found.setup.parameters[name].kind == "float" else 0


def _values(found: Exploration, trial: Trial) -> list[Cell]:
    values = (trial.assignment[name] for name in found.setup.parameters)
    return [str(value) if _worded(value) else value for value in values]


def _reason(trial: Trial) -> str:
    return trial.outcome.refusal or trial.outcome.failure.strip().splitlines()[-1]


def _taken(trials: list[Trial], name: str) -> list[Scalar]:
    return sorted({trial.assignment[name] for trial in trials}, key=lambda value: (str(type(value)), value))


def _data(found: Exploration, measured: list[Trial]) -> dict[str, Any]:
    """What the plot shows: figures and parameters by column, an entry a measured trial."""
    setup, front = found.setup, {point.trial.number for point in found.front}
    parameters = setup.parameters
    names = list(parameters)
    return {
        "figures": [
            {
                "name": _title(figure.name),
                "label": figure.label,
                "more": figure.most,
                "digits": figure.digits,
                "values": [trial.outcome.figures.get(figure.name) for trial in measured],
            }
            for figure in _figures(found)
        ],
        "parameters": [
            {
                "name": short,
                "values": [str(trial.assignment[name]) for trial in measured],
                # As the space has them; a range has many.
                "choices": list(dict.fromkeys(map(str, (*parameters[name].values, *_taken(measured, name))))),
            }
            for name, short in zip(names, short_names(names), strict=True)
        ],
        "trial": [trial.number for trial in measured],
        "front": [trial.number in front for trial in measured],
        "commands": {
            point.trial.number: [
                export_command(found.study, point.trial.number, EXPORTED),
                *commands(setup, point.trial, EXPORTED),
            ]
            for point in found.front
        },
    }
