"""`attnc compare`: every phase's values beside the reference, and the first that differs."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .options import add_compilation_options, add_quiet_option, asked_of, check_outputs, write_text

if TYPE_CHECKING:
    from ..comparison import CompareReport, Comparison

SHOWN_VALUES = 10
"""Values that are listed where not all are asked for."""

TEXTS = 4
"""Columns of a line that are text; figures follow."""

SHOWN_NODES = 4
"""Nodes of a fused operation that are named before the rest is counted."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_compilation_options(parser)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--input", metavar="IN.npz", type=Path, help="inputs, one array each, named as in the model")
    source.add_argument(
        "--random", metavar="SEED", type=int, default=0, help="random inputs within their valid ranges (default: 0)"
    )
    parser.add_argument("--rtol", type=float, help="relative tolerance, element by element (default: 1e-3)")
    parser.add_argument("--atol", type=float, help="absolute tolerance, element by element (default: 1e-4)")
    parser.add_argument("--all", action="store_true", help="print a line for every value, in the order of execution")
    parser.add_argument("--json", action="store_true", help="print every comparison as JSON")
    parser.add_argument(
        "--report", metavar="OUT.html", type=Path, help="write a page of all comparisons, for a browser"
    )
    parser.add_argument(
        "--save", metavar="DIR", type=Path, help="save the values: an npz file for the reference and for each phase"
    )
    add_quiet_option(parser)
    parser.epilog = """examples:
  attnc compare model.onnx --input inputs.npz
  attnc compare model.onnx --shape input_ids=1x128 --random 1 --rtol 1e-4
  attnc compare model.onnx --precision int8 --rtol 0.05 --atol 0.05 --json
  attnc compare model.onnx --input inputs.npz --report compare.html --save values"""


def run(options: Namespace) -> int:
    """Print a table; 1 when a value differs."""
    from ...runtime.arrays import read_arrays
    from ..comparison import ATOL, RTOL, compare

    check_outputs(
        [options.report], [options.model, options.input, options.constants, options.calibrate, options.recipe]
    )
    report = compare(
        options.model,
        None if options.input is None else read_arrays(options.input),
        seed=options.random,
        **asked_of(options),
        rtol=RTOL if options.rtol is None else options.rtol,
        atol=ATOL if options.atol is None else options.atol,
        save=options.save,
        progress=not options.quiet,
    )
    if options.report is not None:
        from ..comparison_page import comparison_page

        write_text(options.report, comparison_page(report, options.model.name))
    print(json.dumps(report.to_dict(), indent=2, allow_nan=False) if options.json else _text(report, options.all))
    return 0 if report.agrees else 1


def _text(report: CompareReport, everything: bool) -> str:
    """A line a phase, a line for each value (`everything`) or for those farthest off, and the first that differs."""
    lines = [f"{'phase':10} {'compared':>12} {'differ':>7} {'max abs error':>14} {'relative':>9}  first that differs"]
    for phase in report.phases:
        found = report.at(phase)
        bad = [item for item in found if not item.agrees]
        compared = f"{len(found)} of {report.values}"
        worst = max((item.max_abs_error for item in found), default=0.0)
        relative = max((item.relative_error for item in found), default=0.0)
        first = bad[0].value if bad else "-"
        lines.append(f"{phase:10} {compared:>12} {len(bad):7} {worst:14.3g} {relative:9.2g}  {first}")
    first = report.first
    verdict = "every value that was compared agrees" if first is None else _difference(first)
    return "\n".join([*lines, "", *_values(report, everything), *_flips(report), "", verdict])


def _flips(report: CompareReport) -> list[str]:
    """A line for each fold that reassociates floats, and one for all; none where there is no such fold."""
    if not report.flips:
        return []
    flipped, bits = sum(item.flipped for item in report.flips), sum(item.bits for item in report.flips)
    told = [f"  {_named(item.nodes, 1)}: {item.flipped:,} of {item.bits:,}" for item in report.flips if item.flipped]
    return ["", f"bits flipped by folds that reassociate floats: {flipped:,} of {bits:,}", *told]


def _values(report: CompareReport, everything: bool) -> list[str]:
    """A line a value: where it first differs, and how far it is off at the last phase that has it."""
    from ...runtime.summary import table

    found = [(phases, list(phases.values())[-1]) for phases in report.by_value.values()]
    if not everything:
        found = sorted(found, key=lambda pair: -pair[1].relative_error)[:SHOWN_VALUES]
    rows = [
        (
            last.value,
            _named(last.nodes, 1),
            next((phase for phase, item in phases.items() if not item.agrees), ""),
            last.phase,
            f"{last.max_abs_error:.3g}",
            f"{last.relative_error:.2g}",
            f"{last.cosine:.6f}",
            f"{last.mismatches:,}",
            "" if last.sign_agreement is None else f"{last.sign_agreement:.2%}",
            "" if last.popcount is None else f"{last.popcount[0]:,}..{last.popcount[1]:,}",
        )
        for phases, last in found
    ]
    title = "value" if everything else "farthest off"
    headings = (
        title, "nodes", "differs from", "at", "max abs error", "relative", "cosine", "outside", "signs", "popcount",
    )  # fmt: skip
    shown = [place for place in range(len(headings)) if any(row[place] for row in rows)]
    cells = [[row[place] for place in shown] for row in rows]
    return table([headings[place] for place in shown], cells, left=sum(place < TEXTS for place in shown))


def _named(nodes: Sequence[str], most: int) -> str:
    more = len(nodes) - most
    return ", ".join(nodes[:most]) + (f" and {more} more" if more > 0 else "")


def _difference(item: Comparison) -> str:
    return "\n".join(
        (
            f"first that differs: {item.value} in {item.phase}",
            f"  nodes            {_named(item.nodes, SHOWN_NODES)}",
            f"  max abs error    {item.max_abs_error:.6g}",
            f"  relative error   {item.relative_error:.6g} of the reference's greatest magnitude",
            f"  cosine           {item.cosine:.6f}",
            f"  outside          {item.mismatches:,} of {item.elements:,} elements",
        )
    )
