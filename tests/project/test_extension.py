"""The example package extends attnc where it is installed, and what it made is a clear error where it is not."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import onnx
import pytest

from attnc.compiler.command_line.main import main

from ..compiler.conftest import SHAPES, small_model

SHAPE = " ".join(f"--shape {name}={'x'.join(map(str, shape))}" for name, shape in SHAPES.items())
EXAMPLE = Path(__file__).parents[2] / "examples" / "extension"


def installed(folder: Path, points: dict[str, dict[str, str]] | None = None) -> Path:
    """A folder that holds the package's metadata, as installation writes it: with its own entry points, or others."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    metadata = folder / "attnc_extension-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n")
    groups = points or project["entry-points"]
    lines = [line for group, own in groups.items() for line in (f"[{group}]", *(f"{k} = {v}" for k, v in own.items()))]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def run(folder: Path, script: str, *words: str | Path, more: tuple[Path, ...] = (EXAMPLE,)) -> tuple[str, str]:
    """What a script prints in a process of its own, for which the packages of `folder` are installed: they come first
    (-P: before the metadata that building the example may have left in its folder)."""
    places = [*map(str, (folder, *more)), *filter(None, sys.path)]
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=EXAMPLE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout, done.stderr


COMMANDS = """
import sys
from attnc.compiler.command_line.main import main

for line in sys.argv[1:]:
    print("status", main(line.split()), flush=True)
"""


FORM = """
import sys
from attnc.dialects.forms.form import Tokens
from attnc.dialects.forms.registry import Union
from attnc.isa.errors import AttncError
try:
    print(Union.parse(sys.argv[1]).runs(Tokens(0, 5, 5)).mask().astype(int).tolist())
except AttncError as error:
    print(f"error[{error.code}]: {error}", file=sys.stderr)
"""


def test_a_form_of_another_package_unites_with_attncs_own(tmp_path: Path) -> None:
    out, err = run(installed(tmp_path), FORM, "strided:3,global:1")
    assert err == ""
    assert np.array(eval(out)).tolist() == [
        [1, 1, 1, 1, 1],
        [1, 1, 0, 0, 1],
        [1, 0, 1, 0, 0],
        [1, 0, 0, 1, 0],
        [1, 1, 0, 0, 1],
    ]


def test_machine_pass_and_instruction_of_another_package(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model.onnx"
    onnx.save(small_model(), model)
    compile_model = f"compile {model} {SHAPE} --machine edge-wide --quiet -o {tmp_path}"
    out, err = run(
        installed(tmp_path / "site"),
        COMMANDS,
        "machines",
        f"{compile_model}/plain.attn",
        f"{compile_model}/relu.attn --recipe relu.toml",
        f"run {tmp_path}/plain.attn --random 0 --json {tmp_path}/plain.json --quiet",
        f"run {tmp_path}/relu.attn --random 0 --json {tmp_path}/relu.json --quiet",
        f"inspect {tmp_path}/relu.attn --json",
        f"asm fill.asm -o {tmp_path}/fill.attn",
        f"disasm {tmp_path}/fill.attn -o {tmp_path}/again.asm",
        f"asm {tmp_path}/again.asm -o {tmp_path}/again.attn",
        f"run {tmp_path}/fill.attn --random 0 --check --output {tmp_path}/fill.npz --quiet",
    )
    assert out.count("status 0") == 10, out + err
    assert re.search(r"^edge-wide +edge with twice the DRAM bandwidth$", out, re.MULTILINE)
    assert '"run": "replace-gelu"' in out
    energy = {}
    for name in ("plain", "relu"):
        summary = json.loads((tmp_path / f"{name}.json").read_text())["summary"]
        assert summary["machine"] == "edge-wide"
        energy[name] = summary["energy_by_part_pj"]["vector"]
    assert energy["relu"] < energy["plain"]
    assert (tmp_path / "again.attn").read_bytes() == (tmp_path / "fill.attn").read_bytes()

    rows = np.load(tmp_path / "fill.npz")["y"]
    assert (rows[[0, 2, 3]] == 7).all()

    # Here the package is not installed.
    capsys.readouterr()
    assert main(["run", str(tmp_path / "fill.attn"), "--random", "0"]) == 2
    assert "uses the instruction ld.fill of package attnc-extension, which is not installed" in capsys.readouterr().err
    assert main(["compile", str(model), "--recipe", str(EXAMPLE / "relu.toml"), "-o", str(tmp_path / "x.attn")]) == 2
    assert "there is no pass 'replace-gelu'" in capsys.readouterr().err


PASS = "attnc_extension.replace_gelu:ReplaceGelu"
WRONG = {
    "gone": ({"attnc.instructions": {"ld.gone": "attnc_extension.gone:Gone"}}, "cannot be loaded: ModuleNotFoundError"),
    "no record": ({"attnc.instructions": {"ld.fill": "json:loads"}}, "is not an instruction record"),
    "other name": ({"attnc.instructions": {"ld.full": "attnc_extension.fill:Fill"}}, "is the record of 'ld.fill'"),
    "own opcode": ({"attnc.instructions": {"ld.low": "low:Low"}}, "opcode 0x3f is attnc's"),
    "own machine": ({"attnc.machines": {"again": "attnc.isa.machines"}}, "there is a machine "),
    "no folder": ({"attnc.machines": {"again": "json:loads"}}, "is not a package whose folder holds machine files"),
    "no pass": ({"attnc.passes": {"replace-gelu": "json:loads"}}, "is not a pass"),
    "own pass": (
        {"attnc.passes": {"lower-tile": PASS}},
        "attnc has a pass",
    ),
    "other pass": (
        {"attnc.passes": {"replace": PASS}},
        "is the pass 'replace-gelu'",
    ),
    "no form": ({"attnc.attention_forms": {"strided": "json:loads"}}, "is not a form of attention"),
    "own form": ({"attnc.attention_forms": {"window": "attnc.dialects.forms.window:Window"}}, "attnc has a form"),
    "failing": ({"attnc.passes": {"failing": "low:Failing"}}, "fails after phase graph: KeyError: 'lost'"),
}

LOW = """
from dataclasses import dataclass
from attnc.isa.engines import Engine
from attnc.isa.record import instruction
from attnc_extension.fill import Fill
from xdsl.passes import ModulePass


@instruction("ld.low", engine=Engine.LD, opcode=0x3F)
class Low(Fill):
    "Low."


@dataclass(frozen=True)
class Failing(ModulePass):
    name = "failing"

    def apply(self, ctx, op):
        raise KeyError("lost")
"""


@pytest.mark.parametrize("case", WRONG)
def test_an_extension_that_is_wrong_is_one_sentence(tmp_path: Path, case: str) -> None:
    points, reason = WRONG[case]
    ((group, entries),) = points.items()
    name = next(iter(entries))
    (tmp_path / "low.py").write_text(LOW)
    (tmp_path / "recipe.toml").write_text(f"[[pass]]\nafter = 'graph'\nrun = '{name}'\n")
    onnx.save(small_model(), tmp_path / "model.onnx")
    script, command = COMMANDS, "machines"
    if group == "attnc.attention_forms":
        script, command = FORM, "window:1"
    elif group != "attnc.machines":
        command = f"compile {tmp_path}/model.onnx {SHAPE} --recipe {tmp_path}/recipe.toml -o {tmp_path}/x.attn --quiet"
    out, err = run(installed(tmp_path / "site", points), script, command, more=(EXAMPLE, tmp_path))
    assert out in ("", "status 2\n")
    assert err.startswith("error[E207]: extension")
    assert "of package attnc-extension: " in err
    assert reason in err
    assert err.count("\n") == 1
