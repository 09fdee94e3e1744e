"""Attention of few levels on the packed modes of the matrix engine: queries and keys packed along the width of a head,
values along tokens, weights by the softmax's last pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdsl.dialects.builtin import StringAttr, i8
from xdsl.ir import Attribute, SSAValue

from ...dialects import bnn, nn, sattn
from ...dialects.bnn_types import uint2, uint4, unipolar
from ...dialects.elements import element_type, shape_of
from ...isa.matrix import MatrixMode
from ..builder import Builder
from ..tile.view import View
from .along_tokens import is_exchangeable, made_along_tokens, product_behind
from .before_layout import moved_before_layout
from .packed_modes import UNPACKED, ProductCost
from .packed_values import packed, placed_along_depth
from .retype import above_layout, replace, through_layout
from .value_sets import FEW, ValueSet, types_for

if TYPE_CHECKING:
    from .pack_operands import Packer

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
    return _along_tokens(packer, attention, chosen[1], saved)


def _along_tokens(
    packer: Packer, attention: sattn.AttentionOp, element: Attribute, saved: int | None
) -> SSAValue | str:
    """Values made along tokens by the exchanged product, unless it takes more cycles than `saved`; or why not."""
    store = packer.store
    source, steps = above_layout(attention.v)
    moved = moved_before_layout(source, store)
    if moved is not None:
        source, steps = moved[0], (*moved[1], *steps)
    found = product_behind(source) if source.has_one_use() else None
    if found is None or not is_exchangeable(found):
        return "values do not lie along tokens, and no product of few levels makes them"
    more = _dearer(packer, found)
    if saved is not None and more is not None and more > saved:
        return f"making values along tokens would take {more} cycles of the array more, and save {saved}"
    pack = packed(Builder.after(source, store, attention), source, element)
    made = made_along_tokens(pack, found, store)
    if placed_along_depth(View.dense(made, shape_of(made)).turned, steps, swapped=True) is not False:
        return "values do not lie along tokens in whole bytes"
    build = Builder.before(attention, store)
    return build.swap_last(through_layout(build, build.swap_last(made), steps))


def _dearer(packer: Packer, product: nn.MatmulOp | bnn.MatmulOp) -> int | None:
    """How many cycles of the array more a product takes with its operands exchanged."""
    (rows, depth), columns = shape_of(product.lhs)[-2:], shape_of(product.result)[-1]
    if isinstance(product, nn.MatmulOp):
        return 0
    left, right = element_type(product.lhs), element_type(product.rhs)
    before = ProductCost(packer.machine, rows, columns, depth).packed_cycles(left, right)
    after = ProductCost(packer.machine, columns, rows, depth).packed_cycles(right, left)
    return None if before is None or after is None else after - before
