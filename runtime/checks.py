"""The checks of `run --check`: races, and memory used wrongly. The first finding is raised."""

from __future__ import annotations

from ..isa.errors import Fault, Party, RaceError
from ..isa.program import Program
from .measure import StaticFacts
from .memory_check import find_memory_errors
from .races import Race, find_races


def check_program(facts: StaticFacts) -> tuple[str, ...]:
    """Lines that say what was checked; RaceError or Fault (with row, instruction and node) where something is
    wrong."""
    program = facts.program
    for race in find_races(facts.accesses, program.table.queue.tolist(), facts.waits.lists(), program.machine):
        raise race_error(facts, race)
    for finding in find_memory_errors(program, facts.accesses):
        if finding.row is None:
            raise Fault(finding.reason)
        raise Fault(finding.reason, finding.row, facts.text(finding.row), node_text(program, finding.row))
    count = len(program.table)
    return (
        f"race check: {count:,} instructions, every pair that shares memory is ordered",
        f"memory check: {count:,} instructions, every byte read was written before, every output is written",
    )


def race_error(facts: StaticFacts, race: Race) -> RaceError:
    """The error that names both instructions of `race` and their nodes."""
    parties = [
        Party(row, facts.text(row), node_text(facts.program, row) or "", "writes" if writes else "reads")
        for row, writes in ((race.first, race.first_writes), (race.second, race.second_writes))
    ]
    return RaceError(parties[0], parties[1], f"{race.space.text}+{race.address:#x}")


def node_text(program: Program, row: int) -> str | None:
    """The nodes of a row in one text; None where it has none."""
    return ", ".join(program.row_nodes(row)) or None
