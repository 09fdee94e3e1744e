"""Products that the model writes quantized and that nevertheless compute in float: reported, never hidden."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp, i8
from xdsl.ir import SSAValue

from ...dialects import nn, sattn
from ...dialects.elements import element_type, is_float, ui8
from ...dialects.provenance import nodes_of
from .retype import LAYOUT


@dataclass(frozen=True)
class Unlowered:
    """One such product: its nodes (the last is the product itself) and why it is not on the integer engine."""

    node: str
    reason: str


def unlowered(module: ModuleOp) -> tuple[Unlowered, ...]:
    """Every float product of the precision phase's result that reads 8-bit values turned into floats."""
    return tuple(_found(module))


def _found(module: ModuleOp) -> Iterator[Unlowered]:
    for operation in module.walk():
        if isinstance(operation, nn.MatmulOp):
            operands = [operation.lhs, operation.rhs]
        elif isinstance(operation, sattn.AttentionOp):
            operands = [operation.q, operation.k, operation.v]
        else:
            continue
        if not is_float(element_type(operands[0])):
            continue
        quantized = [_is_quantized(value) for value in operands]
        if any(quantized):
            nodes = nodes_of(operation)
            reason = (
                "the scale of an operand lies along the axis that the product sums over"
                if all(quantized)
                else "only some of its operands are quantized (weight-only): they are widened on chip"
            )
            yield Unlowered(nodes[-1].name if nodes else "", reason)


def _is_quantized(value: SSAValue) -> bool:
    """Whether a float value is an 8-bit one, dequantized by operators or by a cast and a factor."""
    owner = value.owner
    if isinstance(owner, LAYOUT):
        return _is_quantized(owner.operands[0])
    if isinstance(owner, nn.DequantizeOp):
        return element_type(owner.input) in (i8, ui8)
    if isinstance(owner, nn.CastOp):
        return element_type(owner.input) in (i8, ui8)
    if isinstance(owner, nn.MapOp) and owner.function.data == "mul":
        return any(isinstance(v.owner, nn.CastOp) and _is_quantized(v) for v in owner.inputs)
    return False
