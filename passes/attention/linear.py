"""Linear forms become ordinary operations of the graph level: products, sums and divisions.

They are so before formats are decided and samples are run, so that precisions, calibration and tiling treat their
products as any others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, f32
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from ...dialects import sattn
from ...dialects.constants import Array, ConstantStore
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, is_float
from ...dialects.forms.linear import Heads, Linear
from ...dialects.forms.registry import Union
from ...dialects.forms.work import Extents
from ...isa.errors import InputError, UsageError
from ..attention_rules import AttentionRule
from ..builder import Builder
from ..rewrite import carry
from .archive import beginnings, read_archive
from .rules import path_of, rules_of_heads

REMEDY = "`attnc check` lists the paths; a linear form is for attentions whose weights the model leaves in floats"


@dataclass(frozen=True)
class LowerLinear(ModulePass):
    """Replace the attentions to which `rules` (texts of `AttentionRule`) give a linear form; the first rule that
    matches one decides, and other forms are left to `choose-forms`."""

    name = "lower-linear"

    rules: tuple[str, ...] = ()

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module. Raises UsageError for rules that match nothing or do not fit what they match."""
        store = CompilerContext.of(ctx).store
        rules = [AttentionRule.parse(rule) for rule in self.rules]
        for attention, heads in rules_of_heads(op, rules, REMEDY).items():
            rule = heads[0]
            if rule is not None and rule.is_linear:
                _lower(attention, rule, store)


def _lower(attention: sattn.AttentionOp, rule: AttentionRule, store: ConstantStore) -> None:
    (form,) = rule.form.forms
    assert isinstance(form, Linear)
    reason = _misfit(attention)
    if reason:
        raise UsageError(
            f"{path_of(attention)}: attention form '{form}' has no scores, and this attention {reason}",
            "give this form to attentions without masks, and others a pattern or none",
        )
    build = Builder.before(attention, store)
    batch, heads, groups, queries, keys, key_width, value_width = attention.extents
    q, k, v = attention.q, attention.k, attention.v
    if groups != heads:
        # Heads that share keys stand side by side, and what is made of keys and values alone is made once.
        q = build.reshape(q, (batch, groups, heads // groups, queries, key_width))
        k, v = build.unsqueeze(k, 2), build.unsqueeze(v, 2)
    extents = Extents(queries, keys, key_width, value_width)
    scale = attention.scale.value.data
    constants = dict(form.constants(extents))
    if rule.constants:
        first, every = attention.model_heads
        given = _given(rule, path_of(attention), constants, every if groups == heads else 0)
        # Of an axis of heads, those that are here.
        here = slice(first, first + heads)
        constants |= {k: found[here] if found.ndim > constants[k].ndim else found for k, found in given.items()}
    made = form.lower(build, Heads(q, k, v, scale, constants, extents, element_type(v), f32))
    made = build.cast(build.reshape(made, (batch, heads, queries, value_width)), element_type(attention.result))
    _replace(attention, made, rule.form)


def _given(rule: AttentionRule, path: str, drawn: Mapping[str, Array], heads: int) -> dict[str, Array]:
    """The constants that the rule's file has for an attention: `PATH.NAME` with the path or the beginning of it, or
    `NAME`, in the shape of the `drawn` ones, or with that of each of `heads` (0 where they share keys)."""
    arrays = read_archive(rule.constants)
    given: dict[str, Array] = {}
    for name, other in drawn.items():
        key = next((key for key in (*(f"{start}.{name}" for start in beginnings(path)), name) if key in arrays), None)
        if key is None:
            continue
        found = arrays[key]
        shapes = [other.shape, *([(heads, *other.shape)] if heads else [])]
        if found.shape not in shapes or found.dtype.kind != "f" or not np.isfinite(found).all():
            told = " or ".join("x".join(map(str, shape)) for shape in shapes)
            what = f"{found.dtype} {'x'.join(map(str, found.shape))}"
            raise InputError(rule.constants, f"array {key!r} is {what}, {path} needs finite floats {told}")
        given[name] = found.astype(np.float32)
    if not given:
        names = ", ".join(drawn) or "none"
        raise InputError(
            rule.constants, f"has no constant of form '{rule.form}' for {path}", f"its constants are {names}"
        )
    return given


def _misfit(attention: sattn.AttentionOp) -> str:
    """What of an attention linear forms have no meaning for."""
    if attention.causal is not None:
        return "is causal"
    if attention.mask is not None:
        return "has a mask"
    if attention.softcap is not None:
        return "caps its scores"
    if attention.count is not None:
        return "is of a number of tokens that the run finds"
    if attention.importance is not None:
        return "tells what tokens are worth"
    if not is_float(element_type(attention.q)) or not attention.form.is_dense:
        return "is quantized, or of another form, already"
    return ""


def _replace(attention: sattn.AttentionOp, made: SSAValue, form: Union) -> None:
    owner = made.owner
    assert isinstance(owner, Operation)
    owner.attributes[sattn.LOWERED_FORM] = sattn.FormAttr((form,))
    carry(attention, owner)
    attention.result.replace_all_uses_with(made)
    attention.detach()
    attention.erase()
