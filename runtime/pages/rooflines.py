"""The roofs of a machine's roofline plot, and where kernels lie under them (Williams et al., CACM 2009).

An operation is a multiply or an add of a product (a multiply-accumulate is two), or one element of a vector pass where
a kernel has no products.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...isa.machine import Machine
from ..report import KernelRow


def rooflines(machine: Machine, kernels: Sequence[KernelRow]) -> dict[str, Any]:
    """Roofs in 10^9 operations a second, of each number mode that the kernels use; bandwidth in 10^9 bytes a second;
    and for each kernel its operations, their rate and their number a DRAM byte (None: it moves none)."""
    modes = sorted({row.mode for row in kernels if row.macs})
    roofs = {
        mode: 2 * machine.matrix.depth(mode) * machine.matrix.columns * machine.engines.mx * machine.clock_ghz
        for mode in modes
    }
    if any(row.elements and not row.macs for row in kernels):
        roofs["vector"] = machine.vector.lanes * machine.engines.vx * machine.clock_ghz
    return {
        "roofs": roofs,
        "bandwidth": machine.dram.bytes_per_cycle * machine.clock_ghz,
        "kernels": [_point(row, machine) for row in kernels],
    }


def _point(row: KernelRow, machine: Machine) -> dict[str, Any]:
    operations = 2 * row.macs or row.elements
    return {
        "roof": row.mode if row.macs else "vector",
        "operations": operations,
        "rate": operations / row.cycles * machine.clock_ghz if row.cycles else 0.0,
        "intensity": operations / row.dram_bytes if row.dram_bytes else None,
    }
