"""What changed between two runs: figures, machine and recipe, and the share of each node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

from ..isa.frozen import frozen
from .report import NodeRow, Report

Plain = str | int | float | bool | None
"""A value at the end of a setting's key."""

FIGURES: tuple[tuple[str, str, str, float], ...] = (
    ("cycles", "latency", "cycles", 1),
    ("steady_cycles", "steady, back to back", "cycles", 1),
    ("seconds", "latency", "us", 1e6),
    ("energy_pj", "energy", "uJ", 1e-6),
    ("average_power_watts", "average power", "W", 1),
    ("tops", "arithmetic", "TOPS", 1),
    ("tops_per_watt", "efficiency", "TOPS/W", 1),
    ("macs", "arithmetic", "MACs", 1),
    ("recomputed_macs", "made again", "MACs", 1),
    ("dram_read_bytes", "DRAM read", "bytes", 1),
    ("dram_write_bytes", "DRAM written", "bytes", 1),
    ("dram_compulsory_bytes", "DRAM compulsory", "bytes", 1),
    ("instructions", "instructions", "", 1),
    ("bound_ratio", "latency over its bound", "", 1),
)
"""Fields of `Performance` that are compared: their titles, units, and those units in one of the field's."""


@frozen
class FigureChange:
    """A figure of both runs, in `unit`."""

    figure: str
    unit: str
    before: float
    after: float

    @property
    def relative(self) -> float | None:
        """The change over what it was; None where that was nothing."""
        return (self.after - self.before) / self.before if self.before else None


@frozen
class SettingChange:
    """A dotted key of the machine or the recipe whose value differs; None where one of the runs has it not."""

    key: str
    before: Plain
    after: Plain


@frozen
class NodeChange:
    """A node of both runs, or of one of them (the other row is None)."""

    before: NodeRow | None
    after: NodeRow | None

    @property
    def name(self) -> str:
        """The name of the node, in the second run if it is there."""
        return self._row.node

    @property
    def op(self) -> str:
        """Its operator."""
        return self._row.op

    @property
    def path(self) -> str:
        """Its structural path."""
        return self._row.path

    def both(self, field: str) -> tuple[float, float]:
        """A field of both rows; 0 where there is no row."""
        before, after = (0.0 if row is None else float(getattr(row, field)) for row in (self.before, self.after))
        return before, after

    def change(self, field: str) -> float:
        """How much more of a field the second run has."""
        before, after = self.both(field)
        return after - before

    @property
    def _row(self) -> NodeRow:
        row = self.after or self.before
        assert row is not None
        return row


NODE_FIELDS = ("critical_cycles", "cycles", "dram_bytes", "energy_pj")
"""Fields of a node's row that are compared."""


@frozen
class Difference:
    """Two reports side by side, each with timing."""

    before: Report
    after: Report

    @cached_property
    def figures(self) -> tuple[FigureChange, ...]:
        """Every figure of `FIGURES`."""
        pair = self.before.performance, self.after.performance
        return tuple(
            FigureChange(title, unit, *(scale * float(getattr(performance, field)) for performance in pair))
            for field, title, unit, scale in FIGURES
        )

    @cached_property
    def settings(self) -> tuple[SettingChange, ...]:
        """Keys of machine and recipe whose values differ."""
        before, after = (dict(_flat(report.setting)) for report in (self.before, self.after))
        keys = dict.fromkeys([*before, *after])
        return tuple(
            SettingChange(key, before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)
        )

    @cached_property
    def nodes(self) -> tuple[NodeChange, ...]:
        """Nodes of either run, those first whose share of the latency changed most.

        Rows belong together by name; those left over by structural path and operator, in their order.
        """
        return tuple(
            sorted(
                _paired(self.before.nodes, self.after.nodes),
                key=lambda node: (-abs(node.change("critical_cycles")), -abs(node.change("cycles"))),
            )
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "programs": [self.before.summary.program, self.after.summary.program],
            "machines": [self.before.summary.machine, self.after.summary.machine],
            "limited_by": [self.before.performance.limited_by, self.after.performance.limited_by],
            "figures": [
                {"figure": item.figure, "unit": item.unit, "before": item.before, "after": item.after}
                for item in self.figures
            ],
            "settings": [{"key": item.key, "before": item.before, "after": item.after} for item in self.settings],
            "nodes": [
                {
                    "node": item.name,
                    "op": item.op,
                    "path": item.path,
                    "in": [run for run, row in (("before", item.before), ("after", item.after)) if row is not None],
                    **{field: dict(zip(("before", "after"), item.both(field), strict=True)) for field in NODE_FIELDS},
                }
                for item in self.nodes
            ],
        }


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Plain]]:
    """Dotted keys and their values; of a list, the places."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(cast("dict[str, Any]", value), f"{prefix}{key}.")
        elif isinstance(value, list):
            items = enumerate(cast("list[Any]", value))
            yield from _flat({str(place): item for place, item in items}, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _paired(before: Sequence[NodeRow], after: Sequence[NodeRow]) -> Iterator[NodeChange]:
    """Each row of both, with the one that it belongs to."""
    named, taken = {row.node: row for row in before}, {row.node for row in after}
    left: dict[tuple[str, str], list[NodeRow]] = {}
    for row in before:
        if row.node not in taken:
            left.setdefault((row.path, row.op), []).append(row)
    for row in after:
        partner = named.get(row.node)
        if partner is None and row.path and (alike := left.get((row.path, row.op))):
            partner = alike.pop(0)
        yield NodeChange(partner, row)
    yield from (NodeChange(row, None) for rows in left.values() for row in rows)
