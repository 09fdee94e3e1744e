"""The encoder benchmark: compile time, cycles and simulation speed beside ONNX Runtime, in one run, as ratios.

    python benchmarks/table.py                      # bert-tiny, deit-tiny, bert-base; int8 with static ranges
    python benchmarks/table.py deit-tiny --precision bf16 --json figures.json

Compile time is that of the whole `attnc compile` process. Simulation is values and timing of one inference, against the
latency of the same float32 model on ONNX Runtime with one thread in the same process. The first run of each is not
counted; of the others the median is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import onnx
import onnxruntime
from encoders import ENCODERS, build

from attnc import Session
from attnc.isa.program import Program

RUNS = 5
MACS_PER_CYCLE = {"int8": 1024, "bf16": 512, "fp16": 512, "model": 128}
"""Peak of the `edge` machine by precision: what the ideal cycles are made of."""


def seconds_of(action: Callable[[], object], runs: int = RUNS) -> float:
    """Median wall seconds of an action after one run that is not counted."""
    action()
    times: list[float] = []
    for _ in range(runs):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return median(times)


def figures(name: str, precision: str, calibrated: bool, folder: Path) -> dict[str, Any]:
    """Everything measured of one encoder."""
    size = ENCODERS[name]
    model, program, data = folder / f"{name}.onnx", folder / f"{name}.attn", folder / f"{name}.npz"
    onnx.save(build(size), model)
    samples = np.random.default_rng(1).normal(0, 1, (4, size.tokens, size.width)).astype(np.float32)
    np.savez(data, hidden=samples)

    command = [sys.executable, "-m", "attnc", "compile", str(model), "-o", str(program)]
    command += ["--quiet", "--precision", precision, *(["--calibrate", str(data)] if calibrated else [])]
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    compile_seconds = time.perf_counter() - begin

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    reference = onnxruntime.InferenceSession(model, options)
    inputs = {"hidden": samples[:1]}
    loaded = Program.load(program)

    def simulate() -> object:
        return Session(loaded).run(inputs)

    session = Session(loaded)
    result = session.run(inputs)
    given, expected = result.outputs["output"].ravel(), reference.run(None, inputs)[0].ravel()
    performance = result.report.performance
    moved = performance.dram_read_bytes + performance.dram_write_bytes
    runtime_seconds = seconds_of(lambda: reference.run(None, inputs))
    simulation_seconds = seconds_of(simulate)
    return {
        "encoder": name,
        "precision": precision + (" static" if calibrated else ""),
        "macs": size.macs,
        "ideal_cycles": size.macs // MACS_PER_CYCLE[precision],
        "cycles": performance.cycles,
        "matrix_utilization": performance.utilization["mx"],
        "dram_over_compulsory": moved / performance.dram_compulsory_bytes,
        "cosine": float(given @ expected / np.linalg.norm(given) / np.linalg.norm(expected)),
        "compile_seconds": compile_seconds,
        "simulation_seconds": simulation_seconds,
        "onnxruntime_seconds": runtime_seconds,
        "simulation_over_onnxruntime": simulation_seconds / runtime_seconds,
        "instructions": performance.instructions,
        "energy_uj": performance.energy_pj * 1e-6,
    }


COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("encoder", "encoder", "s"),
    ("precision", "precision", "s"),
    ("ideal_cycles", "ideal cycles", ",d"),
    ("cycles", "cycles", ",d"),
    ("matrix_utilization", "matrix engine", ".1%"),
    ("dram_over_compulsory", "DRAM / compulsory", ".2f"),
    ("cosine", "cosine", ".5f"),
    ("compile_seconds", "compile s", ".2f"),
    ("simulation_seconds", "simulate s", ".3f"),
    ("simulation_over_onnxruntime", "/ ONNX Runtime", ".1f"),
    ("energy_uj", "energy uJ", ",.0f"),
)


def main() -> None:
    """Measure what is asked for and print it as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="*", default=list(ENCODERS), metavar="ENCODER", help=", ".join(ENCODERS))
    parser.add_argument("--precision", choices=list(MACS_PER_CYCLE), default="int8")
    parser.add_argument("--dynamic", action="store_true", help="int8 ranges by token at run time, no calibration")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    calibrated = options.precision == "int8" and not options.dynamic
    with tempfile.TemporaryDirectory() as folder:
        rows = [figures(name, options.precision, calibrated, Path(folder)) for name in options.encoders]
    print("| " + " | ".join(title for _, title, _ in COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS))
    for row in rows:
        print("| " + " | ".join(format(row[key], form) for key, _, form in COLUMNS) + " |")
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
