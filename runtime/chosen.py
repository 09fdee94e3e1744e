"""How many tokens or heads the inferences of a run chose: what each `sx.compact` listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from ..isa.program import Program
from .report import ChosenRow


def chosen_rows(program: Program, listed: Sequence[Mapping[int, tuple[int, int]]]) -> tuple[ChosenRow, ...]:
    """For each row of a program that lists, of how many in all inferences and how many; none without inferences."""
    rows: list[ChosenRow] = []
    for row in listed[0] if listed else ():
        found = [inference[row] for inference in listed]
        counts = [count for _, count in found]
        nodes = [node for node in program.nodes if node.name in program.row_nodes(row)]
        rows.append(
            ChosenRow(
                nodes=tuple(node.name for node in nodes),
                path=nodes[0].path if nodes else "",
                of=max(columns for columns, _ in found),
                least=min(counts),
                mean=fmean(counts),
                greatest=max(counts),
            )
        )
    return tuple(rows)
