"""How compilation grows: seconds and memory over tokens, layers and width, and whether they stay linear.

    python benchmarks/scaling.py                         # BERT-base layers of 128 to 4096 tokens; 6 to 24 layers
    python benchmarks/scaling.py --json scaling.json

Attention's work grows with the square of the tokens, and with it the instructions: growth is told by the instruction.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from encoders import ENCODERS, Encoder, build
from measuring import Bench, array_bound, markdown, write_json

from attnc import Session
from attnc.isa.program import Program

TOKENS = (128, 256, 512, 1024, 2048, 4096)
LAYERS = (6, 12, 24)


def sizes() -> dict[str, Encoder]:
    """The encoders, by what they are called."""
    layer = replace(ENCODERS["bert-base"], layers=1)
    large = ENCODERS["bert-large"]
    by_tokens = {f"BERT-base layer, {tokens} tokens": replace(layer, tokens=tokens) for tokens in TOKENS}
    return by_tokens | {f"{count} layers, 1024 wide": replace(large, layers=count) for count in LAYERS}


def row(bench: Bench, name: str, size: Encoder) -> dict[str, Any]:
    """The figures of one encoder, int8 with ranges by token: calibration is not what is measured."""
    model = bench.model("scaling", lambda: build(size))
    compiled = bench.compile(model, 'precision = "int8"')
    program = Program.load(compiled.program)
    performance = Session(program).run(mode="timing").report.performance
    file_bytes = model.stat().st_size
    model.unlink()
    return {
        "model": name,
        "bound_ratio": performance.cycles / array_bound(size.products, "i8"),
        "instructions": len(program.table),
        "compile_seconds": compiled.wall_seconds,
        "compile_cpu_seconds": compiled.cpu_seconds,
        "peak_mb": compiled.peak_bytes / 1e6,
        "file_mb": file_bytes / 1e6,
        "microseconds": compiled.cpu_seconds * 1e6 / len(program.table),
    }


COLUMNS = [
    ("model", "encoder", "s"),
    ("file_mb", "model MB", ",.0f"),
    ("instructions", "instructions", ",d"),
    ("bound_ratio", "cycles / array bound", ".2f"),
    ("compile_seconds", "compile s", ".1f"),
    ("compile_cpu_seconds", "CPU s", ".1f"),
    ("microseconds", "CPU us / instruction", ",.0f"),
    ("peak_mb", "peak MB", ",.0f"),
]


def main() -> None:
    """Measure and print as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        rows = [row(bench, name, size) for name, size in sizes().items()]
    print(markdown(COLUMNS, rows))
    write_json(options.json, scaling=rows)


if __name__ == "__main__":
    main()
