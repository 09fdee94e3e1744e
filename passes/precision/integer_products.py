"""Products of dequantized tensors (QDQ, QCDQ) become int8 products with the model's own scales, exact before
scaling.

With a = (A - za) * sa and b = (B - zb) * sb, where A and B are 8-bit, the product over k is

    sa * sb * (sum A B - za * sum B - zb * sum A + K * za * zb)

whose bracket is an integer: it is computed exactly in int32. uint8 operands move by -128, and their zero
point with them. Sums of constants are constants. A dequantization whose scale lies along the contracted axis
cannot move out.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, f32
from xdsl.passes import ModulePass

from ...dialects import nn
from ...dialects.constants import ConstantStore
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, shape_of
from ...dialects.provenance import fuse
from ..builder import Builder
from ..integer_product import integer_product
from .dequantized import Dequantized
from .retype import replace


@dataclass(frozen=True)
class IntegerProducts(ModulePass):
    """Compute products of two dequantized 8-bit tensors on the int8 engine."""

    name = "integer-products"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module; what the products no longer read is left for `remove-unused`."""
        store = CompilerContext.of(ctx).store
        for product in [p for p in op.walk() if isinstance(p, nn.MatmulOp)]:
            left, right = Dequantized.of(product.lhs, store), Dequantized.of(product.rhs, store)
            if left is None or right is None:
                continue
            if left.axis != contracted_axis(product, 0) and right.axis != contracted_axis(product, 1):
                _rewrite(store, product, left, right)


def contracted_axis(product: nn.MatmulOp, operand: int) -> int:
    """The axis of an operand that a product sums over."""
    rank = len(shape_of(product.operands[operand]))
    return rank - 2 if operand == 1 and product.transpose_rhs is None else rank - 1


def _rewrite(store: ConstantStore, product: nn.MatmulOp, left: Dequantized, right: Dequantized) -> None:
    build = Builder.before(product, store)
    build.location = fuse(left.location, right.location, product.location)
    transposed = product.transpose_rhs is not None
    scale = build.map("mul", left.factor(build), right.factor(build, transposed), to=f32)
    total = integer_product(build, left.bytes(build), right.bytes(build, transposed), transpose_rhs=transposed)
    replace(product, build.map("mul", build.cast(total, f32), scale, to=element_type(product.result)))
