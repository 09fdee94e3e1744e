"""The passes that decide the form of every attention, from what the recipe asks for and the model's own masks show."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.passes import ModulePass

from ..attention_rules import AttentionRule
from ..graph.remove_unused import RemoveUnused
from .choose import ChooseForms
from .recognize import RecognizePatterns


def attention(rules: Sequence[AttentionRule]) -> tuple[ModulePass, ...]:
    """The recipe's patterns and prunings first: what is left of the model's masks are patterns after that."""
    asked = tuple(str(rule) for rule in rules if not rule.is_linear)
    chosen = (ChooseForms(asked),) if asked else ()
    return (*chosen, RecognizePatterns(), RemoveUnused())
