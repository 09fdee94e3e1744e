"""Renews the tables of README.md from the JSON files that the other benchmarks write.

    python benchmarks/table.py --json encoders.json
    python benchmarks/ablation.py --json ablation.json
    python benchmarks/scaling.py --json scaling.json
    python benchmarks/few_bits.py --json few_bits.json
    python benchmarks/readme.py encoders.json ablation.json scaling.json few_bits.json

A table is found by its first columns, which stay as they are.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ablation
import few_bits
import scaling
from measuring import markdown
from table import COLUMNS, told_of_peers

README = Path(__file__).parents[1] / "README.md"
SHOWN = (
    "model",
    "way",
    "ideal_cycles",
    "cycles",
    "bound_ratio",
    "dram_ratio",
    "cosine",
    "compile_cpu_seconds",
    "memory_ratio",
    "simulation_ratio",
    "timing_seconds",
)
"""What README shows of the main table; `table.py` prints more."""

Rows = list[dict[str, Any]]


def encoders(rows: Rows) -> Iterator[str]:
    """The main table, and the one of other tools if they were asked for."""
    yield markdown([column for column in COLUMNS if column[0] in SHOWN], rows)
    if any("zigzag" in row for row in rows):
        yield told_of_peers(rows)


def ablations(rows: Rows) -> Iterator[str]:
    """What each measure of the schedule buys."""
    yield ablation.table(rows)


def growth(rows: Rows) -> Iterator[str]:
    """How compilation grows."""
    # Wall seconds depend on what else runs; `scaling.py` prints them.
    yield markdown([column for column in scaling.COLUMNS if column[0] != "compile_seconds"], rows)


def few(rows: Rows) -> Iterator[str]:
    """What few bits buy, and each fold."""
    yield markdown(few_bits.COLUMNS, rows)


TABLES: dict[str, Callable[[Rows], Iterator[str]]] = {
    "encoders": encoders,
    "ablation": ablations,
    "scaling": growth,
    "few_bits": few,
}
"""The tables by the key of their rows in a JSON file."""


def renewed(text: str, table: str) -> str:
    """The text with the table that begins with the same two columns replaced. Raises ValueError where there is none."""
    begin = "|".join(table.splitlines()[0].split("|")[:3])
    pattern = re.compile(rf"^{re.escape(begin)}\|.*(?:\n\|.*)+", re.MULTILINE)
    if not pattern.search(text):
        raise ValueError(f"README has no table that begins with {begin}")
    return pattern.sub(lambda _: table, text, count=1)


def main() -> None:
    """Renew the tables of the files named."""
    text = README.read_text(encoding="utf-8")
    for name in sys.argv[1:]:
        data = json.loads(Path(name).read_text(encoding="utf-8"))
        for key in TABLES.keys() & data.keys():
            for table in TABLES[key](data[key]):
                text = renewed(text, table)
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
