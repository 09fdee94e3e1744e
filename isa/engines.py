"""The kinds of engine a machine has."""

from __future__ import annotations

from enum import Enum


class Engine(Enum):
    """A kind of engine; a machine may have several of a kind, each with its own in-order queue."""

    LD = "ld"
    ST = "st"
    MX = "mx"
    VX = "vx"
    SX = "sx"

    def __str__(self) -> str:
        return self.value


ENGINE_ROLES: dict[Engine, str] = {
    Engine.LD: "copies blocks and gathers rows from DRAM to on-chip memory",
    Engine.ST: "copies blocks and scatters rows from on-chip memory to DRAM",
    Engine.MX: "matrix products of SRAM operands into the accumulator memory ACC",
    Engine.VX: "passes over elements: arithmetic, functions, conversion, reductions",
    Engine.SX: "sparse and index work",
}
"""What each kind does, for the manual."""
