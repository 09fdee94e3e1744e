"""What every row of a program costs, asked of the records once a kind, by columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..isa.columns import Int64Array, as_vector
from ..isa.engines import Engine
from ..isa.frozen import frozen
from ..isa.machine import ACTIONS, Machine
from ..isa.matrix import MODE_NAMES
from ..isa.record import WORD_BYTES, Instruction
from ..isa.table import Table

ACTION_NAMES = tuple(ACTIONS)
"""Energy actions in the order of `ProgramCosts.events`."""


@frozen
class ProgramCosts:
    """Costs by row, int64 arrays; see `isa.record.Cost` for the first six.

    `products` are what a product sums up (m n k), `macs` its multiply-accumulates in its mode (as many for each turn of
    a packed mode), without padding; `mode` the row's matrix mode as index into MODE_NAMES (-1: no product),
    `elements` what a vector pass works on. `events` counts actions, float64 [ACTION_NAMES, rows],
    the fetch of the instruction included, leakage not (it goes with the whole run).
    """

    busy: Int64Array
    latency: Int64Array
    fill: Int64Array
    channel: Int64Array
    dram_read: Int64Array
    dram_write: Int64Array
    products: Int64Array
    macs: Int64Array
    mode: Int64Array
    elements: Int64Array
    events: NDArray[np.float64]

    def energy_pj(self, machine: Machine) -> NDArray[np.float64]:
        """Picojoules by row on `machine`, without leakage."""
        return np.array([machine.energy(name) for name in ACTION_NAMES]) @ self.events


def program_costs(table: Table, instances: Mapping[str, Instruction], machine: Machine) -> ProgramCosts:
    """The costs of `table` on `machine`; `instances` has the columns of each mnemonic with extents as
    numbers."""
    rows = len(table)
    integers = {name: np.zeros(rows, dtype=np.int64) for name in _INTEGERS}
    integers["mode"] -= 1
    events = np.zeros((len(ACTION_NAMES), rows))
    events[ACTION_NAMES.index("fetch")] = WORD_BYTES
    for mnemonic, instruction in instances.items():
        own = table.groups[mnemonic].rows
        cost = instruction.cost(machine)
        found: dict[str, Any] = {
            "busy": cost.busy,
            "latency": cost.latency,
            "fill": cost.fill,
            "channel": cost.channel_cycles,
            "dram_read": cost.dram_read_bytes,
            "dram_write": cost.dram_write_bytes,
            "macs": sum(cost.events.get(f"mac.{name}", 0) for name in MODE_NAMES),
        }
        columns = vars(instruction)
        if instruction.engine is Engine.MX:
            found["mode"] = columns["mode"]
            found["products"] = columns["m"] * columns["n"] * columns["k"]
        if instruction.engine is Engine.VX and "columns" in columns:
            found["elements"] = columns["rows"] * columns["columns"]
        for name, value in found.items():
            integers[name][own] = as_vector(value, len(own))
        for action, count in cost.events.items():
            events[ACTION_NAMES.index(action), own] += as_vector(count, len(own))
    return ProgramCosts(**integers, events=events)


_INTEGERS = ("busy", "latency", "fill", "channel", "dram_read", "dram_write", "products", "macs", "mode", "elements")
