"""What each measure of the schedule buys: every field of `ScheduleOptions` switched off, one at a time.

    python benchmarks/ablation.py                        # the three encoders, int8 with static ranges
    python benchmarks/ablation.py bert-tiny --json ablation.json

Cycles, DRAM bytes and energy are those of one inference; changes are told against the schedule with everything on.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

from encoders import ENCODERS, build
from measuring import Bench, markdown, samples_of, write_json

from attnc import Session
from attnc.isa.program import Program
from attnc.passes.schedule_options import ScheduleOptions

MAIN = ("bert-tiny", "deit-tiny", "bert-base")
MEASURES = tuple(field.name for field in fields(ScheduleOptions))


def row(bench: Bench, name: str, without: tuple[str, ...]) -> dict[str, Any]:
    """The figures of an encoder compiled without some measures."""
    model = bench.model(name, lambda: build(ENCODERS[name]))
    off = "".join(f"{measure} = false\n" for measure in without)
    compiled = bench.compile(model, f'precision = "int8"\n[schedule]\n{off}', samples_of(model))
    performance = Session(Program.load(compiled.program)).run(mode="timing").report.performance
    return {
        "model": name,
        "without": list(without),
        "cycles": performance.cycles,
        "dram_bytes": performance.dram_read_bytes + performance.dram_write_bytes,
        "energy_uj": performance.energy_pj * 1e-6,
        "compile_seconds": compiled.wall_seconds,
    }


def cells(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A table row for every set of measures, with the change of each figure of each encoder."""
    whole = {row["model"]: row for row in rows if not row["without"]}
    table: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        without = tuple(row["without"])
        title = "everything on" if not without else "without any" if len(without) > 1 else f"without `{without[0]}`"
        line = table.setdefault(without, {"schedule": title})
        for figure in ("cycles", "dram_bytes", "energy_uj"):
            value, base = row[figure], whole[row["model"]][figure]
            change = value / base - 1
            line[f"{row['model']} {figure}"] = f"{value:,.0f}" if not without else f"{change:+.1%}"
    return list(table.values())


def main() -> None:
    """Measure and print as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="*", default=MAIN, metavar="ENCODER", help=", ".join(ENCODERS))
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    sets = [(), *((measure,) for measure in MEASURES), MEASURES]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        rows = [row(bench, name, without) for name in options.encoders for without in sets]
    figures = (("cycles", "cycles"), ("dram_bytes", "DRAM bytes"), ("energy_uj", "energy uJ"))
    columns = [("schedule", "schedule", "s")]
    columns += [(f"{name} {key}", f"{name}: {title}", "s") for name in options.encoders for key, title in figures]
    print(markdown(columns, cells(rows)))
    write_json(options.json, rows=rows)


if __name__ == "__main__":
    main()
