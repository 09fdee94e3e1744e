"""docs/operators.md, written from the table that decides: what is lowered to what, what is refused, why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .lowering import Lowering
from .refused import FLOAT_QUANT, FOUR_BITS, REASONS, remedy_of
from .table import FAMILIES

_HEAD = """# Operators

This page is written by `passes/graph/lower/manual.py` from the table of lowering rules. `attnc check
MODEL.onnx` lists every node of a model that the table refuses, with the condition that fails and what helps.

Operators are read in the meaning of their newest form; older forms are upgraded at import. Element types are
float32, float16, bfloat16, int8, uint8, int32, int64 and bool. int64 travels as int32: a constant outside its
range is refused (bounds of Clip and Slice clamp), an input outside it faults, and arithmetic that leaves it wraps
without a fault, where int64 would not. Shapes are static: fix dynamic ones with `--shape NAME=1x128`. float16 and
bfloat16 are computed in float32 and rounded where a value is stored.

What a condition asks to be a compile-time constant may come from an initializer or from shape arithmetic that
folds.
"""


def manual() -> str:
    """The page as markdown."""
    return "\n".join((*_lowered(), *_refused()))


def _lowered() -> Iterator[str]:
    yield _HEAD
    for family, rules in FAMILIES.items():
        yield f"## {family}\n"
        yield "| operator | becomes | on condition that |"
        yield "|---|---|---|"
        for rule in rules:
            conditions = "; ".join(condition.sentence for condition in rule.conditions)
            yield f"| {_names(rule)} | {_first_paragraph(rule)} | {conditions} |"
        yield ""


def _refused() -> Iterator[str]:
    yield "## Refused\n"
    yield "Operators that stand neither above nor here are refused as well, for want of a rule.\n"
    yield "| operators | why | what helps |"
    yield "|---|---|---|"
    by_reason: dict[str, list[str]] = {}
    for operator, reason in REASONS.items():
        by_reason.setdefault(reason, []).append(operator)
    for reason, operators in by_reason.items():
        yield f"| {', '.join(operators)} | {reason} | {remedy_of(reason)} |"
    for group, domain in ((FLOAT_QUANT, "QONNX"), (FOUR_BITS, "com.microsoft")):
        yield f"| {', '.join(group.operators)} ({domain}) | {group.reason} | {group.remedy} |"
    yield ""


def _names(rule: type[Lowering]) -> str:
    prefix = f"{rule.domain}::" if rule.domain else ""
    return ", ".join(f"{prefix}{operator}" for operator in rule.operators)


def _first_paragraph(rule: type[Lowering]) -> str:
    text = (rule.__doc__ or "").strip().partition("\n\n")[0]
    return " ".join(text.split()).removesuffix(".").replace("|", "\\|")


def main() -> None:
    """Write docs/operators.md beside the packages."""
    path = Path(__file__).parents[3] / "docs" / "operators.md"
    path.write_text(manual(), encoding="utf-8")


if __name__ == "__main__":
    main()
