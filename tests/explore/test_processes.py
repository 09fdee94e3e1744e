"""Searches whose processes are killed: nothing that was finished is lost, and nothing counts twice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from attnc.compiler.explore.exploration import explore, load_exploration
from attnc.compiler.explore.study import Trial
from attnc.isa.errors import InputError

from ..compiler.conftest import SHAPES


def children(process: int) -> list[int]:
    """The processes that a process of this host has started, those of its threads included."""
    return [
        int(child) for task in Path(f"/proc/{process}/task").glob("*/children") for child in task.read_text().split()
    ]


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.slow
def test_a_killed_search_goes_on_where_it_was(folder: Path) -> None:
    words = ["explore", "model.onnx", "--space", "space.toml", "--trials", "12", "--workers", "2", "--quiet"]
    shapes = [word for name, shape in SHAPES.items() for word in ("--shape", f"{name}={'x'.join(map(str, shape))}")]
    process = subprocess.Popen([sys.executable, "-m", "attnc", *words, *shapes])
    before: tuple[Trial, ...] = ()
    while len(before) < 3:
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.2)
        if (folder / "space.db").is_file():
            try:
                before = load_exploration("space.db").trials
            except InputError:
                assert not before
    workers = children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = load_exploration("space.db").trials
    found = explore("model.onnx", "space.toml", trials=12, shapes=SHAPES)
    assert found.trials[: len(before)] == before
    assert len({trial.number for trial in found.trials}) == 12
    assert len(workers) >= 2
    assert not any(map(alive, workers)), "workers end with the process that started them"


@pytest.mark.parametrize("where", ["processes", pytest.param("cluster", marks=pytest.mark.slow)])
def test_a_worker_that_is_killed_costs_no_trial(folder: Path, where: str) -> None:
    killed: list[int] = []

    def search(workers: list[int], scheduler: str | None) -> None:
        def kill(trials: Mapping[int, Trial]) -> None:
            if len(trials) == 2 and not killed:
                killed.append((workers or [child for child in children(os.getpid()) if is_worker(child)])[0])
                os.kill(killed[0], signal.SIGKILL)

        found = explore(
            "model.onnx",
            "space.toml",
            objectives="cycles,accuracy",
            data="data.npz",
            shapes=SHAPES,
            trials=8,
            workers=2,
            scheduler=scheduler,
            progress=kill,
        )
        assert len(killed) == 1
        assert sorted(trial.number for trial in found.trials) == list(range(8))
        assert all(trial.outcome.figures for trial in found.trials)
        kept = load_exploration("space.db")
        assert (kept.trials, kept.front) == (found.trials, found.front)

    if where == "processes":
        search([], None)
        return
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        search([worker.pid for worker in cluster.workers.values()], cluster.scheduler_address)


def is_worker(process: int) -> bool:
    return b"spawn_main" in Path(f"/proc/{process}/cmdline").read_bytes()


def test_designs_run_in_other_processes_as_in_this_one(folder: Path) -> None:
    from attnc.compiler.explore.design import assess

    found = explore("model.onnx", "space.toml", objectives="cycles,accuracy", data="data.npz", shapes=SHAPES, trials=1)
    here = assess(found.setup.work, found.setup.design(found.trials[0].assignment), {}, accuracy=True)
    assert here.figures == found.trials[0].outcome.figures
    assert here.numbers == found.trials[0].outcome.numbers
