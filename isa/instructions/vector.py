"""The VX engine's instructions: writing lane programs, and passing elements through them."""

from __future__ import annotations

from .vector_pass import BROADCAST_KINDS, DIRECTIONS, VectorPass
from .vector_program import SLOTS, VectorProgram

__all__ = ["BROADCAST_KINDS", "DIRECTIONS", "SLOTS", "VectorPass", "VectorProgram"]
