"""`attnc.explore`: a search over machines and recipes, and what it found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...isa.errors import UsageError
from ...isa.frozen import frozen
from .design import Work
from .front import Point, front_of
from .objectives import limits_of, objectives_of
from .search import Progress, Search
from .setup import Setup, labelled
from .space import Space
from .study import SAMPLERS, Trial, kept, open_study
from .workers import Cluster, Pool, Processes

DEFAULT_OBJECTIVES = "cycles,energy,area"


@frozen
class Exploration:
    """What a study holds: its trials by number, and of those the front, best first by the first objective."""

    study: Path
    setup: Setup
    trials: tuple[Trial, ...]
    front: tuple[Point, ...]

    def trial(self, number: int) -> Trial:
        """The trial of a number. Raises UsageError where there is none."""
        for trial in self.trials:
            if trial.number == number:
                return trial
        raise UsageError(f"{self.study} has no finished trial {number}", f"it has {len(self.trials)} of them")

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values."""
        equals = {point.trial.number: list(point.equals) for point in self.front}
        rows = [
            {
                "trial": trial.number,
                "front": trial.number in equals,
                "same_as": equals.get(trial.number, []),
                "parameters": dict(trial.assignment),
                "figures": dict(trial.outcome.figures),
                "refusal": trial.outcome.refusal,
                "failure": trial.outcome.failure,
            }
            for trial in self.trials
        ]
        return {"study": str(self.study), **self.setup.to_dict(), "trials": rows}


def explore(
    models: str | Path | Sequence[str | Path],
    space: str | Path,
    *,
    objectives: str = DEFAULT_OBJECTIVES,
    at_most: Mapping[str, float] | None = None,
    at_least: Mapping[str, float] | None = None,
    data: str | Path | None = None,
    labels: str | None = None,
    output: str | None = None,
    calibrate: str | Path | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    trials: int = 100,
    study: str | Path | None = None,
    sampler: str = SAMPLERS[0],
    seed: int = 0,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> Exploration:
    """Search a space of designs for those that no other beats in every objective.

    models: an ONNX file, or several to choose among. space: a space file, see `Space`. objectives: names of figures
    (`objectives.FIGURES`), with commas between. at_most, at_least: limits by figure. data, labels, output: as
    `attnc.evaluate` takes them, data as an npz file. calibrate, shapes: as `attnc.compile` takes them. trials: go on
    until so many are finished, those that the study has already included. study: the SQLite file; in the current folder
    and named as the space unless given. workers: processes of this host. scheduler: the address of a Dask scheduler
    whose workers are used instead; they need the same files under the same paths. progress: called with the finished
    trials, by number, at first and as each is added.

    Raises UsageError, InputError and MachineError for what is wrong with the call, the space or the study.
    """
    need_libraries(("optuna", "filelock", *(() if scheduler is None else ("distributed",))))
    if trials < 1 or workers < 1:
        raise UsageError("trials and workers are numbers from 1 up")
    if sampler not in SAMPLERS:
        raise UsageError(f"there is no sampler {sampler!r}", f"there are {', '.join(SAMPLERS)}")
    paths = [Path(models)] if isinstance(models, str | Path) else [Path(model) for model in models]
    setup = Setup(
        labelled(paths),
        Space.read(Path(space)),
        Work(
            {name: tuple(shape) for name, shape in (shapes or {}).items()},
            calibrate=None if calibrate is None else str(Path(calibrate).resolve()),
            data=None if data is None else str(Path(data).resolve()),
            labels=labels,
            output=output,
        ),
        objectives_of(objectives),
        limits_of(at_most or {}, at_least or {}),
    )
    path = Path(study) if study is not None else Path(f"{Path(space).stem}.db")
    with _pool(workers, scheduler) as pool, open_study(setup, path, sampler, seed) as opened:
        search = Search(opened, pool, progress)
        search.run(trials)
        front = search.confirm()
    return Exploration(path, setup, tuple(search.trials[number] for number in sorted(search.trials)), front)


def load_exploration(study: str | Path) -> Exploration:
    """What the study in a file holds. Raises InputError where it holds none."""
    need_libraries(("optuna", "filelock"))
    setup, trials = kept(Path(study))
    return Exploration(Path(study), setup, tuple(trials), front_of(setup, trials))


def need_libraries(names: Sequence[str]) -> None:
    """Raise UsageError where a library of the extra `explore` is not installed."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise UsageError(f"exploring needs {', '.join(missing)}", "pip install 'attnc[explore]'")


def _pool(workers: int, scheduler: str | None) -> Pool:
    return Processes(workers) if scheduler is None else Cluster(scheduler)
