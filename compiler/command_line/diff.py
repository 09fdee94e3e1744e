"""`attnc diff`: what changed between two programs, or two reports of runs."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .options import check_outputs, write_text

if TYPE_CHECKING:
    from ...runtime.difference import Difference, NodeChange
    from ...runtime.report import Report

SHOWN_NODES = 20
"""Nodes that are listed where not all are asked for."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    for name in ("before", "after"):
        text = f"the run {name}: a program file, or a report that `run --json` wrote (its name ends in .json)"
        parser.add_argument(name, metavar=name.upper(), type=Path, help=text)
    parser.add_argument("--all", action="store_true", help="print every node")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument(
        "--report", metavar="OUT.html", type=Path, help="write a page of the differences, for a browser"
    )
    parser.add_argument(
        "--random",
        metavar="SEED",
        type=int,
        default=0,
        help="random inputs for a program whose cycles depend on its data (default: 0)",
    )
    parser.epilog = """examples:
  attnc diff float.attn int8.attn
  attnc diff yesterday.json model.attn --report diff.html
  attnc diff before.json after.json --all"""


def run(options: Namespace) -> int:
    """Print what changed."""
    from ...runtime.difference import Difference

    check_outputs([options.report], [options.before, options.after])
    difference = Difference(_report(options.before, options.random), _report(options.after, options.random))
    if options.report is not None:
        from ...runtime.pages.difference_page import difference_page

        write_text(options.report, difference_page(difference))
    print(json.dumps(difference.to_dict(), indent=2) if options.json else _text(difference, options.all))
    return 0


def _report(path: Path, seed: int) -> Report:
    """The report in a file, or of a program's run. Raises InputError for a report without timing."""
    from ...isa.errors import InputError
    from ...runtime.report_file import read_report
    from ...runtime.session import load

    if path.suffix != ".json":
        session = load(path)
        return session.run(session.random_inputs(seed), "timing").report
    report = read_report(path)
    if report.summary.performance is None:
        raise InputError(str(path), "is the report of a run without timing", "run without --mode values")
    return report


def _text(difference: Difference, everything: bool) -> str:
    from ...runtime.summary import table

    sections = [_heading(difference), _figures(difference)]
    if difference.settings:
        rows = [(item.key, _plain(item.before), _plain(item.after)) for item in difference.settings]
        sections.append(table(("machine and recipe", "before", "after"), rows))
    sections.append(_nodes(difference, everything))
    return "\n\n".join("\n".join(lines) for lines in sections)


def _heading(difference: Difference) -> list[str]:
    return [
        f"{name:7} {report.summary.program} on {report.summary.machine}, limited by {report.performance.limited_by}"
        for name, report in (("before", difference.before), ("after", difference.after))
    ]


def _figures(difference: Difference) -> list[str]:
    from ...runtime.summary import table

    rows = [
        (
            item.figure,
            _number(item.before),
            _number(item.after),
            item.unit,
            "=" if item.before == item.after else "" if item.relative is None else f"{item.relative:+.1%}",
        )
        for item in difference.figures
        if item.before or item.after
    ]
    return table(("figure", "before", "after", "unit", "change"), rows)


def _nodes(difference: Difference, everything: bool) -> list[str]:
    from ...runtime.summary import table

    changed = [node for node in difference.nodes if any(map(node.change, ("critical_cycles", "cycles", "dram_bytes")))]
    if not changed:
        return ["no node changed"]
    shown = difference.nodes if everything else changed[:SHOWN_NODES]
    headings = (
        "nodes, most changed first", "op", "critical path", "change", "busy cycles", "change", "DRAM bytes", "change",
        "energy uJ", "change",
    )  # fmt: skip
    lines = table(headings, [_node(node) for node in shown], left=2)
    more = len(changed) - len(shown)
    return [*lines, f"and {more:,} more that changed; --all prints every node"] if more > 0 else lines


def _node(node: NodeChange) -> Sequence[str]:
    only = "" if node.before and node.after else " (after only)" if node.after else " (before only)"
    cells = [node.name + only, node.op]
    for field, scale, digits in (
        ("critical_cycles", 1, 0), ("cycles", 1, 0), ("dram_bytes", 1, 0), ("energy_pj", 1e-6, 3),
    ):  # fmt: skip
        before, after = node.both(field)
        change = (after - before) * scale
        cells += [f"{after * scale:,.{digits}f}", f"{change:+,.{digits}f}" if change else "="]
    return cells


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or value >= 1000 else f"{value:.4g}"


def _plain(value: object) -> str:
    return "-" if value is None else str(value)
