"""Elementwise work moved in front of the layout operations that it follows, to where its operand is computed.

What a product or an attention gives is finished in the layout in which it is made: work on the result's own elements
then needs no kernel, and no trip to memory, of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import Operation, SSAValue

from ...dialects import bnn, nn, sattn
from ...dialects.constants import Array, ConstantStore
from ...dialects.elements import element_type, shape_of
from ..builder import Builder
from .retype import above_layout, before_layout

HEAVY = (nn.MatmulOp, bnn.MatmulOp, sattn.AttentionOp)


def moved_before_layout(value: SSAValue, store: ConstantStore) -> tuple[SSAValue, tuple[Operation, ...]] | None:
    """`value`, elementwise work on a layout of what a product or an attention gives, computed before that layout, and
    the layout operations (first to last) that show it as `value`; None where it is something else, or others read what
    lies between."""
    chain: list[Operation] = []
    while isinstance(value.owner, nn.MapOp | nn.CastOp):
        chain.append(value.owner)
        varying = [operand for operand in value.owner.operands if not isinstance(operand.owner, nn.ConstantOp)]
        if len(varying) != 1 or shape_of(varying[0]) != shape_of(value) or _is_shared(value):
            return None
        value = varying[0]
    source, steps = above_layout(value)
    if not chain or not steps or not isinstance(source.owner, HEAVY) or any(_is_shared(s.results[0]) for s in steps):
        return None
    if _is_shared(source):
        return None
    return _rebuilt(chain, source, steps, store)


def _is_shared(value: SSAValue) -> bool:
    return value.has_more_than_one_use()


def _rebuilt(
    chain: Sequence[Operation], source: SSAValue, steps: Sequence[Operation], store: ConstantStore
) -> tuple[SSAValue, tuple[Operation, ...]] | None:
    """The operations of `chain` (last to first) on `source`, which `steps` show as what the first of them reads."""
    shown = steps[-1].results[0]
    constants: dict[SSAValue, Array] = {}
    for operand in (operand for operation in chain for operand in operation.operands):
        if isinstance(operand.owner, nn.ConstantOp):
            constant = before_layout(store.array(operand.owner.data), shown, steps)
            if constant is None:
                return None
            constants[operand] = constant
    assert isinstance(source.owner, Operation)
    build = Builder.after(source, store, source.owner)
    value = source
    for operation in reversed(chain):
        build.location = operation.location
        operands = [
            build.constant(constants[operand]) if operand in constants else value for operand in operation.operands
        ]
        if isinstance(operation, nn.MapOp):
            value = build.insert(nn.MapOp(operation.function.data, operands, element_type(operation.results[0])))
        else:
            value = build.cast(value, element_type(operation.results[0]))
    return value, tuple(steps)
