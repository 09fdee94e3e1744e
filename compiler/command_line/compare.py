"""`attnc compare`: every phase's values beside the reference, and the first that differs."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from .options import add_machine_option, add_model_options, add_quiet_option, add_recipe_options, shapes_of

if TYPE_CHECKING:
    from ..comparison import CompareReport, Comparison

SHOWN_NODES = 4
"""Nodes of a fused operation that are named before the rest is counted."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_model_options(parser)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--input", metavar="IN.npz", type=Path, help="inputs, one array each, named as in the model")
    source.add_argument(
        "--random", metavar="SEED", type=int, default=0, help="random inputs within their valid ranges (default: 0)"
    )
    add_machine_option(parser)
    add_recipe_options(parser)
    parser.add_argument("--rtol", type=float, help="relative tolerance, element by element (default: 1e-3)")
    parser.add_argument("--atol", type=float, help="absolute tolerance, element by element (default: 1e-4)")
    parser.add_argument("--json", action="store_true", help="print every comparison as JSON")
    add_quiet_option(parser)
    parser.epilog = """examples:
  attnc compare model.onnx --input inputs.npz
  attnc compare model.onnx --shape input_ids=1x128 --random 1 --rtol 1e-4
  attnc compare model.onnx --precision int8 --rtol 0.05 --atol 0.05 --json"""


def run(options: Namespace) -> int:
    """Print a table; 1 when a value differs."""
    from ...runtime.arrays import read_arrays
    from ..comparison import ATOL, RTOL, compare

    report = compare(
        options.model,
        None if options.input is None else read_arrays(options.input),
        seed=options.random,
        machine=options.machine,
        shapes=shapes_of(options) or None,
        precision=options.precision,
        sign=options.sign,
        calibrate=options.calibrate,
        recipe=options.recipe,
        rtol=RTOL if options.rtol is None else options.rtol,
        atol=ATOL if options.atol is None else options.atol,
        progress=not options.quiet,
    )
    print(json.dumps(report.to_dict(), indent=2, allow_nan=False) if options.json else _text(report))
    return 0 if report.agrees else 1


def _text(report: CompareReport) -> str:
    """A line a phase, then the first value that differs and the figures of those that do in its phase."""
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
    return "\n".join([*lines, "", "every value that was compared agrees" if first is None else _difference(first)])


def _difference(item: Comparison) -> str:
    nodes = ", ".join(item.nodes[:SHOWN_NODES])
    more = len(item.nodes) - SHOWN_NODES
    return "\n".join(
        (
            f"first that differs: {item.value} in {item.phase}",
            f"  nodes            {nodes}{f' and {more} more' if more > 0 else ''}",
            f"  max abs error    {item.max_abs_error:.6g}",
            f"  relative error   {item.relative_error:.6g} of the reference's greatest magnitude",
            f"  cosine           {item.cosine:.6f}",
            f"  outside          {item.mismatches:,} of {item.elements:,} elements",
        )
    )
