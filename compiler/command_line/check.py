"""`attnc check`: supported or not, every blocking node with its reason, and the layers that recipes can name."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections import Counter
from typing import TYPE_CHECKING

from .options import add_model_options, shapes_of

if TYPE_CHECKING:
    from ..checking import CheckReport


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_model_options(parser)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.epilog = """examples:
  attnc check model.onnx
  attnc check model.onnx --shape input_ids=1x128 --json"""


def run(options: Namespace) -> int:
    """Print the report; 1 when something blocks."""
    from ..checking import check

    report = check(options.model, shapes=shapes_of(options))
    print(json.dumps(report.to_dict(), indent=2) if options.json else _text(report))
    return 0 if report.supported else 1


def _text(report: CheckReport) -> str:
    total = sum(report.operators.values())
    lines = [f"{total} nodes, {report.folded} of them folded or recognised away before the program runs"]
    lines.append("operators: " + ", ".join(f"{name} {count}" for name, count in report.operators.items()))
    if report.blocking:
        counts = Counter(item.operator for item in report.blocking)
        kinds = ", ".join(f"{name} {count}" for name, count in counts.most_common())
        lines.append(f"not supported: {len(report.blocking)} nodes ({kinds})")
        lines.extend(f"  {item}" for item in report.blocking)
        return "\n".join(lines)
    lines.append(f"supported; {len(report.layers)} products, by the path that a recipe names:")
    width = max((len(layer.path) for layer in report.layers), default=0)
    for layer in report.layers:
        shape = "x".join(map(str, layer.shape))
        # The last node is the product itself, those before it were taken into it.
        last = layer.nodes[-1] if layer.nodes else ""
        more = f" and {len(layer.nodes) - 1} more" if len(layer.nodes) > 1 else ""
        lines.append(f"  {layer.path:{width}}  {layer.operator:15} {layer.format:5} {shape:16} {last}{more}")
    if report.unlowered:
        lines.append(f"written quantized, computed in float: {len(report.unlowered)} products")
        lines.extend(f"  {item.node}: {item.reason}" for item in report.unlowered)
    return "\n".join(lines)
