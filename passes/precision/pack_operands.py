"""Integer products of few-level operands on the packed modes of the matrix engine.

The values that an operand can hold (`value_sets`) say which element types of less than a byte hold it; of the modes
that the machine has for them the one of fewest cycles is taken, by the cost of the instruction record itself. Operands
are packed where they are made (`packer`). What stays int8 says why (attribute `unpacked`).
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr, i8
from xdsl.passes import ModulePass

from ...dialects import nn, sattn
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type
from .pack_attention import pack_attention
from .packed_modes import UNPACKED
from .packer import Packer
from .value_sets import ValueSets


@dataclass(frozen=True)
class PackOperands(ModulePass):
    """Put integer products of few-level operands on the packed modes of the machine's matrix engine."""

    name = "pack-operands"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module; what nothing reads any more is left for `remove-unused`."""
        context = CompilerContext.of(ctx)
        if context.machine is None:
            return
        packer = Packer(context.store, context.machine, ValueSets(context.store))
        for product in [p for p in op.walk() if isinstance(p, nn.MatmulOp)]:
            if element_type(product.lhs) == element_type(product.rhs) == i8:
                reason = packer.pack(product)
                if reason:
                    product.attributes[UNPACKED] = StringAttr(reason)
        for attention in [a for a in op.walk() if isinstance(a, sattn.AttentionOp)]:
            reason = pack_attention(packer, attention)
            if reason:
                attention.attributes[UNPACKED] = StringAttr(reason)
