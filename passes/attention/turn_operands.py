"""Left operands of products that would lie across the array's rows are made the other way round: K^T = W^T X^T.

The array reads the left operand of K^T V by rows of K^T. Were K stored as its product makes it, a row a token, its
transpose would be copied element by element. The product that makes it can give the transpose as well: both operands of
a product stand as rows of what they sum over, so that exchanging them costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from ...dialects import bnn, nn
from ...dialects.constants import ConstantStore
from ...dialects.context import CompilerContext
from ...dialects.elements import shape_of
from ..builder import Builder
from ..precision.along_tokens import ELEMENTWISE, is_exchangeable, made_along_tokens, product_behind
from ..precision.retype import LAYOUT
from ..tile.view import View
from ..tile.views import derived

PRODUCTS = (nn.MatmulOp, bnn.MatmulOp)


@dataclass(frozen=True)
class TurnOperands(ModulePass):
    """Exchange the operands of products of which no reader, through layout, wants the rows that they make, and each the
    columns."""

    name = "turn-operands"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module."""
        store = CompilerContext.of(ctx).store
        for source in [found.results[0] for found in op.walk() if isinstance(found, ELEMENTWISE + PRODUCTS)]:
            shape = shape_of(source)
            if len(shape) < 2:
                continue
            read = tuple(_read(source, ()))
            stored = View.dense(source, shape)
            turned = View.dense(source, (*shape[:-2], shape[-1], shape[-2])).turned
            if read and not all(_lies(steps, stored) for steps in read) and all(_lies(steps, turned) for steps in read):
                _turn(source, store)


def _turn(source: SSAValue, store: ConstantStore) -> None:
    product = product_behind(source)
    if product is not None and is_exchangeable(product):
        made = made_along_tokens(source, product, store)
        source.replace_all_uses_with(Builder.after(made, store, product).swap_last(made))


def _read(source: SSAValue, steps: tuple[Operation, ...]) -> Iterator[tuple[Operation, ...]]:
    """The layout operations through which `source`, with `steps` before it, is read by what computes. Right operands of
    products are left out: the array takes them both ways."""
    for use in source.uses:
        reader = use.operation
        if isinstance(reader, LAYOUT):
            yield from _read(reader.results[0], (*steps, reader))
        elif not (isinstance(reader, nn.MatmulOp) and use.index == 1):
            yield steps


def _lies(steps: tuple[Operation, ...], view: View | None) -> bool:
    """Whether elements of a row lie side by side where they are read through `steps`, stored as `view` says."""
    for step in steps:
        view = None if view is None else derived(step, view)
    return view is not None and (view.shape[-1] == 1 or view.strides[-1] == 1)
