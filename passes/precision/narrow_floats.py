"""Products of 16-bit floats.

Arithmetic stays float32 inside a kernel (the vector engine has nothing narrower, and products accumulate in
float32); operands are rounded where they are stored. So an epilogue is not rounded at each of its steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, bf16, f16, f32
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from ...dialects import nn
from ...dialects.constants import Array, ConstantStore, derived_key
from ...dialects.context import CompilerContext
from ...dialects.elements import Element, dtype_of, element_type
from ..builder import Builder
from .gathered_weights import GatheredWeights
from .layers import Product, layer_precisions
from .retype import above_layout, through_layout

NARROW: dict[str, Element] = {"bf16": bf16, "fp16": f16}


@dataclass(frozen=True)
class NarrowProducts(ModulePass):
    """Make the float32 products and attentions whose precision is bf16 or fp16 read that format.

    `precision` is the default, `layers` are rules `pattern=precision`, of which the first that matches
    decides.
    """

    name = "narrow-products"

    precision: str = "bf16"
    layers: tuple[str, ...] = ()

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module. Raises UsageError for a rule that matches no product."""
        store = CompilerContext.of(ctx).store
        made: dict[tuple[SSAValue, Element], SSAValue] = {}
        for product, precision in layer_precisions(op, self.precision, self.layers).items():
            element = NARROW.get(precision)
            if element is None:
                continue
            for index, value in enumerate(matrices(product)):
                if element_type(value) != f32:
                    continue
                if (value, element) not in made:
                    made[value, element] = _narrowed(store, product, value, element)
                product.operands[index] = made[value, element]


def matrices(product: Product) -> tuple[SSAValue, ...]:
    """What a product multiplies; its first operands."""
    return (product.lhs, product.rhs) if isinstance(product, nn.MatmulOp) else (product.q, product.k, product.v)


def _narrowed(store: ConstantStore, product: Product, value: SSAValue, element: Element) -> SSAValue:
    """The operand in the narrow format: a constant converted once, anything else rounded where it is made."""
    made = value.owner
    if isinstance(made, nn.ConstantOp):
        return _narrow_constant(Builder.before(product, store), made, element)
    if isinstance(made, nn.CastOp) and element_type(made.input) == element:
        return made.input
    gathered = GatheredWeights.of(value)
    if gathered is not None:
        build = Builder.before(product, store)
        return gathered.rows(build, _narrow_key(build, gathered.key(build), element))
    source, steps = above_layout(value)
    narrow = Builder.after(source, store, product).cast(source, element)
    return through_layout(Builder.before(product, store), narrow, steps)


def _narrow_constant(build: Builder, constant: nn.ConstantOp, element: Element) -> SSAValue:
    if constant.reference is not None:
        return _narrow_key(build, constant.reference, element)
    return build.constant(_in(element, build.store.array(constant.data)))


def _narrow_key(build: Builder, key: str, element: Element) -> SSAValue:
    """A constant of the store in the narrow format."""

    def narrowed(array: Array) -> Array:
        return _in(element, array)

    name, shape, dtype = derived_key("cast", key, to=str(element)), build.store.shape(key), dtype_of(element)
    return build.named_constant(build.store.derive(name, narrowed, key, shape=shape, dtype=dtype))


def _in(element: Element, array: Array) -> Array:
    """What lies beyond the narrow range becomes infinite, as on the machine."""
    with np.errstate(over="ignore"):
        return array.astype(dtype_of(element))
