"""Every instruction of a measured run: a line of text each (`run --log`), or a row of a CSV file each."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from ..isa.fields import Choice, Wait
from ..isa.files import write_beside
from .measure import Measurement


def log_line(measurement: Measurement, row: int) -> str:
    """Start cycle, engine, disassembly and nodes of a row."""
    program = measurement.program
    engine = measurement.machine.queues[int(program.table.queue[row])].name
    nodes = ", ".join(program.row_nodes(row))
    start = int(measurement.timeline.start[row])
    return f"{start:>10} {engine:<4} {measurement.facts.text(row)}{f'  ; {nodes}' if nodes else ''}"


def log_lines(measurement: Measurement, until: int | None = None) -> Iterator[str]:
    """The lines of all rows, or of the first `until`, in file order."""
    rows = len(measurement.program.table)
    for row in range(rows if until is None else min(until, rows)):
        yield log_line(measurement, row)


_TIMES = ("free", "issue", "start", "end", "retire")


def write_instructions(measurement: Measurement, path: str | Path) -> None:
    """Write the CSV file: a row an instruction in file order, its times in cycles, bytes, energy, waits and
    fields.

    A field is a column of its own (empty for instructions that have none of that name), extents in registers
    as the numbers that they were. Waits are written `engine:count`, as in assembly.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = field_names(measurement)
    writer.writerow(
        [
            "row",
            "engine",
            "mnemonic",
            *(f"{name}_cycle" for name in _TIMES),
            "dram_read_bytes",
            "dram_write_bytes",
            "macs",
            "energy_pj",
            "nodes",
            "waits",
            *names,
        ]
    )
    writer.writerows(_cells(measurement, names))
    write_beside(Path(path), stream.getvalue().encode())


def field_names(measurement: Measurement) -> list[str]:
    """The fields of all kinds of instruction in the program, each name once."""
    names: dict[str, None] = {}
    for group in measurement.program.table.groups.values():
        names.update((item.name, None) for item in group.record.fields if not isinstance(item.kind, Wait))
    return list(names)


def _cells(measurement: Measurement, names: list[str]) -> Iterator[list[object]]:
    table, queues = measurement.program.table, measurement.machine.queues
    times = [getattr(measurement.timeline, name).tolist() for name in _TIMES]
    costs = measurement.costs
    amounts = [
        costs.dram_read.tolist(),
        costs.dram_write.tolist(),
        costs.macs.tolist(),
        measurement.row_energy_pj.tolist(),
    ]
    for row in range(len(table)):
        record, place = table.record(row), int(table.position[row])
        columns = vars(measurement.instances[record.mnemonic])
        kinds = {item.name: item.kind for item in record.fields}
        cells: list[object] = []
        for name in names:
            kind = kinds.get(name)
            value = int(columns[name][place]) if kind is not None else ""
            cells.append(kind.format(int(value)) if isinstance(kind, Choice) else value)
        waits = " ".join(f"{queues[queue].name}:{count}" for queue, count in table.row_waits(row))
        yield [
            row,
            queues[int(table.queue[row])].name,
            record.mnemonic,
            *(column[row] for column in (*times, *amounts)),
            "; ".join(measurement.program.row_nodes(row)),
            waits,
            *cells,
        ]
