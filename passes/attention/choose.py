"""The form of every attention that a recipe asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from ...dialects import sattn
from ...dialects.constants import Array, ConstantStore
from ...dialects.context import CompilerContext
from ...dialects.forms.pruning import Pruning
from ...dialects.nn import EmptyRow
from ...isa.errors import InputError, UsageError
from ..attention_rules import AttentionRule
from ..builder import Builder
from .archive import beginnings, read_archive
from .rules import path_of, rules_of_heads


@dataclass(frozen=True)
class ChooseForms(ModulePass):
    """Give attentions the forms of `rules` (texts of `AttentionRule`), of which the first that matches a head decides.

    A query to which a pattern shows nothing gives zeros. What the model's masks hide stays hidden.
    """

    name = "choose-forms"

    rules: tuple[str, ...] = ()

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module. Raises UsageError for rules that match nothing or do not fit what they match, and
        InputError for masks that cannot be read."""
        store = CompilerContext.of(ctx).store
        for attention, heads in rules_of_heads(op, [AttentionRule.parse(rule) for rule in self.rules]).items():
            _rewrite(attention, heads, store)


def _rewrite(attention: sattn.AttentionOp, heads: Sequence[AttentionRule | None], store: ConstantStore) -> None:
    queries, keys = attention.extents[3:5]
    forms = [sattn.DENSE if rule is None else rule.form for rule in heads]
    for form in forms:
        reason = form.misfit(queries, keys)
        if reason is not None:
            raise UsageError(f"{path_of(attention)}: {reason}")
    if not attention.form.is_dense:
        raise UsageError(f"{path_of(attention)} has the form {attention.form.text} already")
    if any(not form.patterns for form in forms) and len(set(forms)) > 1:
        names = ", ".join(sorted({str(form) for form in forms}))
        raise UsageError(f"{path_of(attention)}: heads of the forms {names} do not go together", "only patterns do")
    refused = attention.no_pruning
    if refused is not None and any(isinstance(part, Pruning) for form in forms for part in form.forms):
        told = "leave it out by `match`, or give it a pattern"
        raise UsageError(f"{path_of(attention)}: attention form '{forms[0]}' does not go with {refused}", told)
    build = Builder.before(attention, store)
    pattern = _pattern(attention, heads, build)
    if all(form == forms[0] for form in forms):
        forms = forms[:1]
    empty_row = EmptyRow.ZERO if attention.empty_row.data == EmptyRow.NAN else attention.empty_row.data
    replace_attention(attention, attention.of_form(forms, pattern, attention.mask, empty_row), build)


def replace_attention(old: sattn.AttentionOp, new: sattn.AttentionOp, build: Builder) -> None:
    """Put `new` in the place of `old`."""
    new.attributes.update(old.attributes)
    old.result.replace_all_uses_with(build.insert(new))
    old.detach()
    old.erase()


def _pattern(attention: sattn.AttentionOp, heads: Sequence[AttentionRule | None], build: Builder) -> SSAValue | None:
    """The bits of the heads whose form is a bitmap, none of the others."""
    asked = [rule if rule is not None and rule.masks else None for rule in heads]
    if not any(asked):
        return None
    _, count, _, queries, keys, _, _ = attention.extents
    path = path_of(attention)
    files = {rule.masks: _read(rule.masks, path, (count, queries, keys)) for rule in asked if rule is not None}
    bits = np.zeros((1, count, queries, keys), np.bool_)
    for head, rule in enumerate(asked):
        if rule is not None:
            bits[0, head] = files[rule.masks][head]
    return build.constant(bits[:, :1] if (bits == bits[:, :1]).all() and all(asked) else bits)


def _read(file: str, path: str, shape: tuple[int, int, int]) -> Array:
    """The bits [heads, queries, keys] that an .npz file has for an attention: an array named as its path or the
    beginning of it, or the only one; of that shape, or without the heads for all of them."""
    arrays = read_archive(file)
    names = [name for name in beginnings(path) if name in arrays]
    if not names and len(arrays) == 1:
        names = list(arrays)
    if not names:
        raise InputError(file, f"has no array {path!r}", f"it has {', '.join(arrays) or 'none'}")
    found = arrays[names[0]]
    if found.shape not in (shape, shape[1:]):
        told = "x".join(map(str, found.shape))
        raise InputError(file, f"array {names[0]!r} is {told}, {path} needs {'x'.join(map(str, shape))}")
    return np.broadcast_to(found != 0, shape)
