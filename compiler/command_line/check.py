"""`attnc check`: supported or not, every blocking node with its reason, the layers that recipes can name, and what the
machine would do."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .options import add_compilation_options, asked_of

if TYPE_CHECKING:
    from ..checking import CheckReport
    from ..workload import MemoryNeed


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_compilation_options(parser)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.epilog = """examples:
  attnc check model.onnx
  attnc check model.onnx --shape input_ids=1x128 --json
  attnc check model.onnx --constants masks.npz
  attnc check model.onnx --machine tiny --precision int8"""


def run(options: Namespace) -> int:
    """Print the report; 1 when something blocks or does not fit."""
    from ..checking import check

    report = check(options.model, **asked_of(options))
    print(json.dumps(report.to_dict(), indent=2) if options.json else "\n".join(_lines(report)))
    return 0 if report.supported else 1


def _lines(report: CheckReport) -> Iterator[str]:
    total = sum(report.operators.values())
    yield f"{total} nodes, {report.folded} of them folded or recognised away before the program runs"
    yield "operators: " + ", ".join(f"{name} {count}" for name, count in report.operators.items())
    if report.blocking:
        counts = Counter(item.operator for item in report.blocking)
        kinds = ", ".join(f"{name} {count}" for name, count in counts.most_common())
        yield f"not supported on {report.machine}: {len(report.blocking)} nodes ({kinds})"
        yield from (f"  {item}" for item in report.blocking)
    elif report.supported:
        yield f"supported on {report.machine}"
    if report.layers:
        yield from ("", f"{len(report.layers)} products, by the path that a recipe names", *_layers(report))
    if report.unlowered:
        yield from ("", f"written quantized, computed in float: {len(report.unlowered)} products")
        yield from (f"  {item.node}: {item.reason}" for item in report.unlowered)
    if report.engines:
        yield from ("", *_engines(report))
    if report.memory is not None:
        yield from ("", *_memory(report.memory))


def _layers(report: CheckReport) -> list[str]:
    from ...runtime.summary import table

    rows: list[tuple[str, ...]] = []
    for layer in report.layers:
        # The last node is the product itself, those before it were taken into it.
        last = layer.nodes[-1] if layer.nodes else ""
        more = f" and {len(layer.nodes) - 1} more" if len(layer.nodes) > 1 else ""
        modes, shape = "/".join(dict.fromkeys(layer.modes)), "x".join(map(str, layer.shape))
        macs = f"{layer.macs:,}" + (f" to {layer.most_macs:,}" if layer.most_macs > layer.macs else "")
        name = f"{layer.operator} {layer.form}" if layer.form else layer.operator
        rows.append((layer.path, name, layer.format, modes, shape, last + more, macs, f"{layer.bytes:,}"))
    return table(("path", "operator", "format", "mode", "shape", "nodes", "MACs", "bytes"), rows, left=6)


def _engines(report: CheckReport) -> list[str]:
    from ...runtime.summary import table

    rows = [
        (
            item.engine,
            item.mode,
            f"{item.operations:,}" if item.operations else "",
            f"{item.amount:,} {item.unit}",
            "" if item.least_cycles is None else f"{item.least_cycles:,}",
        )
        for item in report.engines
    ]
    return table(("engine", "mode", "operations", "work", "cycles at least"), rows, left=2)


def _memory(need: MemoryNeed) -> list[str]:
    by_format = ", ".join(f"{name} {count:,}" for name, count in need.weights.items())
    verdict = "fits" if need.fits else "does not fit"
    rows = [
        ("weights", f"{sum(need.weights.values()):,}", by_format),
        ("inputs", f"{need.input_bytes:,}", ""),
        ("outputs", f"{need.output_bytes:,}", ""),
        ("activations, at most", f"{need.activation_bytes:,}", "all that is alive at once, were nothing fused"),
        ("DRAM", f"{need.dram_bytes:,}", f"weights, inputs and outputs: {verdict}"),
        ("SRAM", f"{need.sram_bytes:,}", ""),
        ("ACC", f"{need.acc_bytes:,}", ""),
    ]
    names = max(len(row[0]) for row in rows)
    sizes = max(len(row[1]) for row in rows)
    return ["memory, bytes", *(f"  {name:<{names}}  {size:>{sizes}}  {more}".rstrip() for name, size, more in rows)]
