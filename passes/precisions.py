"""The number formats that a recipe, a rule of one or a command may ask for."""

from __future__ import annotations

UNTRAINED = ("int4", "int2", "ternary", "binary", "w1a8", "w1a4", "w1a2", "w1a1")
"""Formats of `passes.precision.post_training`, for exploring: answers mean something after training only."""

PRECISIONS = ("model", "fp16", "bf16", "int8", *UNTRAINED)
