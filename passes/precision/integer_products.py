"""Products of bytes that are scaled and moved (QDQ, QCDQ, binarizers, few levels) become int8 products with the
model's own scales behind them, exact before scaling.

With a = (A - za) * sa + oa and b = (B - zb) * sb + ob, where A and B are 8-bit, the product over k is

    sa * sb * sum (A - za) (B - zb) + sa * ob * sum (A - za) + sb * oa * sum (B - zb) + K * oa * ob

whose sums are integers: they are computed exactly in int32, with sums of A, B and A B. uint8 operands move by -128, and
their zero point with them. Sums of constants are constants. What scales or moves along the contracted axis cannot leave
the product.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, f32
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from ...dialects import nn
from ...dialects.constants import ConstantStore
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, shape_of
from ...dialects.provenance import fuse
from ..builder import Builder
from ..integer_product import integer_product, sums_of
from .affine_operands import Affine
from .retype import replace


@dataclass(frozen=True)
class IntegerProducts(ModulePass):
    """Compute products of two tensors that are affine in bytes on the int8 engine."""

    name = "integer-products"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module; what the products no longer read is left for `remove-unused`."""
        store = CompilerContext.of(ctx).store
        for product in [p for p in op.walk() if isinstance(p, nn.MatmulOp)]:
            left = Affine.of(product.lhs, contracted_axis(product, 0), store)
            right = Affine.of(product.rhs, contracted_axis(product, 1), store)
            if left is not None and right is not None:
                _rewrite(store, product, left, right)


def contracted_axis(product: nn.MatmulOp, operand: int) -> int:
    """The axis of an operand that a product sums over."""
    rank = len(shape_of(product.operands[operand]))
    return rank - 2 if operand == 1 and product.transpose_rhs is None else rank - 1


def _rewrite(store: ConstantStore, product: nn.MatmulOp, left: Affine, right: Affine) -> None:
    build = Builder.before(product, store)
    build.location = fuse(left.location, right.location, product.location)
    transposed = product.transpose_rhs is not None
    lhs, rhs = left.operand(build), right.operand(build, transposed)
    total = integer_product(build, lhs.bytes, rhs.bytes, transpose_rhs=transposed)
    result = _scaled(build, total, lhs.factor, rhs.factor)
    if rhs.offset is not None:
        rows = _scaled(build, sums_of(build, lhs.bytes, -1), lhs.factor, None)
        result = build.map("add", result, build.map("mul", rows, rhs.offset))
    if lhs.offset is not None:
        columns = sums_of(build, rhs.bytes, -1 if transposed else -2, transposed)
        result = build.map("add", result, build.map("mul", _scaled(build, columns, rhs.factor, None), lhs.offset))
    if lhs.offset is not None and rhs.offset is not None:
        both = build.map("mul", lhs.offset, rhs.offset)
        result = build.map("add", result, build.map("mul", both, float(shape_of(product.lhs)[-1])))
    replace(product, build.cast(result, element_type(product.result)))


def _scaled(build: Builder, total: SSAValue, left: SSAValue | None, right: SSAValue | None) -> SSAValue:
    """Integers times the product of two factors, which are found once for all of them."""
    factors = [factor for factor in (left, right) if factor is not None]
    wide = build.cast(total, f32)
    if not factors:
        return wide
    return build.map("mul", wide, factors[0] if len(factors) == 1 else build.map("mul", *factors))
