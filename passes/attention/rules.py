"""Which attentions of a module a recipe's rules speak of."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from xdsl.dialects.builtin import ModuleOp, StringAttr

from ...dialects import sattn
from ...dialects.provenance import nodes_of
from ...isa.errors import UsageError
from ..attention_rules import AttentionRule


def rules_of_heads(
    module: ModuleOp, rules: Sequence[AttentionRule], remedy: str = "`attnc check` lists the paths"
) -> dict[sattn.AttentionOp, tuple[AttentionRule | None, ...]]:
    """For every attention that a rule matches, in order, the rule of each query head: the first that matches.

    A pattern is tried on structural paths and their beginnings (`encoder.0.attention` of `encoder.0.attention.scores`),
    and if it matches none of them on the names of ONNX nodes. Raises UsageError for rules that match no attention, or
    a head that there is not; `remedy` is what would help with the first.
    """
    attentions = [op for op in module.walk() if isinstance(op, sattn.AttentionOp)]
    found: dict[sattn.AttentionOp, list[AttentionRule | None]] = {}
    for rule in rules:
        matched = [op for op in attentions if _has_path(op, rule.match)]
        matched = matched or [op for op in attentions if any(fnmatchcase(n.name, rule.match) for n in nodes_of(op))]
        if not matched:
            raise UsageError(f"recipe attention {rule.match!r} matches no attention", remedy)
        for op in matched:
            first, count = op.model_heads
            if rule.heads and max(rule.heads) >= count:
                raise UsageError(f"{path_of(op)} has no head {max(rule.heads)}", f"its heads are 0 to {count - 1}")
            heads = found.setdefault(op, [None] * op.extents[1])
            for head in range(len(heads)):
                if not rule.heads or first + head in rule.heads:
                    heads[head] = heads[head] or rule
    return {op: tuple(found[op]) for op in attentions if op in found}


def path_of(op: sattn.AttentionOp) -> str:
    """The structural path of an attention, or what else names it."""
    path = op.attributes.get("path")
    if isinstance(path, StringAttr):
        return path.data
    return next((node.name for node in nodes_of(op)), "an attention")


def _has_path(op: sattn.AttentionOp, pattern: str) -> bool:
    path = op.attributes.get("path")
    if not isinstance(path, StringAttr):
        return pattern == "*"
    parts = path.data.split(".")
    return any(fnmatchcase(".".join(parts[:length]), pattern) for length in range(1, len(parts) + 1))
