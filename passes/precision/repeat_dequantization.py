"""Every reader of dequantized values does that for itself.

Kernels hand each other what they store. Values that are stored in 8 bits and widened for two readers would be stored
a second time, in four times the bytes; multiplied where they are read they cost a lane operation.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, i8
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from ...dialects import nn
from ...dialects.elements import element_type, is_float, shape_of, ui8
from ..rewrite import insert_before


@dataclass(frozen=True)
class RepeatDequantization(ModulePass):
    """Give every reader of dequantized values but one a copy of what makes them."""

    name = "repeat-dequantization"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite `op` in place."""
        for operation in list(op.walk()):
            steps = _dequantization(operation)
            readers = list(dict.fromkeys(use.operation for use in operation.results[0].uses)) if steps else []
            for reader in readers[:-1]:
                _repeat(steps, reader)


def _dequantization(operation: Operation) -> tuple[Operation, ...]:
    """The operations, first to last and `operation` among them, that make floats of 8-bit values: a conversion, and
    what scales and moves it by fewer numbers than it has elements. None where `operation` is nothing of that."""
    match operation:
        case nn.DequantizeOp() | nn.CastOp():
            narrow = element_type(operation.input) in (i8, ui8) and is_float(element_type(operation.result))
            return (operation,) if narrow else ()
        case nn.MapOp() if operation.function.data in ("mul", "sub"):
            size = prod(shape_of(operation.result))
            whole = [value for value in operation.inputs if prod(shape_of(value)) == size]
            if len(whole) != 1 or not isinstance(whole[0].owner, Operation):
                return ()
            before = _dequantization(whole[0].owner)
            return (*before, operation) if before else ()
        case _:
            return ()


def _repeat(steps: tuple[Operation, ...], reader: Operation) -> None:
    """Let `reader` read copies of `steps` in the place of the last of them."""
    copies: dict[SSAValue, SSAValue] = {}
    for step in steps:
        copy = step.clone(copies)
        copy.attributes.pop("value", None)
        insert_before(reader, copy)
        copies[step.results[0]] = copy.results[0]
    for index, value in enumerate(reader.operands):
        if value is steps[-1].results[0]:
            reader.operands[index] = copies[value]
