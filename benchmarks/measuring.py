"""What every benchmark measures, in one place: compilation as a process, simulation, ONNX Runtime, and where it ran."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import onnx
import onnxruntime
from encoders import Product

from attnc import Session
from attnc.isa.machine import load_machine
from attnc.isa.program import Program
from attnc.runtime.report import Performance

RUNS = 5
"""Timed repetitions, of which the median counts; one more before them does not."""

PACKAGES = ("attnc", "numpy", "numba", "onnx", "onnxruntime", "xdsl", "zigzag-dse", "ethos-u-vela")


@dataclass(frozen=True)
class Compiled:
    """A compiled model and what the whole `attnc compile` process took."""

    program: Path
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


class Bench:
    """Compiles models in a folder, in processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # As after an installation, modules are compiled to bytecode once, and not as a part of what is measured.
        bytecode = {"PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
        self._environment = {**os.environ, **bytecode}
        self._is_warm = False

    def model(self, name: str, build: Callable[[], onnx.ModelProto]) -> Path:
        """The file of a model, built when it is first asked for."""
        path = self.folder / f"{name}.onnx"
        if not path.exists():
            onnx.save(build(), path)
        return path

    def compile(self, model: Path, recipe: str = "", samples: Mapping[str, np.ndarray] | None = None) -> Compiled:
        """Compile with a recipe (TOML) and calibration samples. Raises RuntimeError with what the compiler said."""
        files = [self.folder / f"compiled.{suffix}" for suffix in ("attn", "toml", "npz")]
        program, settings, calibration = files
        settings.write_text(recipe)
        command = [sys.executable, "-m", "attnc", "compile", str(model), "-o", str(program), "--quiet"]
        command += ["--recipe", str(settings)]
        if samples is not None:
            np.savez(calibration, **samples)
            command += ["--calibrate", str(calibration)]
        if not self._is_warm:
            self._run(command)
            self._is_warm = True
        figures = self._run(command)
        return Compiled(program, figures["wall_seconds"], figures["cpu_seconds"], figures["peak_bytes"])

    def _run(self, command: list[str]) -> dict[str, Any]:
        measured = [sys.executable, str(Path(__file__).with_name("process.py")), *command]
        result = subprocess.run(measured, env=self._environment, capture_output=True, text=True, check=False)
        figures: dict[str, Any] = json.loads(result.stdout)
        if figures["status"]:
            raise RuntimeError(result.stderr.strip())
        return figures


@dataclass(frozen=True)
class Simulated:
    """What the simulator says of one inference, how long it takes to say it, and how near its values are.

    `seconds` is values and timing, `timing_seconds` timing alone, `reference_seconds` one inference of the float32
    model by ONNX Runtime on one thread, measured in turn with it; each of them without loading. `cosine` compares all
    outputs with the reference's.
    """

    performance: Performance
    seconds: float
    timing_seconds: float
    reference_seconds: float
    cosine: float


def simulate(model: Path, program: Path, inputs: Mapping[str, np.ndarray]) -> Simulated:
    """Run a program and its model side by side."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    reference = onnxruntime.InferenceSession(model, options)
    loaded = Program.load(program)

    # A session keeps the timing that it has computed: each repetition has one of its own.
    def run() -> object:
        return Session(loaded).run(inputs)

    def timing() -> object:
        return Session(loaded).run(inputs, "timing")

    def refer() -> object:
        return reference.run(None, inputs)

    seconds, timing_seconds, reference_seconds = in_turn(run, timing, refer)
    result = Session(loaded).run(inputs)
    names = [item.name for item in reference.get_outputs()]
    expected = np.concatenate([np.ravel(value) for value in reference.run(names, inputs)])
    given = np.concatenate([result.outputs[name].ravel() for name in names])
    cosine = float(given @ expected / np.linalg.norm(given) / np.linalg.norm(expected))
    return Simulated(result.report.performance, seconds, timing_seconds, reference_seconds, cosine)


def in_turn(*actions: Callable[[], object], runs: int = RUNS) -> list[float]:
    """Median wall seconds of each action, run in turn so that what disturbs one disturbs all."""
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(runs + 1):
        for action, taken in zip(actions, times, strict=True):
            begin = time.perf_counter()
            action()
            taken.append(time.perf_counter() - begin)
    return [median(taken[1:]) for taken in times]


def samples_of(model: Path, count: int = 4, seed: int = 1) -> dict[str, np.ndarray]:
    """Normally distributed inputs for a model of static shapes, `count` samples along axis 0; token ids are uniform
    below 1,000."""
    random = np.random.default_rng(seed)
    proto = onnx.load(model, load_external_data=False)
    result: dict[str, np.ndarray] = {}
    for item in proto.graph.input:
        tensor = item.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        shape = (count, *(dimension.dim_value for dimension in tensor.shape.dim[1:]))
        is_float = np.issubdtype(dtype, np.floating)
        values = random.normal(0, 1, shape) if is_float else random.integers(0, 1000, shape)
        result[item.name] = values.astype(dtype)
    return result


def moved_ratio(performance: Performance) -> float:
    """DRAM bytes moved over those that have to be."""
    return (performance.dram_read_bytes + performance.dram_write_bytes) / performance.dram_compulsory_bytes


def array_bound(products: Iterable[Product], mode: str, machine: str = "edge") -> int:
    """Cycles in which the array of a machine can compute products at best, padding to the array paid.

    A product [M, K] @ [K, N] takes ceil(K / (rows * rate)) * ceil(N / columns) * max(M, rows) cycles.
    """
    matrix = load_machine(machine).matrix
    depth, columns = matrix.depth(mode), matrix.columns
    return sum(
        item.count * -(-item.depth // depth) * -(-item.columns // columns) * max(item.rows, matrix.rows)
        for item in products
    )


def surroundings() -> dict[str, Any]:
    """When, with what and where a benchmark ran: what a figure needs to be compared with a later one."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **found},
        "host": {"system": platform.system(), "processor": _processor(), "cores": os.cpu_count()},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def write_json(path: Path | None, **tables: object) -> None:
    """Write tables with their surroundings, if there is a path."""
    if path is not None:
        path.write_text(json.dumps({**surroundings(), **tables}, indent=2) + "\n", encoding="utf-8")


def markdown(columns: list[tuple[str, str, str]], rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table; a column is the key in a row, its title and its format. What a row lacks is a dash."""
    lines = ["| " + " | ".join(title for _, title, _ in columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = ["-" if row.get(key) is None else format(row[key], form) for key, _, form in columns]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
