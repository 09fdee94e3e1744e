"""16-bit floats where they matter: what products read, and what passes from kernel to kernel.

Arithmetic stays float32 inside a kernel (the vector engine has nothing narrower, and products accumulate in float32);
values are rounded to the narrow format where they are stored. So an epilogue is not rounded at each of its steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, bf16, f16, f32
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from ...dialects import nn, sattn
from ...dialects.constants import derived_key
from ...dialects.context import CompilerContext
from ...dialects.elements import Element, dtype_of, element_type, shape_of
from ..builder import Builder
from .layers import Layers
from .retype import LAYOUT, above_layout, through_layout

NARROW: dict[str, Element] = {"bf16": bf16, "fp16": f16}


@dataclass(frozen=True)
class NarrowProducts(ModulePass):
    """Make the float32 products and attentions whose precision is bf16 or fp16 read that format.

    `precision` is the default, `layers` are rules `pattern=precision`, of which the first that matches decides.
    """

    name = "narrow-products"

    precision: str = "bf16"
    layers: tuple[str, ...] = ()

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module. Raises UsageError for a rule that matches no product."""
        context = CompilerContext.of(ctx)
        layers = Layers(self.precision, self.layers)
        made: dict[tuple[SSAValue, Element], SSAValue] = {}
        for product in [p for p in op.walk() if isinstance(p, nn.MatmulOp | sattn.AttentionOp)]:
            element = NARROW.get(layers.precision(product))
            if element is None:
                continue
            operands = (product.lhs, product.rhs) if isinstance(product, nn.MatmulOp) else (product.q, product.k, product.v)
            for index, value in enumerate(operands):
                if element_type(value) != f32:
                    continue
                if (value, element) not in made:
                    made[value, element] = _narrowed(context, product, value, element)
                product.operands[index] = made[value, element]
        layers.check()


@dataclass(frozen=True)
class NarrowResiduals(ModulePass):
    """Store in 16 bits the float32 values that several operations read and a norm or a product among them: the
    residual stream. Masks, scales and statistics keep float32."""

    name = "narrow-residuals"

    format: str = "bf16"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module."""
        context = CompilerContext.of(ctx)
        element = NARROW[self.format]
        for operation in list(op.walk()):
            if not isinstance(operation, nn.NnOperation) or isinstance(operation, (nn.ConstantOp, *LAYOUT)):
                continue
            for result in operation.results:
                if element_type(result) == f32 and result.has_more_than_one_use() and _in_stream(result):
                    _store_narrow(context, result, element)


def _in_stream(value: SSAValue) -> bool:
    """Whether a norm, a quantizer or a product's operand reads the value, directly or through layout."""
    for use in value.uses:
        user = use.operation
        if isinstance(user, nn.LayerNormOp | nn.RmsNormOp | nn.MatmulOp):
            return True
        if isinstance(user, sattn.AttentionOp) and use.index < 3:
            return True
        if isinstance(user, LAYOUT) and _in_stream(user.results[0]):
            return True
    return False


def _store_narrow(context: CompilerContext, value: SSAValue, element: Element) -> None:
    """Round `value` once where it is made; those who can read the narrow format do, layout passes it on."""
    build = Builder.after(value, context.store, next(iter(value.uses)).operation)
    narrow = build.cast(value, element)
    wide = build.cast(narrow, f32)
    for use in list(value.uses):
        if use.operation is narrow.owner:
            continue
        reads_any = isinstance(use.operation, nn.MapOp | nn.LayerNormOp | nn.RmsNormOp | nn.CastOp)
        use.operation.operands[use.index] = narrow if reads_any else wide
    owner = wide.owner
    if not wide.has_one_use() and not wide.has_more_than_one_use() and isinstance(owner, Operation):
        owner.detach()
        owner.erase()


def _narrowed(context: CompilerContext, user: Operation, value: SSAValue, element: Element) -> SSAValue:
    """The operand in the narrow format: a constant converted once, anything else rounded where it is made."""
    constant = value.owner
    if isinstance(constant, nn.ConstantOp):
        build = Builder.before(user, context.store)
        key = constant.reference
        if key is None:
            return build.constant(context.store.array(constant.data).astype(dtype_of(element)))
        return build.named_constant(
            context.store.derive(
                derived_key("cast", key, to=str(element)),
                lambda array: array.astype(np.float32).astype(dtype_of(element)),
                key,
                shape=shape_of(value),
                dtype=dtype_of(element),
            )
        )
    if isinstance(constant, nn.CastOp) and element_type(constant.input) == element:
        return constant.input
    source, steps = above_layout(value)
    return through_layout(Builder.after(source, context.store, user).cast(source, element), steps)
