"""Elementwise work moved in front of the layout operations that it follows, to where its operand is computed.

What a product or an attention gives is finished in the layout in which it is made: work on the result's own elements
then needs no kernel, and no trip to memory, of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import Operation, SSAValue
from xdsl.rewriter import Rewriter

from ...dialects import bnn, nn, sattn
from ...dialects.constants import Array, ConstantStore
from ...dialects.elements import element_type, shape_of
from ..builder import Builder
from .retype import above_layout, before_layout, replace, through_layout

HEAVY = (nn.MatmulOp, bnn.MatmulOp, sattn.AttentionOp)


def moved_before_layout(value: SSAValue, store: ConstantStore) -> tuple[SSAValue, tuple[Operation, ...]] | None:
    """Compute `value`, elementwise work on a layout of what a product or an attention gives (or is made of it with
    constants), before that layout. Gives it, and the layout operations (first to last) that show it as its readers now
    see it; None where it is something else, or others read what lies between."""
    chain: list[Operation] = []
    while _is_elementwise(value.owner):
        assert isinstance(value.owner, Operation)
        chain.append(value.owner)
        varying = [operand for operand in value.owner.operands if not isinstance(operand.owner, nn.ConstantOp)]
        if len(varying) != 1 or shape_of(varying[0]) != shape_of(value) or _is_shared(value):
            return None
        value = varying[0]
    source, steps = above_layout(value)
    if not chain or not steps or any(_is_shared(step.results[0]) for step in steps) or not _is_result(source):
        return None
    rebuilt = _rebuilt(chain, source, steps, store)
    if rebuilt is None:
        return None
    shown = through_layout(Builder.after(rebuilt, store, steps[-1]), rebuilt, steps)
    replace(chain[0], shown)
    for operation in (*chain[1:], *reversed(steps)):
        Rewriter.erase_op(operation)
    return above_layout(shown)


def _is_result(value: SSAValue) -> bool:
    """Whether a product or an attention gives a value, or work with constants on what it gives; each has one reader."""
    while not _is_shared(value):
        made = value.owner
        if not _is_elementwise(made):
            return isinstance(made, HEAVY)
        assert isinstance(made, Operation)
        varying = [operand for operand in made.operands if not isinstance(operand.owner, nn.ConstantOp)]
        if len(varying) != 1:
            return False
        value = varying[0]
    return False


def _is_elementwise(made: object) -> bool:
    """Whether an operation does the same to every element."""
    return isinstance(made, nn.MapOp | nn.CastOp) or (isinstance(made, nn.QuantizeOp) and made.axis is None)


def _is_shared(value: SSAValue) -> bool:
    return value.has_more_than_one_use()


def _rebuilt(
    chain: Sequence[Operation], source: SSAValue, steps: Sequence[Operation], store: ConstantStore
) -> SSAValue | None:
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
        elif isinstance(operation, nn.CastOp):
            value = build.cast(value, element_type(operation.results[0]))
        else:
            assert isinstance(operation, nn.QuantizeOp)
            scale, zero, element = operands[1], operands[2:], element_type(operation.result)
            value = build.insert(nn.QuantizeOp(value, scale, zero[0] if zero else None, element=element))
    return value
