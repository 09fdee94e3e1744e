"""What each measure of the schedule buys: every field of `ScheduleOptions` turned over, one at a time.

    python benchmarks/ablation.py                        # the three encoders, int8 with static ranges
    python benchmarks/ablation.py bert-tiny --json ablation.json

Cycles, DRAM bytes and energy are those of one inference; changes are told against the schedule as it is by itself.
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
DEFAULTS = {field.name: getattr(ScheduleOptions(), field.name) for field in fields(ScheduleOptions)}
FIGURES = {"cycles": "cycles", "dram_bytes": "DRAM bytes", "energy_uj": "energy uJ"}
ON = tuple(name for name, value in DEFAULTS.items() if value)


def row(bench: Bench, name: str, turned: tuple[str, ...]) -> dict[str, Any]:
    """The figures of an encoder compiled with some measures turned over."""
    model = bench.model(name, lambda: build(ENCODERS[name]))
    schedule = "".join(f"{measure} = {str(not DEFAULTS[measure]).lower()}\n" for measure in turned)
    compiled = bench.compile(model, f'precision = "int8"\n[schedule]\n{schedule}', samples_of(model))
    performance = Session(Program.load(compiled.program)).run(mode="timing").report.performance
    return {
        "model": name,
        "turned": list(turned),
        "cycles": performance.cycles,
        "dram_bytes": performance.dram_read_bytes + performance.dram_write_bytes,
        "energy_uj": performance.energy_pj * 1e-6,
        "compile_seconds": compiled.wall_seconds,
    }


def title(turned: tuple[str, ...]) -> str:
    """What a set of turned measures is called."""
    if not turned:
        return "as it is"
    if len(turned) > 1:
        return "without any"
    return f"{'without' if DEFAULTS[turned[0]] else 'with'} `{turned[0]}`"


def cells(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A table row for every set of measures, with the change of each figure of each encoder."""
    whole = {row["model"]: row for row in rows if not row["turned"]}
    table: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        turned = tuple(row["turned"])
        line = table.setdefault(turned, {"schedule": title(turned)})
        for figure in FIGURES:
            value, base = row[figure], whole[row["model"]][figure]
            line[f"{row['model']} {figure}"] = f"{value / base - 1:+.1%}" if turned else f"{value:,.0f}"
    return list(table.values())


def table(rows: list[dict[str, Any]]) -> str:
    """All rows as a Markdown table."""
    names = dict.fromkeys(row["model"] for row in rows)
    columns = [("schedule", "schedule", "s")]
    columns += [(f"{name} {key}", f"{name}: {words}", "s") for name in names for key, words in FIGURES.items()]
    return markdown(columns, cells(rows))


def main() -> None:
    """Measure and print as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="*", default=MAIN, metavar="ENCODER", help=", ".join(ENCODERS))
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    sets = [(), *((measure,) for measure in DEFAULTS), ON]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        rows = [row(bench, name, turned) for name in options.encoders for turned in sets]
    print(table(rows))
    write_json(options.json, ablation=rows)


if __name__ == "__main__":
    main()
