"""Products that the model writes quantized, or of few levels, and that did not reach the engine meant for them."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from xdsl.dialects.builtin import ModuleOp, StringAttr, i8
from xdsl.ir import SSAValue

from ...dialects import nn, sattn
from ...dialects.elements import element_type, is_bool, is_float, shape_of, ui8
from ...dialects.provenance import nodes_of
from ...isa.frozen import frozen
from .packed_modes import UNPACKED
from .recognize_levels import ROUNDINGS
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
        reason = ""
        if isinstance(operation, nn.MatmulOp):
            reason = _product({"the left operand": operation.lhs, "the right operand": operation.rhs})
        elif isinstance(operation, sattn.AttentionOp):
            reason = _attention({"queries": operation.q, "keys": operation.k, "values": operation.v})
        if reason:
            nodes = nodes_of(operation)
            yield Unlowered(nodes[-1].name if nodes else "", reason)


LEAVING = "a zero point or a scale along the axis that is summed over cannot leave the product"


def _product(operands: dict[str, SSAValue]) -> str:
    """Why a product of floats is one though it was written otherwise; nothing where it was not."""
    quantized = [name for name, value in operands.items() if _is_quantized(value)]
    stepped = [name for name, value in operands.items() if name not in quantized and _has_levels(value)]
    floats = [
        name for name in operands if name not in (*quantized, *stepped) and is_float(element_type(operands[name]))
    ]
    reasons = [
        f"{name} has a factor or an offset along the axis that is summed over"
        if _is_scaled_by_many(operands[name])
        else f"{name} has more levels than a byte"
        for name in stepped
    ]
    if floats and (quantized or stepped):
        widened = f": {' and '.join(quantized)} widened on chip" if quantized else ""
        reasons.append(f"{' and '.join(floats)} not quantized{widened}")
    return "; ".join(reasons) or (LEAVING if quantized else "")


def _attention(operands: dict[str, SSAValue]) -> str:
    """The same of an attention."""
    few = [name for name, value in operands.items() if _is_quantized(value) or _has_levels(value)]
    floats = [name for name, value in operands.items() if name not in few and is_float(element_type(value))]
    if not few or element_type(operands["queries"]) == i8:
        return ""
    if floats:
        return f"{' and '.join(floats)} not quantized: {' and '.join(few)} widened on chip"
    return f"its probabilities are not quantized, or {LEAVING}"


def _has_levels(value: SSAValue) -> bool:
    """Whether rounding, a sign or a choice of numbers makes a value, perhaps scaled and moved."""
    made = value.owner
    if not is_float(element_type(value)):
        return False
    if isinstance(made, LAYOUT):
        return _has_levels(made.operands[0])
    if isinstance(made, nn.CastOp):
        # Integers that are no bytes may be places or ids.
        return is_bool(element_type(made.input)) or _has_levels(made.input)
    if not isinstance(made, nn.MapOp):
        return False
    function, inputs = made.function.data, made.inputs
    if function == "select":
        return all(_is_known(branch) or _has_levels(branch) for branch in inputs[1:])
    if function in (*ROUNDINGS, "sign"):
        return True
    leveled = _leveled(made)
    return leveled is not None and _has_levels(leveled)


def _leveled(made: nn.MapOp) -> SSAValue | None:
    """What arithmetic scales, moves or clamps; None for any other, as of two whole tensors."""
    if made.function.data not in ("mul", "div", "add", "sub", "min", "max"):
        return None
    whole = [
        operand for operand in made.inputs if shape_of(operand) == shape_of(made.result) and not _is_known(operand)
    ]
    return whole[0] if len(whole) == 1 else None


def _is_scaled_by_many(value: SSAValue) -> bool:
    """Whether one of the factors and offsets of levels has more than one element."""
    made = value.owner
    if isinstance(made, (nn.CastOp, *LAYOUT)):
        return _is_scaled_by_many(made.operands[0])
    leveled = _leveled(made) if isinstance(made, nn.MapOp) else None
    if leveled is None:
        return False
    assert isinstance(made, nn.MapOp)
    return any(prod(shape_of(other)) > 1 for other in made.inputs if other is not leveled) or _is_scaled_by_many(
        leveled
    )


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
