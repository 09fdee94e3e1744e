"""The page of a run: the report's figures and rows as tables and plots, and every instruction in time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...isa.errors import UsageError
from ...isa.files import write_beside
from ..report import Change, MemoryRow, NodeRow, OperandRow, Performance, Report
from ..session import Result
from ..summary import figures
from .phases import read_phases
from .render import packed, render
from .rooflines import rooflines
from .table import Cell, Column, EnergyUnit, Table, energy_unit
from .timeline import timeline_data

SHOWN_CHANGES = 3
"""Changes that stand above the table of all."""

LIMITS = {
    "array": "the array of the matrix engine, which works on products and their padding for most of it",
    "vector": "the vector engine, which is at work for most of it",
    "dram": "DRAM, whose channel moves data for most of it",
    "dependency": "dependency: engines wait for one another, and none is at work for half of it",
}
"""What a report's `limited_by` means."""


def write_run_page(result: Result, path: str | Path, dump: str | Path | None = None) -> None:
    """Write the page of a run to a file, whole or not at all.

    dump: a folder that `compile --dump-ir` wrote of the same program, for the phases of its IR. Raises UsageError for a
    run without timing, InputError and UsageError for a folder that is not such a one.
    """
    write_beside(Path(path), run_page(result, dump).encode())


def run_page(result: Result, dump: str | Path | None = None) -> str:
    """The page as text, see `write_run_page`."""
    measurement, report = result.measurement, result.report
    if measurement is None:
        raise UsageError("a report page needs timing", "run in mode 'both' or 'timing'")
    names = {row.node: number for number, row in enumerate(report.nodes)}
    unit = energy_unit(report.performance.energy_pj)
    phases = None if dump is None else read_phases(Path(dump), measurement.program, names)
    sections = [
        ("limits", "What limits it"),
        ("engines-part", "Engines"),
        ("timeline-part", "Timeline"),
        ("roofline-part", "Roofline"),
        ("energy-part", "Energy"),
        ("nodes-part", "Nodes"),
        *([("memories-part", "Memories")] if report.memories else []),
        *([("operands-part", "Sparsity")] if report.operands else []),
        *([("unlowered-part", "Not on its engine")] if report.unlowered else []),
        *([("phases-part", "IR")] if phases else []),
    ]
    return render(
        "run.html",
        title=f"{report.summary.program} on {report.summary.machine}",
        parts=sections,
        report=report,
        performance=report.performance,
        figures_of_run=figures(report.performance),
        limit=LIMITS[report.performance.limited_by],
        first=report.changes[:SHOWN_CHANGES],
        changes=_changes(report.changes, report.performance),
        engines=_engines(report, unit),
        critical=_critical(report),
        energy=_energy(report.performance, unit),
        nodes=_nodes(report.nodes, report.performance, unit),
        memories=[(row, _occupants(row)) for row in report.memories],
        operands=_operands(report.operands),
        unlowered=_unlowered(report),
        content=report.to_dict(),
        unit=unit,
        roofs=rooflines(measurement.machine, report.kernels),
        timeline=packed(timeline_data(measurement)),
        phases=None if phases is None else packed(phases),
    )


def _changes(changes: Sequence[Change], performance: Performance) -> Table:
    columns = (
        Column("change", note="One thing changed, and the same instructions placed in time again."),
        Column("latency", "cycles", "Latency of one inference with the change.", 0),
        Column("saved", "cycles", "Against the run as it is.", 0),
        Column("saved", "%", "Of the latency as it is.", 1),
        Column("how", note="What to change. A program compiled for the change can be faster still."),
    )
    rows = [
        (item.subject, item.cycles, item.saved_cycles, 100 * item.saved_cycles / performance.cycles, item.lever)
        for item in changes
    ]
    return Table("changes", columns, rows)


def _engines(report: Report, unit: EnergyUnit) -> Table:
    columns = (
        Column("engine", note="LD and ST move data from and to DRAM, MX multiplies matrices, VX works on vectors."),
        Column("instructions", "", "Instructions of its queue.", 0),
        Column("useful", "% of latency", "Useful work at the peak rate, over the latency.", 1),
        Column("busy", "cycles", "At work, padding included.", 0),
        Column("array fill", "cycles", "Filling and draining the array because operands were not ready.", 0),
        Column("waits", "cycles", "Waiting for other engines' results, or for room.", 0),
        Column("DRAM turn", "cycles", "Waiting for the DRAM channel.", 0),
        Column("finished", "cycles", "Behind its last instruction.", 0),
        Column("energy", unit.name, "Of its instructions, without leakage.", 3),
    )
    rows = [
        (
            row.engine,
            row.instructions,
            100 * row.utilization,
            row.busy_cycles,
            row.fill_cycles,
            row.dependency_cycles,
            row.channel_cycles,
            row.finished_cycles,
            row.energy_pj / unit.picojoules,
        )
        for row in report.engines
    ]
    return Table("engines", columns, rows)


_PARTS = {"busy": "at work", "fill": "array fill and drain", "latency": "until its result is there"}


def _critical(report: Report) -> Table:
    columns = (
        Column("engine", note="The engine whose instruction is on the path."),
        Column("part", note="What the instruction does in these cycles."),
        Column("on the path", "cycles", "Cycles of the latency; all rows sum to it.", 0),
        Column("share", "% of latency", "", 1),
    )
    total = report.performance.cycles or 1
    longest = sorted(report.critical_path, key=lambda row: -row.cycles)
    rows = [(row.engine, _PARTS[row.part], row.cycles, 100 * row.cycles / total) for row in longest]
    return Table("critical", columns, rows)


