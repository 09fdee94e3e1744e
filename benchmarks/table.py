"""The encoder benchmark: cycles, DRAM traffic, compile time and memory, and simulation speed beside ONNX Runtime.

    python benchmarks/table.py                          # the rows that goals are set for, each with its dynamic one
    python benchmarks/table.py bert-tiny --all          # bf16 and float32 too
    python benchmarks/table.py --models                 # whole models: GPT-2 small prefill, DeiT-tiny with its head
    python benchmarks/table.py --model deit.onnx --json figures.json

Compile time and memory are those of the whole `attnc compile` process. Simulation is values and timing of one inference
on one thread, over the latency of the same float32 model on ONNX Runtime with one thread, run in turn. ZigZag and Vela
are measured where they are installed (`pip install '.[benchmarks]'`); what they took elsewhere is told as published.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoders import ENCODERS, build
from measuring import Bench, array_bound, markdown, moved_ratio, samples_of, simulate, write_json
from peers import Peer, vela, zigzag
from whole_models import MODELS

MAIN = ("bert-tiny", "deit-tiny", "bert-base")


@dataclass(frozen=True)
class Goals:
    """What a row is to stay within: cycles, DRAM bytes over compulsory ones, seconds of compilation and its memory
    over the model file, simulation over ONNX Runtime. None where nothing was set."""

    cycles: int
    dram_ratio: float
    compile_seconds: float | None = None
    memory_ratio: float | None = None
    simulation_ratio: float | None = None


@dataclass(frozen=True)
class Way:
    """A way to compile: what it is called, its recipe, whether ranges are calibrated, and the array's mode."""

    name: str
    recipe: str
    mode: str
    calibrated: bool = False


STATIC = Way("int8", 'precision = "int8"', "i8", calibrated=True)
NARROW = Way("int8, residual int8", 'precision = "int8"\nresidual = "int8"', "i8", calibrated=True)
DYNAMIC = Way("int8 by token", 'precision = "int8"', "i8")
BFLOAT = Way("bf16", 'precision = "bf16"', "bf16")
FLOAT = Way("float32", "", "f32")

GOALS = {
    ("bert-tiny", STATIC): Goals(63_000, 1.02, 1.0, None, 8),
    ("deit-tiny", STATIC): Goals(1_245_000, 1.05, 2.5, None, 4),
    ("bert-base", STATIC): Goals(11_500_000, 1.40, 9.0, 2.5, 3),
    ("bert-base", NARROW): Goals(11_250_000, 1.30),
}
FLOAT_BOUND_GOAL = 1.1
"""Cycles of bf16 and float32 over the array's bound."""


def figures(bench: Bench, name: str, model: Path, way: Way) -> dict[str, Any]:
    """Everything measured of one model compiled one way."""
    samples = samples_of(model)
    compiled = bench.compile(model, way.recipe, samples if way.calibrated else None)
    simulated = simulate(model, compiled.program, {name: values[:1] for name, values in samples.items()})
    performance = simulated.performance
    return {
        "model": name,
        "way": way.name,
        "cycles": performance.cycles,
        "macs": performance.macs,
        "matrix_utilization": performance.utilization["mx"],
        "dram_ratio": moved_ratio(performance),
        "dram_bytes": performance.dram_read_bytes + performance.dram_write_bytes,
        "energy_uj": performance.energy_pj * 1e-6,
        "instructions": performance.instructions,
        "cosine": simulated.cosine,
        "compile_seconds": compiled.wall_seconds,
        "compile_cpu_seconds": compiled.cpu_seconds,
        "peak_mb": compiled.peak_bytes / 1e6,
        "memory_ratio": compiled.peak_bytes / model.stat().st_size,
        "simulation_seconds": simulated.seconds,
        "timing_seconds": simulated.timing_seconds,
        "onnxruntime_seconds": simulated.reference_seconds,
        "simulation_ratio": simulated.seconds / simulated.reference_seconds,
    }


def encoder_rows(bench: Bench, name: str, ways: list[Way], peers: bool) -> list[dict[str, Any]]:
    """The rows of an encoder, with the bound of the array and, in the first, what other tools take."""
    size = ENCODERS[name]
    rows: list[dict[str, Any]] = []
    for way in ways:
        for row in _kept(bench, name, bench.model(name, lambda: build(size)), way):
            row["ideal_cycles"] = array_bound(size.products, way.mode)
            row["bound_ratio"] = row["cycles"] / row["ideal_cycles"]
            goals = GOALS.get((name, way))
            row["goals"] = vars(goals) if goals else {"bound_ratio": FLOAT_BOUND_GOAL} if way in (BFLOAT, FLOAT) else {}
            rows.append(row)
    if peers and rows:
        for peer in (zigzag(name, size), vela(name, size)):
            rows[0][peer.name] = _against(peer, rows[0])
    return rows


