"""The search: trials asked for, handed to workers, and told; what is the same is done once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from typing import Any

from ...isa.errors import AttncError
from .design import Design, Outcome, assess
from .front import Point, front_of
from .study import Study, Trial
from .workers import Pool

ATTEMPTS = 3
"""So many workers may die of one design before it counts as failed."""

Progress = Callable[[Mapping[int, Trial]], None]
"""Called with the finished trials, by number, at first and as each is added."""


class Search:
    """A study being worked on. trials: the finished ones, by number."""

    def __init__(self, study: Study, pool: Pool, progress: Progress | None = None) -> None:
        self._study = study
        self._setup = study.setup
        self._pool = pool
        self._progress = progress
        self._outcomes: dict[str, Outcome] = {}
        self._accuracies: dict[str, float] = {}
        self._waiting: dict[str, list[Trial]] = {}
        study.requeue()
        self.trials: dict[int, Trial] = {trial.number: trial for trial in study.finished()}
        for trial in self.trials.values():
            if trial.outcome.figures:
                self._learn(self._setup.design(trial.assignment).key, trial.outcome)
        if progress is not None:
            progress(self.trials)

    def run(self, count: int) -> None:
        """Go on until `count` trials are finished, those of earlier runs included."""
        for design, outcome in self._work(self._designs(count), self._accuracies):
            self._learn(design.key, outcome)
            first, *others = self._waiting.pop(design.key)
            self._tell(first, outcome)
            for trial in others:
                self._tell(trial, replace(outcome, seconds=0.0))

    def confirm(self) -> tuple[Point, ...]:
        """The front, the accuracy of each of its designs found with its own program.

        While searching, designs that compute with the same numbers share an accuracy. Their programs may still take
        sums of floats in another order, so that a design of the front has to show its own.
        """
        while True:
            points = front_of(self._setup, self.trials.values())
            borrowed = {
                self._setup.design(point.trial.assignment).key: point.trial
                for point in points
                if not point.trial.outcome.own
            }
            if not borrowed:
                return points
            designs = (self._setup.design(trial.assignment) for trial in borrowed.values())
            for design, outcome in self._work(designs, {}):
                number = borrowed[design.key].number
                self._outcomes[design.key] = outcome
                self._study.correct(number, outcome)
                self.trials[number] = Trial(number, borrowed[design.key].assignment, outcome)

    def _designs(self, count: int) -> Iterator[Design]:
        """Designs that have to be assessed, one for each trial that is not like another."""
        while len(self.trials) + sum(map(len, self._waiting.values())) < count:
            trial = self._study.ask()
            try:
                design = self._setup.design(trial.assignment)
            except AttncError as error:
                self._tell(trial, Outcome(refusal=str(error)))
                continue
            if design.key in self._outcomes:
                self._tell(trial, replace(self._outcomes[design.key], seconds=0.0))
            elif design.key in self._waiting:
                self._waiting[design.key].append(trial)
            else:
                self._waiting[design.key] = [trial]
                yield design

    def _work(self, designs: Iterator[Design], known: Mapping[str, float]) -> Iterator[tuple[Design, Outcome]]:
        """What becomes of designs, in the order in which it is known; the next is taken when a worker is free."""
        running: dict[Future[Any], Design] = {}
        deaths: Counter[str] = Counter()

        def submit(design: Design) -> None:
            arguments = (self._setup.work, design, dict(known), self._setup.wants_accuracy)
            running[self._pool.submit(assess, *arguments)] = design

        while True:
            while len(running) < self._pool.size and (design := next(designs, None)) is not None:
                submit(design)
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                design = running.pop(future)
                outcome: Outcome | None = self._pool.take(future)
                deaths[design.key] += outcome is None
                if outcome is not None:
                    yield design, outcome
                elif deaths[design.key] < ATTEMPTS:
                    submit(design)
                else:
                    yield design, Outcome(failure=f"{ATTEMPTS} workers died of it, one after the other")

    def _learn(self, key: str, outcome: Outcome) -> None:
        self._outcomes[key] = outcome
        if outcome.own and "accuracy" in outcome.figures:
            self._accuracies[outcome.numbers] = outcome.figures["accuracy"]

    def _tell(self, trial: Trial, outcome: Outcome) -> None:
        self._study.tell(trial.number, outcome)
        self.trials[trial.number] = Trial(trial.number, trial.assignment, outcome)
        if self._progress is not None:
            self._progress(self.trials)
