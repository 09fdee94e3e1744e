"""Attention of few levels on the packed modes of the matrix engine: queries and keys packed along the width of a head,
values along tokens, weights by the softmax's last pass."""

from __future__ import annotations

from xdsl.dialects.builtin import StringAttr, i8
from xdsl.ir import SSAValue

from ...dialects import sattn
from ...dialects.bnn_types import uint2, uint4, unipolar
from ...dialects.elements import element_type
from ...isa.matrix import MatrixMode
from ..builder import Builder
from .pack_along_tokens import packed_along_tokens
from .packed_modes import UNPACKED, ProductCost
from .packer import Packer
from .retype import replace
from .value_sets import FEW, ValueSet, types_for

LEVELS = ((1, unipolar), (3, uint2), (15, uint4))
"""What holds levels up to a greatest one."""


def pack_attention(packer: Packer, attention: sattn.AttentionOp) -> str:
    """Replace an int8 attention by one of packed operands, where they have few levels; otherwise why not, or nothing
    for one of many levels."""
    if element_type(attention.q) != i8 or element_type(attention.v) != i8:
        return ""
    scores, values = _scores(packer, attention), _values(packer, attention)
    found = (*((attention.q, attention.k) if isinstance(scores, str) else scores), attention.v)
    if not isinstance(values, str):
        found = (*found[:2], values)
    reasons = {"scores": scores, "values": values}
    told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if isinstance(reason, str) and reason)
    if found == (attention.q, attention.k, attention.v):
        return told
    made = attention.clone()
    for index, value in enumerate(found):
        made.operands[index] = value
    if told:
        made.attributes[UNPACKED] = StringAttr(told)
    replace(attention, Builder.before(attention, packer.store).insert(made))
    return ""


def _is_few(values: ValueSet | None) -> bool:
    return values is not None and len(values) <= FEW


def _scores(packer: Packer, attention: sattn.AttentionOp) -> tuple[SSAValue, SSAValue] | str:
    """Queries and keys packed along the width of a head; why not, or nothing where they have many levels."""
    left, right = packer.sets.of(attention.q), packer.sets.of(attention.k)
    if not _is_few(left) and not _is_few(right):
        return ""
    if not types_for(right):
        return "keys have more levels than a packed mode takes"
    _, _, _, queries, keys, width, _ = attention.extents
    chosen = ProductCost(packer.machine, queries, keys, width).choose((*types_for(left), i8), types_for(right))
    if isinstance(chosen, str):
        return chosen
    q = packer.along_depth(attention.q, chosen[0], attention, swapped=False)
    k = packer.along_depth(attention.k, chosen[1], attention, swapped=False)
    if q is None or k is None:
        return f"{'queries' if q is None else 'keys'} do not lie along the width of a head in whole bytes"
    return q, k


def _values(packer: Packer, attention: sattn.AttentionOp) -> SSAValue | str:
    """Values packed along tokens; why not, or nothing where they and the weights have many levels."""
    values, levels = packer.sets.of(attention.v), attention.p_levels.value.data
    weights = next((element for most, element in LEVELS if 1 <= levels <= most), None)
    if not _is_few(values) and weights is None:
        return ""
    if weights is None or not types_for(values):
        return f"{'weights' if weights is None else 'values'} have more levels than a packed mode takes"
    if attention.v_zero_point.value.data:
        return "0 of the values is no level of 0"
    batch, heads, _, queries, keys, _, width = attention.extents
    cost = ProductCost(packer.machine, queries, width, keys)
    chosen = cost.choose((weights,), types_for(values))
    if isinstance(chosen, str):
        return chosen
    along = packer.along_depth(attention.v, chosen[1], attention, swapped=True)
    if along is not None:
        return along
    plain, less = cost.cycles(MatrixMode.I8), cost.packed_cycles(*chosen)
    saved = None if plain is None or less is None else (plain - less) * batch * heads
    return packed_along_tokens(attention.v, attention, chosen[1], saved, packer.store, packer.machine)