def _energy(performance: Performance, unit: EnergyUnit) -> Table:
    columns = (
        Column("part", note="The part of the machine that the counted actions belong to."),
        Column("energy", unit.name, "Actions times the machine file's energy of one.", 3),
        Column("share", "%", "", 1),
    )
    total = performance.energy_pj or 1.0
    parts = sorted(performance.energy_by_part_pj.items(), key=lambda item: -item[1])
    rows = [(part, energy / unit.picojoules, 100 * energy / total) for part, energy in parts if energy]
    return Table("energy", columns, rows, total=("together", performance.energy_pj / unit.picojoules, 100.0))


_MACS = Column("MACs", "", "Multiply-accumulates, without padding.", 0)


def _node_columns(unit: EnergyUnit) -> tuple[Column, ...]:
    return (
        Column("node", note="The ONNX node. Choose a row to see it in the timeline and in the IR."),
        Column("operator", note="Its ONNX operator."),
        Column("path", note="Its place in the model's structure."),
        Column("engine", note="The engine that it keeps busy longest."),
        Column("format", note="Number format of its matrix products."),
        Column("on the path", "cycles", "Cycles of the latency that the node makes: the critical path by node.", 0),
        Column("share", "% of latency", "The critical path's share.", 1),
        Column("busy", "cycles", "Of all engines; they work side by side, so that the sum exceeds the latency.", 0),
        Column("waits", "cycles", "For which its instructions kept an engine waiting for other engines.", 0),
        Column("DRAM turn", "cycles", "For which its transfers waited for the DRAM channel.", 0),
        Column("array fill", "cycles", "For which its products filled and drained the array.", 0),
        Column("DRAM", "bytes", "Read and written.", 0),
        Column("energy", unit.name, "Of its instructions, without leakage.", 4),
        _MACS,
        Column("tile", "m x n x k", "The commonest size of its matrix products."),
        Column("products", "", "Matrix products that work for it, each counted whole.", 0),
        Column("form", note="The form that its attention was given; or why the node has no instruction."),
    )


def _nodes(nodes: Sequence[NodeRow], performance: Performance, unit: EnergyUnit) -> Table:
    columns, total = _node_columns(unit), performance.cycles or 1
    rows = [_node(row, total, unit) for row in nodes]
    sums: list[Cell] = [None] * len(columns)
    for place, column in enumerate(columns):
        if column.digits is not None and column.title != "products":
            sums[place] = sum(value for row in rows if isinstance(value := row[place], int | float))
    sums[0] = "together"
    sums[columns.index(_MACS)] = performance.macs + performance.recomputed_macs
    return Table("nodes", columns, rows, sums, [f"node-{number}" for number in range(len(rows))])


def _node(row: NodeRow, total: int, unit: EnergyUnit) -> tuple[Cell, ...]:
    return (
        row.node,
        row.op,
        row.path,
        row.engine,
        row.mode,
        row.critical_cycles,
        100 * row.critical_cycles / total,
        row.cycles,
        row.dependency_cycles,
        row.channel_cycles,
        row.fill_cycles,
        row.dram_bytes,
        row.energy_pj / unit.picojoules,
        row.macs,
        row.tile.replace("x", "\u00a0x\u00a0"),
        row.products,
        row.form,
    )


def _occupants(memory: MemoryRow) -> Table:
    columns = (
        Column("buffer", note="The name of the buffer."),
        Column("first byte", "address", "In its memory.", 0),
        Column("size", "bytes", "", 0),
        Column("share", "% of the memory", "", 1),
    )
    rows = [(item.name, item.address, item.bytes, 100 * item.bytes / memory.bytes) for item in memory.occupants]
    return Table(f"occupants-{memory.memory}", columns, rows)


def _operands(operands: Sequence[OperandRow]) -> Table:
    columns = (
        Column("path", note="Of the first node of the kernel, in the model's structure."),
        Column("nodes", note="Whose products these are."),
        Column("format", note="Number format of the products."),
        Column("kept", "%", "What masks left to the array.", 1),
        Column("left zeros", "%", "Of the left operand's elements, by the multiply-accumulates that read them.", 1),
        Column("right zeros", "%", "Of the right operand's: weights, or keys and values.", 1),
        Column("left bits set", "%", "Of one-bit operands.", 1),
        Column("right bits set", "%", "Of one-bit operands.", 1),
        Column("least sum", "", "That an accumulator held behind a product.", -6),
        Column("greatest sum", "", "The range says how many bits an accumulator needs.", -6),
    )
    rows = [
        (
            row.path,
            ", ".join(row.nodes),
            row.mode,
            *(
                None if share is None else 100 * share
                for share in (row.kept, row.left_zeros, row.right_zeros, row.left_ones, row.right_ones)
            ),
            row.least_sum,
            row.greatest_sum,
        )
        for row in operands
    ]
    return Table("operands", columns, rows)


def _unlowered(report: Report) -> Table:
    columns = (Column("node", note="Written binary or quantized."), Column("operator"), Column("reason"))
    return Table("unlowered", columns, [(row.node, row.op, row.reason) for row in report.unlowered])
