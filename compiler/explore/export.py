"""A trial as files: the machine and the recipe of its design, and the commands that give its figures once more."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from ...isa.errors import OutputError
from ...isa.files import write_beside
from ...isa.machine import machine_from_dict
from ..recipe import Recipe
from .setup import Setup
from .study import Trial

MACHINE, RECIPE, PROGRAM = "machine.toml", "recipe.toml", "design.attn"


def export(setup: Setup, trial: Trial, folder: Path) -> list[str]:
    """Write the machine and the recipe of a trial into a folder, made if there is none; the commands, one a line.

    Raises OutputError where the folder cannot be written.
    """
    import tomli_w

    design = setup.design(trial.assignment)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(str(folder), error.strerror or str(error)) from None
    name = f"{design.machine['name']}-{trial.number}"
    told = f"trial {trial.number}: {', '.join(f'{key} {value}' for key, value in trial.assignment.items())}"
    machine = machine_from_dict({**design.machine, "name": name, "description": told})
    write_beside(folder / MACHINE, tomli_w.dumps(machine.to_dict()).encode())
    write_beside(folder / RECIPE, tomli_w.dumps(dict(design.recipe)).encode())
    return commands(setup, trial, folder)


def export_command(study: Path, number: int, folder: Path | str) -> str:
    """The command that writes a trial of a study into a folder."""
    return _line(
        ["attnc", "explore", "--study", _near(str(study.resolve())), "--export", str(number), "--to", str(folder)]
    )


def commands(setup: Setup, trial: Trial, folder: Path) -> list[str]:
    """The commands that compile, time and evaluate a trial that was exported to a folder."""
    design, work = setup.design(trial.assignment), setup.work
    program = str(folder / PROGRAM)
    compile_words = ["attnc", "compile", _near(design.model), "-o", program]
    compile_words += ["--machine", str(folder / MACHINE), "--recipe", str(folder / RECIPE)]
    for name, shape in work.shapes.items():
        compile_words += ["--shape", f"{name}={'x'.join(map(str, shape))}"]
    if work.calibrate is not None and Recipe.of(design.recipe).takes_calibration:
        compile_words += ["--calibrate", _near(work.calibrate)]
    run_words = ["attnc", "run", program, "--random", "0", "--mode", "timing"]
    found = [f"{_line(compile_words)} && {_line(run_words)}"]
    if setup.wants_accuracy and work.data is not None:
        words = ["attnc", "evaluate", program, "--data", _near(work.data)]
        words += [] if work.labels is None else ["--labels", work.labels]
        words += [] if work.output is None else ["--output", work.output]
        found.append(_line(words))
    return found


def _line(words: Iterable[str]) -> str:
    return " ".join(map(shlex.quote, words))


def _near(path: str) -> str:
    """A path as one would write it here: relative where it is below the current folder."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
