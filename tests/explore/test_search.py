"""What a search does with trials, whoever does the work: here nobody, figures are made up from the designs."""

from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from attnc.compiler.explore.design import Design, Outcome, Work
from attnc.compiler.explore.front import Point, front_of
from attnc.compiler.explore.objectives import FIGURES, limits_of, objectives_of
from attnc.compiler.explore.search import Search
from attnc.compiler.explore.setup import Setup
from attnc.compiler.explore.space import Space
from attnc.compiler.explore.study import SAMPLERS, Trial, kept, open_study
from attnc.isa.errors import InputError, UsageError

from .conftest import fill


def made_up(design: Design, known: Mapping[str, float]) -> Outcome:
    """Wide memories are fast and large; int8 does not run on the smallest. Numbers go with the precision alone."""
    sram, lanes = design.machine["sram"]["bytes"], design.machine["vector"]["lanes"]
    precision = str(design.recipe["precision"])
    if precision == "int8" and sram == 16384:
        return Outcome(refusal="does not fit")
    figures = dict.fromkeys(FIGURES, 1.0) | {"cycles": 1e9 / sram, "area": sram / 1e4 + lanes, "energy": float(lanes)}
    own = precision not in known
    true = {"model": 90.0, "bf16": 89.0, "int8": 80.0 + lanes}[precision]
    return Outcome(figures | {"accuracy": true if own else known[precision]}, numbers=precision, own=own)


@dataclass
class Desk:
    """A pool that does tasks at once and writes down what was asked of it; `deadly` designs kill so many workers."""

    size: int = 2
    asked: list[Design] = field(default_factory=list)
    deadly: Callable[[Design], int] = lambda design: 0
    deaths: Counter[str] = field(default_factory=Counter)

    def submit(self, task: Callable[..., Any], *arguments: Any) -> Future[Any]:
        _, design, known, _ = arguments
        future: Future[Any] = Future()
        if self.deaths[design.key] < self.deadly(design):
            self.deaths[design.key] += 1
            future.set_result(None)
        else:
            self.asked.append(design)
            future.set_result(made_up(design, known))
        return future

    def take(self, done: Future[Any]) -> Any:
        return done.result()


@pytest.fixture
def setup(folder: Path) -> Setup:
    return setup_in(folder)


def setup_in(folder: Path) -> Setup:
    return Setup(
        {"model": str(folder / "model.onnx")},
        Space.read(folder / "space.toml"),
        Work(data=str(folder / "data.npz")),
        objectives_of("cycles,area,accuracy"),
        limits_of({"area": 20}, {}),
    )


def searched(setup: Setup, path: Path, count: int, desk: Desk | None = None, **options: Any) -> Search:
    with open_study(setup, path, **options) as study:
        search = Search(study, desk or Desk())
        search.run(count)
        search.confirm()
        return search


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_trial_is_finished_once_and_kept(setup: Setup, folder: Path, sampler: str) -> None:
    search = searched(setup, folder / "s.db", 12, sampler=sampler)
    assert len(search.trials) == 12
    _, trials = kept(folder / "s.db")
    assert {trial.number: trial for trial in trials} == search.trials


def test_the_first_trial_takes_the_first_values(setup: Setup, folder: Path) -> None:
    assert searched(setup, folder / "s.db", 1).trials[0].assignment == setup.first


@dataclass(frozen=True)
class Done:
    """A search of 40 trials, the designs that were assessed, and the front."""

    setup: Setup
    path: Path
    trials: dict[int, Trial]
    asked: list[Design]
    front: tuple[Point, ...]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder, desk = tmp_path_factory.mktemp("done"), Desk()
    fill(folder)
    setup = setup_in(folder)
    trials = searched(setup, folder / "s.db", 40, desk, sampler="random").trials
    return Done(setup, folder / "s.db", trials, desk.asked, front_of(setup, trials.values()))


def test_equal_designs_are_assessed_once_and_once_more_on_the_front(done: Done) -> None:
    front = {done.setup.design(point.trial.assignment).key for point in done.front}
    times = Counter(design.key for design in done.asked)
    assert len(times) < 40
    assert all(count <= 1 + (key in front) for key, count in times.items())


def test_designs_of_the_front_show_their_own_accuracy(done: Done) -> None:
    assert any(not trial.outcome.own for trial in done.trials.values())
    assert done.front
    for point in done.front:
        design = done.setup.design(point.trial.assignment)
        assert point.figures["accuracy"] == made_up(design, {}).figures["accuracy"]
    assert front_of(done.setup, kept(done.path)[1]) == done.front


def test_the_front_keeps_the_limits_and_nothing_beats_it(done: Done) -> None:
    within = [trial.outcome.figures for trial in done.trials.values() if trial.outcome.figures.get("area", 99) <= 20]
    for own in (point.figures for point in done.front):
        assert own in within
        assert not any(
            other["cycles"] <= own["cycles"] and other["area"] < own["area"] and other["accuracy"] >= own["accuracy"]
            for other in within
        )


def test_refusals_are_kept_with_their_reason_and_count(done: Done) -> None:
    refused = [trial for trial in done.trials.values() if not trial.outcome.figures]
    assert refused
    assert {trial.outcome.refusal for trial in refused} == {"does not fit"}
    assert all(trial.assignment["recipe.precision"] == "int8" for trial in refused)


def test_a_design_whose_worker_dies_is_tried_again_and_given_up_at_last(setup: Setup, folder: Path) -> None:
    desk = Desk(deadly=lambda design: {8: 2, 16: 5}[design.machine["vector"]["lanes"]])
    trials = searched(setup, folder / "s.db", 12, desk).trials.values()
    assert len(trials) == 12
    for trial in trials:
        assert bool(trial.outcome.failure) == (trial.assignment["machine.vector.lanes"] == 16)


def test_a_stopped_study_goes_on(setup: Setup, folder: Path) -> None:
    first = searched(setup, folder / "s.db", 10).trials
    with open_study(setup, folder / "s.db") as study:
        abandoned = [study.ask(), study.ask()]
    search = searched(setup, folder / "s.db", 15)
    assert len(search.trials) == 15
    assert {number: search.trials[number] for number in first} == first
    again = [search.trials[number].assignment for number in sorted(search.trials) if number > abandoned[1].number][:2]
    assert again == [trial.assignment for trial in abandoned]
    assert not {trial.number for trial in abandoned} & set(search.trials)


def test_an_outcome_that_was_kept_but_not_told_counts_once(
    setup: Setup, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_study(setup, folder / "s.db") as study:
        trial = study.ask()
        monkeypatch.setattr(study, "_finish", lambda *_: None)
        study.tell(trial.number, made_up(setup.design(trial.assignment), {}))
    monkeypatch.undo()
    search = searched(setup, folder / "s.db", 5)
    assert sorted(search.trials) == [0, 1, 2, 3, 4]


def test_equal_seeds_give_equal_trials(setup: Setup, folder: Path) -> None:
    def drawn(name: str, seed: int) -> list[Trial]:
        return list(searched(setup, folder / name, 26, Desk(size=1), seed=seed).trials.values())

    assert drawn("a.db", 1) == drawn("b.db", 1)
    assert drawn("c.db", 2) != drawn("a.db", 1)


def test_a_study_is_about_one_thing_and_open_once(setup: Setup, folder: Path) -> None:
    with open_study(setup, folder / "s.db"), pytest.raises(InputError, match="another process"):
        searched(setup, folder / "s.db", 1)
    (folder / "model.onnx").write_bytes(b"another")
    with pytest.raises(UsageError, match="of other digests"):
        searched(setup, folder / "s.db", 1)
