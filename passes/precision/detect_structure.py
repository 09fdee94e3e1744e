"""Structured weights are found: products by constants that obey an N:M that the machine's array has.

The bytes of every constant operand are looked at, in the format in which they are multiplied: quantization may have
made further zeros. Of the structures that a weight has the one of fewest products is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.passes import ModulePass

from ...dialects import nn
from ...dialects.constants import ConstantStore
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, format_of, shape_of
from ...isa.errors import UsageError
from ...isa.machine import Machine
from ...isa.structures import Structure, least_structure
from ..constant_operand import ConstantOperand


@dataclass(frozen=True)
class DetectStructure(ModulePass):
    """Note on every product by a constant of a structure which one it is."""

    name = "detect-structure"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Set `structure` of products. Raises UsageError where the machine's array has no structure at all."""
        context = CompilerContext.of(ctx)
        machine = context.target
        if not machine.matrix.structures:
            raise UsageError(
                f"the matrix engine of machine {machine.name} has no structures of weights",
                "choose another machine, or leave out --detect-structure and [[prune]]",
            )
        for product in op.walk():
            # Zeros of one operand are skipped, not of both.
            if isinstance(product, nn.MatmulOp) and product.threshold is None:
                found = structure_of(product, context.store, machine)
                product.structure = None if found is None else StringAttr(str(found))


def structure_of(product: nn.MatmulOp, store: ConstantStore, machine: Machine) -> Structure | None:
    """The least structure that a product's constant right operand has, of those of the machine that make it shorter."""
    operand = ConstantOperand.of(product.rhs)
    depth = shape_of(product.lhs)[-1]
    mode = format_of(element_type(product.rhs)).label
    possible = [found for found in machine.matrix.structures_in(mode) if found.rows(depth) < depth]
    if operand is None or not possible:
        return None
    weight = operand.seen(store.array(operand.constant.data))
    return least_structure(weight.swapaxes(-1, -2) if product.transpose_rhs is not None else weight, possible)
