"""Lower bounds on a run's cycles, from work and peak rates alone: what no schedule of the same work can beat.

* Each kind of compute engine: useful multiply-accumulates (without padding to the array, and without those that
  a schedule makes again) at their mode's full rate, or elements by lanes, over all engines of the kind.
* DRAM: bytes moved at the channel's bandwidth.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..isa.engines import Engine
from ..isa.machine import Machine
from ..isa.matrix import MODE_NAMES
from .costs import ProgramCosts
from .timing import Schedule

Cycles = NDArray[np.float64]


def useful_cycles(costs: ProgramCosts, machine: Machine, share: float) -> Cycles:
    """By row, the cycles that its useful work takes at its engine's peak rate; for transfers, their bytes at
    the channel's bandwidth. Of multiply-accumulates this `share` is useful."""
    return _dram(costs, machine) + _vector(costs, machine) + share * _matrix(costs, machine)


def bound_cycles(costs: ProgramCosts, machine: Machine, share: float) -> dict[str, int]:
    """The bounds "mx", "vx" (over all engines of the kind) and "dram", in whole cycles, rounded up; `share` as
    above."""
    return {
        "mx": _ceiling(share * _matrix(costs, machine).sum() / machine.engines.mx),
        "vx": _ceiling(_vector(costs, machine).sum() / machine.engines.vx),
        "dram": _ceiling(_dram(costs, machine).sum()),
    }


def limited_by(schedule: Schedule, machine: Machine, cycles: int) -> str:
    """What a run of `cycles` is limited by: "array", "vector" or "dram", whichever is occupied longest, or "dependency"
    where even that one stands idle for more than half of the run."""
    occupied = np.bincount(schedule.queue, weights=schedule.busy + schedule.fill, minlength=schedule.queues)
    of_kind = {
        name: max((float(occupied[queue.index]) for queue in machine.queues if queue.engine is kind), default=0.0)
        for name, kind in (("array", Engine.MX), ("vector", Engine.VX))
    }
    longest = {**of_kind, "dram": float(schedule.channel.sum())}
    name = max(longest, key=lambda name: longest[name])
    return name if 2 * longest[name] >= cycles else "dependency"


def _dram(costs: ProgramCosts, machine: Machine) -> Cycles:
    return (costs.dram_read + costs.dram_write) / machine.dram.bytes_per_cycle


def _vector(costs: ProgramCosts, machine: Machine) -> Cycles:
    return costs.elements / machine.vector.lanes


def _matrix(costs: ProgramCosts, machine: Machine) -> Cycles:
    peak = np.array([machine.matrix.depth(name) * machine.matrix.columns for name in MODE_NAMES], dtype=np.float64)
    product = costs.mode >= 0
    cycles = np.zeros(len(costs.macs))
    cycles[product] = costs.macs[product] / peak[costs.mode[product]]
    return cycles


def _ceiling(cycles: float) -> int:
    # A sum of many fractions must not round a whole number of cycles up to the next.
    return math.ceil(round(cycles, 6))
