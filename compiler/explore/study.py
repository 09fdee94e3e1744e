"""A study: the trials of a search in a file, whole at every moment, whoever is killed."""

from __future__ import annotations

import json
import sqlite3
import warnings
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
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
    from optuna.storages import RDBStorage

SAMPLERS = ("nsga2", "tpe", "random")
"""Names of the ways to draw the next design."""

POPULATION = 24
"""Designs in a generation of nsga2."""

REFUSED = 1e6
"""How far beyond any limit a design counts that cannot be compiled or run at all."""

NAME = "attnc"
"""Of the study in its file."""

CORRECTED = "corrected:"
"""Before the number of a trial: Optuna lets nobody change a finished one."""


@frozen
class Trial:
    """A design on trial: its number in the study, its parameters' values, and what became of it (nothing yet)."""

    number: int
    assignment: Assignment
    outcome: Outcome = field(default_factory=Outcome)


class Study:
    """See the module. One process at a time has a study open; it alone asks for trials and tells what they gave."""

    def __init__(self, setup: Setup, study: optuna.Study) -> None:
        self.setup = setup
        self._study = study
        self._asked: dict[int, optuna.Trial] = {}

    def finished(self) -> list[Trial]:
        """The trials whose outcome is known, by number."""
        return _finished(self._study)

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

    def correct(self, number: int, outcome: Outcome) -> None:
        """Keep what was found out about a finished trial since."""
        self._study.set_user_attr(f"{CORRECTED}{number}", asdict(outcome))


@contextmanager
def open_study(setup: Setup, path: Path, sampler: str = SAMPLERS[0], seed: int = 0) -> Generator[Study]:
    """The study in a file, made if there is none; nobody else can have it meanwhile.

    Raises InputError for a file that is no study or is in use, UsageError for a study of something else, OutputError
    where the file cannot be written, be it in the end.
    """
    with _locked(path), _storage(path) as storage:
        study = _begun(setup, storage, path)
        # A sampler that starts anew from the same seed would draw the designs of the start once more.
        study.sampler = _sampler(sampler, seed + len(study.get_trials(deepcopy=False)))
        yield Study(setup, study)


def kept(path: Path) -> tuple[Setup, list[Trial]]:
    """What the study in a file is about, and its finished trials; another process may be at work on it.

    Raises InputError for a file that holds no study.
    """
    if not path.is_file():
        raise InputError(str(path), "there is no such file")
    import optuna
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    _check_file(path)
    try:
        storage = optuna.storages.RDBStorage(_address(path), skip_table_creation=True)
        study = optuna.load_study(study_name=NAME, storage=storage)
        about, trials = study.user_attrs["setup"], _finished(study)
    except (SQLAlchemyError, StorageInternalError, RuntimeError, KeyError):
        raise InputError(str(path), "holds no study of attnc, or one that has not begun") from None
    _let_go(storage)
    return Setup.of(about, str(path)), trials


def _finished(study: optuna.Study) -> list[Trial]:
    corrected = study.user_attrs
    return [
        Trial(
            trial.number,
            trial.params,
            Outcome(**corrected.get(f"{CORRECTED}{trial.number}", trial.user_attrs["outcome"])),
        )
        for trial in study.get_trials(deepcopy=False)
        if trial.state.is_finished() and "outcome" in trial.user_attrs
    ]


@contextmanager
def _locked(path: Path) -> Generator[None]:
    """Hold the study's lock. The system releases it however this process ends."""
    from filelock import FileLock, Timeout

    if not path.parent.is_dir():
        raise OutputError(str(path), "its folder does not exist")
    _check_file(path)
    lock = FileLock(path.with_name(f"{path.name}.lock"), blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(str(path), "another process is at work on this study", "wait for it or stop it") from None
    except OSError as error:
        raise OutputError(str(path), error.strerror or str(error)) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _storage(path: Path) -> Generator[RDBStorage]:
    """A file's trials. Raises InputError for one that holds something else, OutputError where it cannot be written."""
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage
    from sqlalchemy import event
    from sqlalchemy.exc import SQLAlchemyError

    _check_file(path)
    try:
        storage = RDBStorage(_address(path))
    except (SQLAlchemyError, StorageInternalError, RuntimeError) as error:
        raise InputError(str(path), f"is not a study: {str(error).splitlines()[0]}") from None
    event.listen(storage.engine, "connect", _write_ahead)
    storage.engine.dispose()
    try:
        yield storage
    except (SQLAlchemyError, StorageInternalError) as error:
        raise OutputError(str(path), str(error.__cause__ or error).splitlines()[0]) from None
    finally:
        _let_go(storage)


def _address(path: Path) -> str:
    return f"sqlite:///{path}"


def _let_go(storage: RDBStorage) -> None:
    """Close every connection, so that the file stands alone again."""
    storage.remove_session()
    storage.engine.dispose()


def _write_ahead(connection: sqlite3.Connection, _: object) -> None:
    """Have no write wait for the disk: what is killed loses nothing by that, only a host without power does."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _check_file(path: Path) -> None:
    """Raise InputError for a file that holds something else: Optuna would lay its tables beside it."""
    if path.is_dir():
        raise OutputError(str(path), "it is a folder")
    if not path.is_file() or not path.stat().st_size:
        return
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    except sqlite3.Error as error:
        raise InputError(str(path), f"is not a study: {error}") from None
    if "studies" not in tables:
        raise InputError(str(path), "is not a study")


def _begun(setup: Setup, storage: RDBStorage, path: Path) -> optuna.Study:
    """The study in a storage, made if there is none. Raises UsageError where it is about something else."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
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
