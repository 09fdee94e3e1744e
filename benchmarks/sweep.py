"""One encoder on machines of more and more SRAM and DRAM bandwidth: more of either must not cost cycles.

    python benchmarks/sweep.py                           # BERT-base; writes docs/machine-sweep.svg and .json
    python benchmarks/sweep.py bert-tiny --output /tmp

Every machine is `edge` with other memories. Exits with 1 where cycles rise by more than 0.5 % with more SRAM or more
bandwidth. The plot needs matplotlib (the extra `benchmarks`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from encoders import ENCODERS, build
from measuring import array_bound, moved_ratio, samples_of, surroundings

import attnc
from attnc.isa.errors import CapacityError
from attnc.isa.machine import Machine, load_machine

DOCS = Path(__file__).parents[1] / "docs"
SRAM_KIB = (64, 128, 256, 512, 1024, 2048)
DRAM_BYTES_PER_CYCLE = (4, 8, 16, 32, 64)
TOLERANCE = 0.005
"""How much cycles may rise with more of a resource: what is chosen by estimates may be off by so much."""


def machine_of(sram_kib: int, bandwidth: int) -> Machine:
    """`edge` with other memories."""
    edge = load_machine("edge")
    sram, dram = replace(edge.sram, bytes=sram_kib * 1024), replace(edge.dram, bytes_per_cycle=bandwidth)
    return replace(edge, name=f"edge-{sram_kib}-{bandwidth}", sram=sram, dram=dram)


def point(model: Path, memories: tuple[int, int]) -> dict[str, Any]:
    """The figures of a model on one machine; without `cycles` where it does not fit."""
    sram, bandwidth = memories
    found: dict[str, Any] = {"sram_kib": sram, "dram_bytes_per_cycle": bandwidth}
    machine = machine_of(sram, bandwidth)
    try:
        program = attnc.compile(model, machine=machine, precision="int8", calibrate=samples_of(model)).program
    except CapacityError as error:
        return {**found, "refused": str(error)}
    assert program is not None
    performance = attnc.Session(program).run(mode="timing").report.performance
    return {**found, "cycles": performance.cycles, "dram_ratio": moved_ratio(performance)}


def rises(points: list[dict[str, Any]]) -> Iterator[str]:
    """Every step to more of one resource that costs more cycles than the tolerance."""
    for key, other in (("sram_kib", "dram_bytes_per_cycle"), ("dram_bytes_per_cycle", "sram_kib")):
        for fixed in sorted({point[other] for point in points}):
            line = sorted((p for p in points if p[other] == fixed and "cycles" in p), key=lambda point: point[key])
            for less, more in pairwise(line):
                change = more["cycles"] / less["cycles"] - 1
                if change > TOLERANCE:
                    yield f"{other} {fixed}: {key} {less[key]} to {more[key]} takes {change:+.1%} cycles"


def plot(name: str, points: list[dict[str, Any]], bound: int, path: Path) -> None:
    """Cycles over the array's bound by SRAM, a line for each bandwidth."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    # So that equal figures give equal files.
    matplotlib.rcParams["svg.hashsalt"] = name
    figure, axes = plt.subplots(figsize=(7, 4))
    for bandwidth in DRAM_BYTES_PER_CYCLE:
        line = [item for item in points if item["dram_bytes_per_cycle"] == bandwidth and "cycles" in item]
        ratios = [item["cycles"] / bound for item in line]
        axes.plot([item["sram_kib"] for item in line], ratios, marker="o", label=f"{bandwidth} B/cycle")
    axes.set_xscale("log", base=2)
    axes.set_xticks(SRAM_KIB, [str(size) for size in SRAM_KIB])
    axes.set(xlabel="SRAM (KiB)", ylabel="cycles / bound of the array", title=f"{name}, int8, by DRAM bandwidth")
    axes.axhline(1, color="grey", linewidth=0.8)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def main() -> int:
    """Sweep, write the figures and the plot, and say where more costs more."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", nargs="?", default="bert-base", help=", ".join(ENCODERS))
    parser.add_argument("--output", type=Path, default=DOCS, help="folder of the plot and the JSON file")
    options = parser.parse_args()
    size = ENCODERS[options.encoder]
    bound = array_bound(size.products, "i8")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(os.cpu_count()) as pool:
        model = Path(folder) / "model.onnx"
        model.write_bytes(build(size).SerializeToString())
        points = list(pool.map(partial(point, model), product(SRAM_KIB, DRAM_BYTES_PER_CYCLE)))
    for sram in SRAM_KIB:
        cells = [f"{item.get('cycles', 0):>12,}" for item in points if item["sram_kib"] == sram]
        print(f"{sram:5} KiB", *cells)
    figures = {**surroundings(), "encoder": options.encoder, "bound": bound, "points": points}
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "machine-sweep.json").write_text(json.dumps(figures, indent=1) + "\n")
    plot(options.encoder, points, bound, options.output / "machine-sweep.svg")
    found = list(rises(points))
    print("\n".join(found) or f"cycles never rise by more than {TOLERANCE:.1%} with more SRAM or bandwidth")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
