"""The passes that decide the form of every attention, from what the recipe asks for and the model's own masks show."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.passes import ModulePass

from ...dialects.forms.progressive import Progressive
from ..attention_rules import AttentionRule
from ..graph.fold_constants import FoldConstants
from ..graph.remove_unused import RemoveUnused
from .choose import ChooseForms
from .linear import LowerLinear
from .order_tokens import OrderTokens
from .recognize import RecognizePatterns
from .split_forms import SplitForms
from .split_keys import SplitKeys
from .split_products import SplitProducts
from .turn_operands import TurnOperands
from .unfuse import UnfuseAttention


def attention(rules: Sequence[AttentionRule], order_tokens: bool = True, fused: bool = True) -> tuple[ModulePass, ...]:
    """The recipe's patterns and prunings first: what is left of the model's masks are patterns after that. Then, unless
    `order_tokens` is off, the order in which they cost least. What then is dense is written out where it is not to be
    `fused`."""
    asked = tuple(str(rule) for rule in rules if not rule.is_linear)
    chosen = (ChooseForms(asked),) if asked else ()
    by_bits = any(isinstance(form, Progressive) for rule in rules for form in rule.form.forms)
    split = (SplitKeys(), RemoveUnused()) if by_bits else ()
    ordered = (OrderTokens(),) if order_tokens else ()
    unfused = () if fused else (UnfuseAttention(),)
    return (*chosen, *split, RecognizePatterns(), *ordered, *unfused, RemoveUnused())


def linear_attention(rules: Sequence[AttentionRule]) -> tuple[ModulePass, ...]:
    """Heads whose forms do not go together, each by themselves; and the recipe's linear forms, which are ordinary
    operations before number formats are decided."""
    asked = tuple(map(str, rules))
    split = (SplitForms(asked), RemoveUnused()) if any(rule.heads for rule in rules) else ()
    if not any(rule.is_linear for rule in rules):
        return split
    lowered = (LowerLinear(asked), RemoveUnused())
    return (*split, *lowered, SplitProducts(), RemoveUnused(), FoldConstants(), TurnOperands(), RemoveUnused())
