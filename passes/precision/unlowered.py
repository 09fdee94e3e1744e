"""Products that the model writes quantized, or of few levels, and that did not reach the engine meant for them."""

from __future__ import annotations

from collections.abc import Iterator

from xdsl.dialects.builtin import ModuleOp, StringAttr, i8
from xdsl.ir import SSAValue

from ...dialects import nn, sattn
from ...dialects.elements import element_type, is_float, ui8
from ...dialects.provenance import nodes_of
from ...isa.frozen import frozen
from .packed_modes import UNPACKED
from .retype import LAYOUT


@frozen
class Unlowered:
    """One such product: its nodes (the last is the product itself) and why it is not on the integer
    engine."""

    node: str
    reason: str


def unlowered(module: ModuleOp) -> tuple[Unlowered, ...]:
    """Every product of the precision phase's result that reads bytes turned into floats, or few levels as bytes."""
    return tuple(_found(module))


def _found(module: ModuleOp) -> Iterator[Unlowered]:
    for operation in module.walk():
        unpacked = operation.attributes.get(UNPACKED)
        if isinstance(unpacked, StringAttr):
            nodes = nodes_of(operation)
            yield Unlowered(nodes[-1].name if nodes else "", unpacked.data)
            continue
        if isinstance(operation, nn.MatmulOp):
            operands = {"the left operand": operation.lhs, "the right operand": operation.rhs}
        elif isinstance(operation, sattn.AttentionOp):
            operands = {"queries": operation.q, "keys": operation.k, "values": operation.v}
        else:
            continue
        quantized = [name for name, value in operands.items() if _is_quantized(value)]
        floats = [name for name, value in operands.items() if is_float(element_type(value)) and name not in quantized]
        if not quantized:
            continue
        reason = (
            f"{' and '.join(floats)} not quantized: {' and '.join(quantized)} widened on chip"
            if floats
            else "a zero point or a scale along the axis that is summed over cannot leave the product"
        )
        nodes = nodes_of(operation)
        yield Unlowered(nodes[-1].name if nodes else "", reason)


def _is_quantized(value: SSAValue) -> bool:
    """Whether a float value is an 8-bit one, dequantized by operators or by a cast and a factor."""
    made = value.owner
    match made:
        case nn.DequantizeOp() | nn.CastOp():
            return element_type(made.input) in (i8, ui8)
        case nn.MapOp():
            quantized = [operand for operand in made.inputs if _is_quantized(operand)]
            others = [operand for operand in made.inputs if operand not in quantized]
            return made.function.data in ("mul", "sub") and bool(quantized) and all(map(_is_known, others))
        case nn.PadOp():
            return _is_quantized(made.input)
        case nn.ConcatOp():
            return any(map(_is_quantized, made.inputs))
        case _:
            return isinstance(made, LAYOUT) and _is_quantized(made.operands[0])


def _is_known(value: SSAValue) -> bool:
    """Whether a value is a constant, perhaps shown through layout."""
    made = value.owner
    return isinstance(made, nn.ConstantOp) or (isinstance(made, (nn.CastOp, *LAYOUT)) and _is_known(made.operands[0]))
