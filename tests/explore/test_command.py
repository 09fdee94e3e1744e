"""`attnc explore` from outside: what it prints and writes, that a point can be had again, and what it refuses."""

import csv
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from attnc.compiler.command_line.main import main
from attnc.compiler.explore.objectives import FIGURES
from attnc.isa.machine import load_machine

from ..compiler.conftest import SHAPES

SHAPE = [word for name, shape in SHAPES.items() for word in ("--shape", f"{name}={'x'.join(map(str, shape))}")]
SEARCH = ["model.onnx", "--space", "space.toml", *SHAPE, "--quiet"]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*words: str) -> tuple[int, str, str]:
        status = main(["explore", *words])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return status, printed.out, printed.err

    return command


def test_a_point_is_had_again_by_the_commands_that_export_prints(
    run: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "space.toml").write_text(
        "[machine]\nextends = 'tiny'\nsram.bytes = { choice = [40000, 65536] }\nmatrix.rates.i8 = { choice = [1, 2] }"
        "\n[recipe]\nprecision = 'int8'\nschedule = { choice = { all = {}, plain = { prefetch = false } } }\n"
        "[[recipe.tile]]\nmatch = '*up*'\ncolumns = { int = [8, 16], step = 8 }\n"
    )
    words = ["--objective", "cycles,energy,area,accuracy", "--data", "data.npz", "--trials", "4"]
    words += ["--csv", "all.csv", "--plot", "front.svg", "--json", "all.json"]
    status, out, err = run(*SEARCH, *words)
    assert (status, err) == (0, "")
    kept = json.loads((folder / "all.json").read_text())
    best = next(trial for trial in kept["trials"] if trial["front"])
    assert re.search(rf"^ *{best['trial']} ", out, re.MULTILINE)
    assert "space.db: 4 trials" in out
    rows = list(csv.DictReader((folder / "all.csv").open()))
    assert [row["trial"] for row in rows] == ["0", "1", "2", "3"]
    assert float(rows[best["trial"]]["energy (uJ)"]) == best["figures"]["energy"]
    assert (folder / "front.svg").read_text().count("<text") > 20

    _, out, _ = run("--study", "space.db", "--export", str(best["trial"]), "--to", "again")
    figures: dict[str, float] = {"area": load_machine(folder / "again" / "machine.toml").area_mm2}
    for line in out.splitlines():
        for command in line.split(" && "):
            words = shlex.split(command)[1:]
            json_words = ["--json", f"{words[0]}.json"] if words[0] != "compile" else []
            assert main([*words, *json_words]) == 0
    report = json.loads((folder / "run.json").read_text())["summary"]
    figures |= {"cycles": report["cycles"], "energy": report["energy_pj"] * 1e-6}
    figures["accuracy"] = 100 * json.loads((folder / "evaluate.json").read_text())["accuracy"]
    assert figures == {name: best["figures"][name] for name in figures}


def test_a_study_alone_is_shown_and_goes_on_to_more_trials(run: Run, folder: Path) -> None:
    _, first, _ = run(*SEARCH, "--trials", "2")
    assert run("--study", "space.db")[1] == first
    assert "space.db: 3 trials" in run(*SEARCH, "--trials", "3")[1]
    assert "space.db: 3 trials" in run(*SEARCH, "--trials", "3")[1]


def test_designs_that_do_not_fit_are_counted_with_their_reason(run: Run, folder: Path) -> None:
    (folder / "space.toml").write_text("[machine]\nextends = 'tiny'\nsram.bytes = { choice = [64, 65536] }\n")
    status, out, _ = run(*SEARCH, "--trials", "3", "--sampler", "random")
    assert status == 0
    assert re.search(r"space.db: 3 trials, 1 on the front, [12] refused", out)
    assert re.search(r"^  [12] x .*bytes needed", out, re.MULTILINE)


def test_limits_that_no_design_keeps_are_an_answer_of_no(run: Run, folder: Path) -> None:
    status, out, _ = run(*SEARCH, "--trials", "1", "--at-most", "area=0.1", "--at-least", "frame_rate=10")
    assert status == 1
    assert "no trial keeps every limit" in out
    assert "1 beyond area <= 0.1 mm2 or frame_rate >= 10 1/s" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.onnx"], "give --space"),
        ([], "neither a model nor a study"),
        (["--space", "space.toml", "--study", "s.db"], "a space goes with a model"),
        (["--study", "none.db"], "there is no such file"),
        (["--study", "space.toml"], "is not a study"),
        (["--study", "data.npz", "--export", "1"], "goes with --to"),
        ([*SEARCH, "--trials", "0"], "numbers from 1 up"),
        ([*SEARCH, "--sampler", "annealing"], "there is no sampler"),
        ([*SEARCH, "--objective", "cycles,beauty"], "there is no figure 'beauty'"),
        ([*SEARCH, "--objective", "cycles,cycles"], "is named twice"),
        ([*SEARCH, "--objective", "accuracy"], "give --data"),
        ([*SEARCH, "--at-most", "area"], "write FIGURE=NUMBER"),
        ([*SEARCH, "--at-most", "area=nan"], "is none"),
        ([*SEARCH, "--data", "none.npz", "--objective", "accuracy"], "none.npz: cannot be read"),
        (["none.onnx", *SEARCH[1:]], "none.onnx: cannot be read"),
        (["model.onnx", *SEARCH], "each once"),
        ([*SEARCH, "--study", "data.npz"], "data.npz"),
        ([*SEARCH, "--study", "none/s.db"], "its folder does not exist"),
        ([*SEARCH, "--csv", "none/out.csv"], "its folder does not exist"),
        ([*SEARCH, "--csv", "model.onnx"], "is the input too"),
        ([*SEARCH, "--plot", "front.jpeg"], "end its name in"),
        ([*SEARCH, "--scheduler", "tcp://127.0.0.1:1"], "no Dask scheduler answers"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_done(run: Run, folder: Path, words: list[str], said: str) -> None:
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert said in err
    assert {path.name for path in folder.iterdir()} <= {
        "model.onnx",
        "space.toml",
        "data.npz",
        "space.db",
        "space.db.lock",
    }


def test_missing_libraries_are_named(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attnc.compiler.explore.exploration.find_spec", lambda name: None if name == "optuna" else name)
    status, _, err = run(*SEARCH)
    assert status == 2
    assert "exploring needs optuna; pip install 'attnc[explore]'" in err


def test_every_figure_is_told_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "explore.md").read_text()
    for figure in FIGURES.values():
        better = "more" if figure.most else "less"
        assert f"| `{figure.name}` | {figure.unit} | {better} | {figure.meaning} |" in page
