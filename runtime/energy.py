"""Energy by part of the machine: counted actions times their picojoules, and leakage over the run's
cycles."""

from __future__ import annotations

from ..isa.machine import Machine
from .costs import ACTION_NAMES, ProgramCosts


def energy_by_part_pj(costs: ProgramCosts, machine: Machine, cycles: int) -> dict[str, float]:
    """Picojoules by part: matrix, vector, sram, acc, dram, fetch, leakage (and others that ACTIONS names)."""
    parts: dict[str, float] = {}
    counts = costs.events.sum(axis=1)
    for action, count in zip(ACTION_NAMES, counts.tolist(), strict=True):
        part = action.partition(".")[0]
        part = "matrix" if part == "mac" else part
        parts[part] = parts.get(part, 0.0) + count * machine.energy(action)
    parts["leakage"] = leakage_pj(machine, cycles)
    return parts


def leakage_pj(machine: Machine, cycles: int) -> float:
    """Picojoules that the whole chip leaks in `cycles`."""
    return cycles * machine.energy("leakage")
