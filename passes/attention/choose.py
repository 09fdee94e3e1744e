"""The form of every attention that a recipe asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from ...dialects import sattn
from ...dialects.constants import Array, ConstantStore, RefAttr
from ...dialects.context import CompilerContext
from ...dialects.forms.form import Calibrated
from ...dialects.forms.progressive import Progressive
from ...dialects.forms.pruning import Pruning
from ...dialects.key_runs import Bools
from ...dialects.nn import EmptyRow
from ...isa.errors import InputError, UsageError
from ..attention_rules import AttentionRule
from ..builder import Builder
from .archive import beginnings, read_archive
from .rules import path_of, rules_of_heads

Bits = Mapping[int, Bools]
"""What is shown [queries, keys] by the forms made of mean attention maps, by head."""


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
        decided = rules_of_heads(op, [AttentionRule.parse(rule) for rule in self.rules])
        bits = _calibrated(decided, store)
        for attention, heads in decided.items():
            _rewrite(attention, heads, bits[attention], store)


def _calibrated(
    decided: Mapping[sattn.AttentionOp, Sequence[AttentionRule | None]], store: ConstantStore
) -> dict[sattn.AttentionOp, dict[int, Bools]]:
    """The bits of every head whose rule has a form made of mean attention maps: all heads of a rule at once."""
    places: dict[tuple[AttentionRule, Calibrated], list[tuple[sattn.AttentionOp, int]]] = {}
    for attention, heads in decided.items():
        for head, rule in enumerate(heads):
            if rule is not None:
                for form in rule.form.calibrated:
                    places.setdefault((rule, form), []).append((attention, head))
    found: dict[sattn.AttentionOp, dict[int, Bools]] = {attention: {} for attention in decided}
    for (_, form), where in places.items():
        masks = form.masks([_mean_map(attention, form, store)[head] for attention, head in where])
        for (attention, head), mask in zip(where, masks, strict=True):
            known = found[attention].get(head)
            found[attention][head] = mask if known is None else mask | known
    return found


def _mean_map(attention: sattn.AttentionOp, form: Calibrated, store: ConstantStore) -> Array:
    known = attention.attributes.get(sattn.MEAN_MAP)
    if not isinstance(known, RefAttr):
        raise UsageError(
            f"{path_of(attention)}: attention form '{form}' is made of the model's mean attention over samples",
            "add --calibrate SAMPLES.npz",
        )
    return store.array(known)


def _rewrite(
    attention: sattn.AttentionOp, heads: Sequence[AttentionRule | None], bits: Bits, store: ConstantStore
) -> None:
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
    if attention.count is not None and any(form != sattn.DENSE for form in forms):
        told = "leave it out by `match`, or give [[tokens]] no threshold"
        raise UsageError(f"{path_of(attention)}: its number of tokens is found by the run, which no form knows", told)
    refused = attention.no_pruning
    if refused is not None and any(isinstance(part, Pruning) for form in forms for part in form.forms):
        told = "leave it out by `match`, or give it a pattern"
        raise UsageError(f"{path_of(attention)}: attention form '{forms[0]}' does not go with {refused}", told)
    refused = attention.no_progress
    if refused is not None and any(isinstance(part, Progressive) for form in forms for part in form.forms):
        told = "leave it out by `match`, or give it another form"
        raise UsageError(f"{path_of(attention)}: attention form '{forms[0]}' does not go with {refused}", told)
    build = Builder.before(attention, store)
    pattern = _pattern(attention, heads, bits, build)
    forms = [form.as_bits for form in forms]
    if all(form == forms[0] for form in forms):
        forms = forms[:1]
    empty_row = EmptyRow.ZERO if attention.empty_row.data == EmptyRow.NAN else attention.empty_row.data
    replace_attention(attention, attention.of_form(forms, pattern, attention.mask, empty_row), build)


def replace_attention(old: sattn.AttentionOp, new: sattn.AttentionOp, build: Builder) -> None:
    """Put `new` in the place of `old`."""
    new.attributes.update(old.attributes)
    new.attributes.pop(sattn.MEAN_MAP, None)
    build.insert(new)
    for before, after in zip(old.results, new.results, strict=True):
        before.replace_all_uses_with(after)
    old.detach()
    old.erase()


def _pattern(
    attention: sattn.AttentionOp, heads: Sequence[AttentionRule | None], made: Bits, build: Builder
) -> SSAValue | None:
    """The bits of the heads whose form is a bitmap or was `made` of maps, none of the others."""
    asked = {head: rule for head, rule in enumerate(heads) if rule is not None and rule.masks}
    if not asked and not made:
        return None
    _, count, _, queries, keys, _, _ = attention.extents
    path, (first, every) = path_of(attention), attention.model_heads
    files = {rule.masks: _read(rule.masks, path, (every, queries, keys)) for rule in asked.values()}
    bits = np.zeros((1, count, queries, keys), np.bool_)
    for head, rule in asked.items():
        bits[0, head] = files[rule.masks][first + head]
    for head, mask in made.items():
        bits[0, head] |= mask
    alike = (bits == bits[:, :1]).all() and len(asked.keys() | made.keys()) == count
    return build.constant(bits[:, :1] if alike else bits)


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
