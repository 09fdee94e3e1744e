"""A study: the trials of a search in a file, whole at every moment, whoever is killed."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ...isa.errors import InputError, OutputError, UsageError
from ...isa.frozen import frozen
from .design import Outcome
from .parameters import Scalar
from .setup import Setup
from .space import Assignment

if TYPE_CHECKING:
    import optuna
    from filelock import FileLock
    from optuna.storages import RDBStorage

SAMPLERS = ("nsga2", "tpe", "random")
"""Names of the ways to draw the next design."""

POPULATION = 24
"""Designs in a generation of nsga2."""

REFUSED = 1e6
"""How far beyond any limit a design counts that cannot be compiled or run at all."""

NAME = "attnc"


@frozen
class Trial:
    """A design on trial: its number in the study, its parameters' values, and what became of it (nothing yet)."""

    number: int
    assignment: Assignment
    outcome: Outcome = field(default_factory=Outcome)


class Study:
    """See the module. One process at a time has a study open; it alone asks for trials and tells what they gave."""

    def __init__(self, setup: Setup, path: Path, sampler: str = "nsga2", seed: int = 0) -> None:
        """Open a study, made if there is none. Raises InputError for a file that is no study or is in use, UsageError
        where it is about something else."""
        self.setup = setup
        self._lock = _locked(path)
        self._study = _open(setup, path)
        # A sampler that starts anew from the same seed would draw the designs of the start once more.
        self._study.sampler = _sampler(sampler, seed + len(self._study.get_trials(deepcopy=False)))
        self._asked: dict[int, optuna.Trial] = {}

    def finished(self) -> list[Trial]:
        """The trials whose outcome is known, by number."""
        return [
            Trial(trial.number, trial.params, Outcome(**trial.user_attrs["outcome"]))
            for trial in self._study.get_trials(deepcopy=False)
            if trial.state.is_finished() and "outcome" in trial.user_attrs
        ]

    def requeue(self) -> None:
        """Have the designs asked for once more that another process, now dead, was at work on."""
        from optuna.trial import TrialState

        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if "outcome" in trial.user_attrs:
                self._finish(trial.number, Outcome(**trial.user_attrs["outcome"]))
                continue
            self._study.tell(trial.number, state=TrialState.FAIL)
            # One whose process was killed while its values were drawn has no design yet.
            if set(trial.params) == set(self.setup.parameters):
                self._study.enqueue_trial(trial.params)

    def ask(self) -> Trial:
        """The next trial."""
        trial = self._study.ask(self.setup.distributions)
        self._asked[trial.number] = trial
        return Trial(trial.number, cast("Mapping[str, Scalar]", trial.params))

    def tell(self, number: int, outcome: Outcome) -> None:
        """Keep what became of a trial."""
        trial = self._asked.pop(number)
        trial.set_constraint("runs", 0 if outcome.figures else REFUSED)
        if outcome.figures:
            for limit in self.setup.limits:
                trial.set_constraint(str(limit), limit.excess(outcome.figures))
        # From here on the trial counts as finished: whoever is killed before does it again.
        trial.set_user_attr("outcome", asdict(outcome))
        self._finish(number, outcome)

    def _finish(self, number: int, outcome: Outcome) -> None:
        from optuna.trial import TrialState

        if outcome.figures:
            self._study.tell(number, [outcome.figures[figure.name] for figure in self.setup.objectives])
        else:
            self._study.tell(number, state=TrialState.FAIL if outcome.failure else TrialState.PRUNED)

    def close(self) -> None:
        """Let other processes have the study."""
        self._lock.release()


def kept_setup(path: Path) -> Setup:
    """What the study in a file is about. Raises InputError for a file that holds none."""
    if not path.is_file():
        raise InputError(str(path), "there is no such file")
    import optuna

    try:
        study = optuna.load_study(study_name=NAME, storage=_storage(path))
    except KeyError:
        raise InputError(str(path), "holds no study of attnc") from None
    if "setup" not in study.user_attrs:
        raise InputError(str(path), "holds a study that never began")
    return Setup.of(study.user_attrs["setup"], str(path))


def _locked(path: Path) -> FileLock:
    """The study's lock, held. The system releases it however this process ends."""
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f"{path.name}.lock"), blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(str(path), "another process is at work on this study", "wait for it or stop it") from None
    except OSError as error:
        raise OutputError(str(path), error.strerror or str(error)) from None
    return lock


def _storage(path: Path) -> RDBStorage:
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return RDBStorage(f"sqlite:///{path}")
    except (SQLAlchemyError, StorageInternalError, RuntimeError) as error:
        raise InputError(str(path), f"is not a study: {str(error).splitlines()[0]}") from None


def _open(setup: Setup, path: Path) -> optuna.Study:
    """The study in a file, made if there is none. Raises UsageError where it is about something else."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = _storage(path)
    told = json.loads(json.dumps(setup.to_dict()))
    if NAME in optuna.get_all_study_names(storage):
        study = optuna.load_study(study_name=NAME, storage=storage)
        kept = study.user_attrs.get("setup", told)
        differing = ", ".join(key for key in told if kept.get(key) != told[key])
        if differing:
            raise UsageError(f"{path} holds a study of other {differing}", "name another file with --study")
    else:
        minimize, maximize = optuna.study.StudyDirection.MINIMIZE, optuna.study.StudyDirection.MAXIMIZE
        directions = [maximize if figure.most else minimize for figure in setup.objectives]
        study = optuna.create_study(study_name=NAME, storage=storage, directions=directions)
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(setup.first)
    study.set_user_attr("setup", told)
    return study


def _sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import NSGAIISampler, RandomSampler, TPESampler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if name == "nsga2":
            return NSGAIISampler(population_size=POPULATION, seed=seed)
        if name == "tpe":
            return TPESampler(seed=seed, multivariate=True)
    return RandomSampler(seed=seed)
