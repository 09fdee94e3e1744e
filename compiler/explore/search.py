"""The search: trials asked for, handed to workers, and told; what is the same is done once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from ...isa.errors import AttncError
from .design import Design, Outcome, assess
from .study import Study, Trial
from .workers import Pool

ATTEMPTS = 3
"""So many workers may die of one design before it counts as failed."""

Told = Callable[[Trial], None]
"""Called with every trial as its outcome becomes known."""


class Search:
    """A study being worked on. trials: with their outcomes, by number in the study."""

    def __init__(self, study: Study, pool: Pool, told: Told | None = None) -> None:
        self._study = study
        self._pool = pool
        self._told = told
        self._wants_accuracy = study.setup.wants_accuracy
        self.trials: dict[int, Trial] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._accuracies: dict[str, float] = {}
        self._running: dict[Future[Any], Design] = {}
        self._waiting: dict[str, list[Trial]] = {}
        self._deaths: Counter[str] = Counter()
        study.requeue()
        for trial in study.finished():
            self.trials[trial.number] = trial
            if trial.outcome.figures:
                self._learn(study.setup.design(trial.assignment).key, trial.outcome)

    def run(self, count: int) -> None:
        """Go on until `count` trials are finished, those of earlier runs included."""
        while True:
            while len(self._running) < self._pool.size and self._open() < count:
                self._begin(self._study.ask())
            if not self._running:
                return
            done, _ = wait(self._running, return_when=FIRST_COMPLETED)
            for future in done:
                self._end(future)

    def _open(self) -> int:
        """Trials that are finished or under way."""
        return len(self.trials) + sum(map(len, self._waiting.values()))

    def _begin(self, trial: Trial) -> None:
        try:
            design = self._study.setup.design(trial.assignment)
        except AttncError as error:
            self._tell(trial, Outcome(refusal=f"[{error.code}] {error}"))
            return
        if design.key in self._outcomes:
            self._tell(trial, self._outcomes[design.key])
        elif design.key in self._waiting:
            self._waiting[design.key].append(trial)
        else:
            self._waiting[design.key] = [trial]
            self._submit(design)

    def _submit(self, design: Design) -> None:
        arguments = (self._study.setup.work, design, dict(self._accuracies), self._wants_accuracy)
        self._running[self._pool.submit(assess, *arguments)] = design

    def _end(self, future: Future[Any]) -> None:
        design = self._running.pop(future)
        if self._pool.died(future):
            self._deaths[design.key] += 1
            if self._deaths[design.key] < ATTEMPTS:
                self._submit(design)
                return
            outcome = Outcome(failure=f"{ATTEMPTS} workers died, one after the other")
        else:
            outcome = future.result()
        self._learn(design.key, outcome)
        for trial in self._waiting.pop(design.key):
            self._tell(trial, outcome)

    def _learn(self, key: str, outcome: Outcome) -> None:
        self._outcomes[key] = outcome
        if outcome.own and "accuracy" in outcome.figures:
            self._accuracies[outcome.numbers] = outcome.figures["accuracy"]

    def _tell(self, trial: Trial, outcome: Outcome) -> None:
        self._study.tell(trial.number, outcome)
        self.trials[trial.number] = told = Trial(trial.number, trial.assignment, outcome)
        if self._told is not None:
            self._told(told)
