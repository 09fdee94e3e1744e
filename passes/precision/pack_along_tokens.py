"""Operands of packed products that lie across their depth, packed where a product makes them along it."""

from __future__ import annotations

from xdsl.ir import Attribute, Operation, SSAValue

from ...dialects import bnn, nn
from ...dialects.constants import ConstantStore
from ...dialects.elements import element_type, shape_of
from ...isa.machine import Machine
from ..builder import Builder
from ..tile.view import View
from .along_tokens import is_exchangeable, made_along_tokens, product_behind
from .before_layout import moved_before_layout
from .packed_modes import ProductCost
from .packed_values import packed, placed_along_depth
from .retype import above_layout, through_layout


def packed_along_tokens(
    value: SSAValue,
    reader: Operation,
    element: Attribute,
    saved: int | None,
    store: ConstantStore,
    machine: Machine,
) -> SSAValue | str:
    """`value` [..., L, F] as rows [..., F, L] of an element type, made by the exchanged product unless that takes more
    cycles of `machine` than `saved`; or why not. `reader` takes it."""
    source, steps = above_layout(value)
    moved = moved_before_layout(source, store)
    if moved is not None:
        source, steps = moved[0], (*moved[1], *steps)
    found = product_behind(source) if source.has_one_use() else None
    if found is None or not is_exchangeable(found):
        return "values do not lie along tokens, and no product of few levels makes them"
    more = _dearer(found, machine)
    if more is None:
        return f"the matrix engine of {machine.name} has no mode for the product that makes values along tokens"
    if saved is not None and more > saved:
        return f"making values along tokens would take {more} cycles of the array more, and save {saved}"
    pack = packed(Builder.after(source, store, reader), source, element)
    made = made_along_tokens(pack, found, store)
    if placed_along_depth(View.dense(made, shape_of(made)).turned, steps, swapped=True) is not False:
        return "values do not lie along tokens in whole bytes"
    build = Builder.before(reader, store)
    return build.swap_last(through_layout(build, build.swap_last(made), steps))


def _dearer(product: nn.MatmulOp | bnn.MatmulOp, machine: Machine) -> int | None:
    """How many cycles of the array more a product takes with its operands exchanged; None where it cannot."""
    (rows, depth), columns = shape_of(product.lhs)[-2:], shape_of(product.result)[-1]
    if isinstance(product, nn.MatmulOp):
        return 0
    left, right = element_type(product.lhs), element_type(product.rhs)
    before = ProductCost(machine, rows, columns, depth).packed_cycles(left, right)
    after = ProductCost(machine, columns, rows, depth).packed_cycles(right, left)
    return None if before is None or after is None else after - before
