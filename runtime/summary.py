"""The short summary of a run, for people: plain text, aligned, every number with its unit."""

from __future__ import annotations

from collections.abc import Sequence

from .report import ChosenRow, MemoryRow, NodeRow, OperandRow, Performance, Report

DEAREST = 10
"""How many nodes the summary lists."""

LARGEST = 3
"""How many buffers it names of those that fill a memory."""

_SCALES = (
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1.0, ""),
    (1e-3, "m"),
    (1e-6, "u"),
    (1e-9, "n"),
    (1e-12, "p"),
)


def quantity(value: float, unit: str) -> str:
    """`value` with three significant digits and a metric prefix: `quantity(0.0123, "s")` is "12.3 ms"."""
    if value == 0:
        return f"0 {unit}"
    for scale, prefix in _SCALES:
        if abs(value) >= scale * 0.9995:
            return f"{value / scale:#.3g} {prefix}{unit}".replace(". ", " ")
    return f"{value:.3g} {unit}"


def summary_text(report: Report) -> str:
    """The whole summary of `report` as lines of text, without a final newline."""
    summary = report.summary
    heading = f"{summary.program} on {summary.machine}: {_count(summary.inferences, 'inference')}"
    if summary.inferences > 1:
        heading += ", figures of one"
    sections = [[heading]]
    if summary.nan_inputs:
        sections[0].append(f"  {_count(summary.nan_inputs, 'input value')} NaN")
    if summary.untrained:
        sections[0].append(f"  {', '.join(summary.untrained)} without training: accuracy unknown")
    sections[0].extend(f"  {line}" for line in summary.checks)
    if summary.performance is not None:
        sections.append(_figures(summary.performance))
        sections.append(_engines(report))
        sections.append(_memories(report.memories))
        sections.append(_energy(summary.performance))
        sections.append(_dearest(report.nodes, summary.performance))
    if report.chosen:
        sections.append(_chosen(report.chosen))
    if report.operands:
        sections.append(_operands(report.operands))
    if report.unlowered:
        sections.append(_unlowered(report))
    sections.append([f"simulated in {_wall(summary.wall_seconds)}"])
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Aligned lines: the first `left` columns to the left, the others to the right."""
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    return [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (headings, *rows)
    ]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def figures(performance: Performance) -> list[tuple[str, str, str]]:
    """The figures of one inference: what, how much with its unit, and what it means."""
    compulsory = performance.dram_compulsory_bytes
    moved = performance.dram_read_bytes + performance.dram_write_bytes
    ratio = f" ({moved / compulsory:.2f}x)" if compulsory else ""
    again = f", {performance.recomputed_macs:,} MACs made again" if performance.recomputed_macs else ""
    return [
        ("latency, cold", f"{performance.cycles:,} cycles", quantity(performance.seconds, "s")),
        (
            "steady, back to back",
            f"{performance.steady_cycles:,} cycles",
            quantity(performance.steady_seconds, "s"),
        ),
        ("throughput", f"{performance.inferences_per_second:,.1f} inferences/s", ""),
        ("arithmetic", f"{performance.macs:,} MACs", f"{performance.tops:.3f} TOPS{again}"),
        (
            "energy",
            quantity(performance.energy_pj * 1e-12, "J"),
            quantity(performance.average_power_watts, "W"),
        ),
        ("efficiency", f"{performance.tops_per_watt:.3f} TOPS/W", ""),
        ("bound that holds", performance.bound, f"latency is {performance.bound_ratio:.2f}x of it"),
        ("DRAM moved", f"{moved:,} bytes", f"compulsory {compulsory:,} bytes{ratio}"),
        ("instructions", f"{performance.instructions:,}", f"{performance.instruction_bytes:,} bytes"),
    ]


def _figures(performance: Performance) -> list[str]:
    rows = figures(performance)
    width = max(len(row[0]) for row in rows)
    middle = max(len(row[1]) for row in rows)
    return [f"{name:<{width}}  {value:>{middle}}  {more}".rstrip() for name, value, more in rows]


def _engines(report: Report) -> list[str]:
    total = report.performance.cycles or 1
    bounds = report.performance.bound_cycles
    rows = [
        (
            row.engine,
            f"{row.utilization:.1%}",
            f"{bounds[row.kind]:,}" if row.kind in bounds else "",
            *(
                f"{cycles / total:.1%}"
                for cycles in (
                    row.busy_cycles,
                    row.fill_cycles,
                    row.dependency_cycles,
                    row.channel_cycles,
                    row.finished_cycles,
                )
            ),
        )
        for row in report.engines
    ]
    dram = report.performance.utilization.get("dram", 0.0)
    rows.append(("dram", f"{dram:.1%}", f"{bounds.get('dram', 0):,}", "", "", "", "", ""))
    headings = ("engine", "utilization", "bound cycles", "busy", "fill", "waits", "DRAM turn", "finished")
    return table(headings, rows)


def _memories(memories: Sequence[MemoryRow]) -> list[str]:
    rows = [
        (
            row.memory,
            ", ".join(f"{item.name} {item.bytes:,}" for item in row.occupants[:LARGEST]),
            f"{row.peak_bytes:,} of {row.bytes:,}",
            f"{row.peak_cycle:,}",
            f"{row.fragmentation:.1%}",
            f"{row.mean_bytes / row.bytes:.1%}",
        )
        for row in memories
    ]
    headings = ("memory", "largest at the peak", "bytes at the peak", "at cycle", "fragmented", "mean use")
    return table(headings, rows, left=2) if rows else []


def _energy(performance: Performance) -> list[str]:
    total = performance.energy_pj or 1.0
    parts = sorted(performance.energy_by_part_pj.items(), key=lambda item: -item[1])
    rows = [(part, quantity(energy * 1e-12, "J"), f"{energy / total:.1%}") for part, energy in parts if energy]
    return table(("energy by part", "", ""), rows)


def _dearest(nodes: Sequence[NodeRow], performance: Performance) -> list[str]:
    total = performance.cycles or 1
    dearest = sorted((row for row in nodes if row.cycles), key=lambda row: -row.cycles)[:DEAREST]
    rows = [
        (
            row.node,
            row.op,
            row.engine,
            row.mode,
            f"{row.cycles:,.0f}",
            f"{row.cycles / total:.1%}",
            f"{row.stall_cycles:,.0f}",
            f"{row.dram_bytes:,.0f}",
            quantity(row.energy_pj * 1e-12, "J"),
        )
        for row in dearest
    ]
    headings = (
        "dearest nodes",
        "op",
        "engine",
        "mode",
        "busy cycles",
        "of latency",
        "stalls",
        "DRAM bytes",
        "energy",
    )
    return table(headings, rows, left=4) if rows else []


def _chosen(chosen: Sequence[ChosenRow]) -> list[str]:
    rows = [
        (row.path or ", ".join(row.nodes), f"{row.of:,}", f"{row.least:,}", f"{row.mean:,.1f}", f"{row.greatest:,}")
        for row in chosen
    ]
    return table(("chosen behind", "of", "least", "mean", "most"), rows)


def _operands(operands: Sequence[OperandRow]) -> list[str]:
    headings = ("products", "mode", "kept", "zeros left", "right", "bits set left", "right", "least sum", "greatest")
    rows = [
        (
            row.path or row.nodes[0],
            row.mode,
            *(
                "" if share is None else f"{share:.1%}"
                for share in (row.kept, row.left_zeros, row.right_zeros, row.left_ones, row.right_ones)
            ),
            f"{row.least_sum:.6g}",
            f"{row.greatest_sum:.6g}",
        )
        for row in operands
    ]
    return table(headings, rows, left=2)


def _unlowered(report: Report) -> list[str]:
    return table(
        ("not on the engine meant for it", "op", "reason"),
        [(row.node, row.op, row.reason) for row in report.unlowered],
        left=3,
    )


def _wall(parts: dict[str, float]) -> str:
    total = sum(parts.values())
    named = ", ".join(f"{name} {quantity(seconds, 's')}" for name, seconds in parts.items())
    return f"{quantity(total, 's')} ({named})"
