"""What one-bit weights and few-bit activations buy: cycles, bytes and simulation time of a BERT-base encoder.

    python benchmarks/few_bits.py                       # W1A1, W1A2, W1A4 and W1A8 beside int8
    python benchmarks/few_bits.py bert-tiny --json few_bits.json

Models of `few_bit_encoders.py`, compiled as they are written with a bf16 residual; int8 is the float encoder of the
same size with static ranges. The roofline is the largest of what the array takes, padding and all, what the vector
engine takes, and compulsory DRAM bytes at the channel's bandwidth. Every fold is turned over by itself for W1A1.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import encoders
import few_bit_encoders
from encoders import ENCODERS, Encoder
from measuring import Bench, markdown, samples_of, simulate, write_json

from attnc import Session
from attnc.isa.program import Program
from attnc.passes.few_bit_options import FewBitOptions

ACTIVATIONS = (1, 2, 4, 8)
RESIDUAL = 'residual = "bf16"\n'
FOLDS = {
    field.name: value
    for field in fields(FewBitOptions)
    if isinstance(value := getattr(FewBitOptions(), field.name), bool)
}
"""Every fold that a recipe may turn over, and whether it is on by itself."""


def figures(bench: Bench, name: str, size: Encoder, bits: int | None, recipe: str = RESIDUAL) -> dict[str, Any]:
    """What an encoder takes with activations of so many bits; None is int8 of the float one."""
    reference = bench.model(name, lambda: encoders.build(size))
    samples = samples_of(reference)
    if bits is None:
        model, compiled = reference, bench.compile(reference, 'precision = "int8"\n' + recipe, samples)
    else:
        model = bench.model(f"{name}-w1a{bits}", lambda: few_bit_encoders.build(size, bits))
        compiled = bench.compile(model, recipe)
    program = Program.load(compiled.program)
    inputs = {key: value[:1] for key, value in samples.items()}
    report = Session(program).run(inputs).report
    performance = report.performance
    assert performance is not None
    busy = {row.kind: row.busy_cycles for row in report.engines}
    channel = performance.dram_compulsory_bytes / program.machine.dram.bytes_per_cycle
    simulated = simulate(model, compiled.program, inputs)
    return {
        "model": name,
        "way": "W8A8" if bits is None else f"W1A{bits}",
        "cycles": performance.cycles,
        "array_cycles": busy["mx"],
        "vector_cycles": busy["vx"],
        "channel_cycles": channel,
        "roofline_ratio": performance.cycles / max(busy["mx"], busy["vx"], channel),
        "weight_bytes": program.weight_bytes,
        "dram_bytes": performance.dram_read_bytes + performance.dram_write_bytes,
        "energy_uj": performance.energy_pj * 1e-6,
        "cosine": simulated.cosine,
        "unlowered": len(program.unlowered),
        "simulation_seconds": simulated.seconds,
        "onnxruntime_seconds": simulated.reference_seconds,
        "compile_seconds": compiled.wall_seconds,
    }


def folds(bench: Bench, name: str, size: Encoder) -> list[dict[str, Any]]:
    """W1A1 with each fold turned over."""
    rows: list[dict[str, Any]] = []
    for fold, value in FOLDS.items():
        row = figures(bench, name, size, 1, f"{RESIDUAL}[few_bits]\n{fold} = {str(not value).lower()}\n")
        rows.append({**row, "way": f"W1A1 {'without' if value else 'with'} `{fold}`"})
    return rows


COLUMNS = [
    ("model", "model", "s"),
    ("way", "weights and activations", "s"),
    ("cycles", "cycles", ",.0f"),
    ("speedup", "times int8's speed", ".2f"),
    ("array_cycles", "array", ",.0f"),
    ("vector_cycles", "vector", ",.0f"),
    ("channel_cycles", "DRAM, compulsory", ",.0f"),
    ("roofline_ratio", "over the roofline", ".2f"),
    ("weight_bytes", "weight bytes", ",.0f"),
    ("energy_uj", "energy uJ", ",.0f"),
    ("simulation_ratio", "simulation / ONNX Runtime float32", ".2f"),
]


def main() -> None:
    """Measure and print as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="*", default=("bert-base",), metavar="ENCODER", help=", ".join(ENCODERS))
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for name in options.encoders:
            size = ENCODERS[name]
            whole = figures(bench, name, size, None)
            found = [whole, *(figures(bench, name, size, bits) for bits in ACTIVATIONS), *folds(bench, name, size)]
            for row in found:
                row["speedup"] = whole["cycles"] / row["cycles"]
                row["simulation_ratio"] = row["simulation_seconds"] / whole["onnxruntime_seconds"]
            rows += found
    print(markdown(COLUMNS, rows))
    write_json(options.json, few_bits=rows)


if __name__ == "__main__":
    main()