def _kept(bench: Bench, name: str, model: Path, way: Way) -> list[dict[str, Any]]:
    """The row of a model, none where it does not compile: why is told on stderr."""
    try:
        return [figures(bench, name, model, way)]
    except RuntimeError as error:
        print(f"{name}, {way.name}: {error}", file=sys.stderr)
        return []


def _against(peer: Peer, row: dict[str, Any]) -> dict[str, Any]:
    return {**vars(peer), "ratio": peer.cycles / row["cycles"] if peer.cycles else None}


COLUMNS = [
    ("model", "model", "s"),
    ("way", "precision", "s"),
    ("ideal_cycles", "array bound", ",d"),
    ("cycles", "cycles", ",d"),
    ("bound_ratio", "/ bound", ".3f"),
    ("matrix_utilization", "useful MACs", ".1%"),
    ("dram_ratio", "DRAM / compulsory", ".2f"),
    ("cosine", "cosine", ".5f"),
    ("energy_uj", "energy uJ", ",.0f"),
    ("compile_seconds", "compile s", ".2f"),
    ("compile_cpu_seconds", "compile CPU s", ".2f"),
    ("peak_mb", "peak MB", ",.0f"),
    ("memory_ratio", "memory / model file", ".2f"),
    ("simulation_seconds", "simulate s", ".3f"),
    ("simulation_ratio", "simulation / ONNX Runtime", ".1f"),
    ("timing_seconds", "timing alone s", ".3f"),
]


def told_of_peers(rows: list[dict[str, Any]]) -> str:
    """What other tools take for the encoders, over our cycles with everything counted."""
    lines = ["| model | cycles | tool | its cycles | over ours | counts | source |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        for name in ("zigzag", "vela"):
            peer = row.get(name)
            if peer is not None:
                lines.append(
                    f"| {row['model']} | {row['cycles']:,} | {peer['tool']} | {peer['cycles']:,} | {peer['ratio']:.2f} "
                    f"| {peer['counts']} | {peer['source']} |"
                )
    return "\n".join(lines)


def missed(rows: list[dict[str, Any]]) -> list[str]:
    """Every goal that a row does not reach, as a line."""
    return [
        f"{row['model']}, {row['way']}: {key} {_spelled(row[key])}, goal {_spelled(goal)}"
        for row in rows
        for key, goal in row.get("goals", {}).items()
        if goal is not None and row[key] > goal
    ]


def _spelled(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"


def measured(bench: Bench, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows that the options ask for."""
    rows: list[dict[str, Any]] = []
    for name in options.encoders or ([] if options.models or options.model else MAIN):
        ways = [STATIC, *([NARROW] if name == "bert-base" else []), DYNAMIC, *([BFLOAT, FLOAT] if options.all else [])]
        rows += encoder_rows(bench, name, ways, not options.no_peers)
    whole = [(name, bench.model(name, MODELS[name])) for name in (MODELS if options.models else ())]
    whole += [(path.stem, path) for path in options.model]
    for name, model in whole:
        for way in (STATIC, DYNAMIC):
            rows += _kept(bench, name, model, way)
    return rows


def main() -> None:
    """Measure what is asked for and print it as Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="*", metavar="ENCODER", help=", ".join(ENCODERS))
    parser.add_argument("--all", action="store_true", help="the encoders at bf16 and float32 too")
    parser.add_argument("--models", action="store_true", help="whole models: " + ", ".join(MODELS))
    parser.add_argument("--model", type=Path, action="append", default=[], help="an ONNX file of static shapes")
    parser.add_argument("--no-peers", action="store_true", help="leave other tools out")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(Bench(Path(folder)), options)
    print(markdown(COLUMNS, rows))
    if any("zigzag" in row for row in rows):
        print("\n" + told_of_peers(rows))
    lines = missed(rows)
    print("\n" + "\n".join(["goals missed:", *lines] if lines else ["no goal is missed"]))
    write_json(options.json, encoders=rows)


if __name__ == "__main__":
    main()
