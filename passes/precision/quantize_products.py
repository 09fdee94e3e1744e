"""Post-training quantization: products that the recipe asks for become int8, with everything explicit in the IR.

For y = x @ w this writes x8 = rint(x / sx), acc = x8 @ w8 (exact int32), y = acc * (sx * sw), where sx has one value a
row and sw one a column. Ranges attached by calibration make sx a constant; without them it is computed for every row
when the program runs. Attention becomes int8 on both of its products: queries and keys by token, values by channel.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, f32
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.passes import ModulePass

from ...dialects import nn, sattn
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, is_float, shape_of
from ..builder import Builder
from .layers import Layers
from .retype import above_layout, before_layout, carry_path, replace, through_layout
from .scales import Quantized, already_quantized, quantize_constant, quantize_dynamic, quantize_static, static_factor


@dataclass(frozen=True)
class QuantizeProducts(ModulePass):
    """Make int8 of every matrix product and attention whose precision is int8.

    `precision` is the default, `layers` are rules `pattern=precision`, of which the first that matches decides.
    """

    name = "quantize-products"

    precision: str = "int8"
    layers: tuple[str, ...] = ()

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module. Raises UsageError for a rule that matches no product."""
        context = CompilerContext.of(ctx)
        layers = Layers(self.precision, self.layers)
        quantizer = _Quantizer(context)
        for product in [p for p in op.walk() if isinstance(p, nn.MatmulOp | sattn.AttentionOp)]:
            if layers.precision(product) != "int8":
                continue
            if isinstance(product, nn.MatmulOp):
                quantizer.matmul(product)
            else:
                quantizer.attention(product)
        layers.check()


class _Quantizer:
    """Rewrites products one by one; a value that several of them read along the same axis is quantized once."""

    def __init__(self, context: CompilerContext) -> None:
        self._context = context
        self._made: dict[tuple[SSAValue, int], Quantized] = {}

    def matmul(self, product: nn.MatmulOp) -> None:
        """Rewrite one float product; integer ones are what they are."""
        if not is_float(element_type(product.lhs)):
            return
        build = Builder.before(product, self._context.store)
        contracted = -1 if product.transpose_rhs is not None else -2
        left = self._operand(build, product, product.lhs, -1, "lhs_range")
        right = self._operand(build, product, product.rhs, contracted, "rhs_range")
        right_factor = build.swap_last(right.factor) if contracted == -1 else right.factor
        exact = nn.MatmulOp(left.values, right.values, product.transpose_rhs is not None)
        sums = build.insert(exact)
        carry_path(product, exact)
        factor = build.map("mul", left.factor, right_factor)
        result = build.map("mul", build.cast(sums, f32), factor, to=element_type(product.result))
        replace(product, result)

    def attention(self, attention: sattn.AttentionOp) -> None:
        """Rewrite one float attention."""
        if not is_float(element_type(attention.q)):
            return
        build = Builder.before(attention, self._context.store)
        q = self._operand(build, attention, attention.q, -1, "q_range")
        k = self._operand(build, attention, attention.k, -1, "k_range")
        v = self._operand(build, attention, attention.v, -2, "v_range")
        quantized = sattn.AttentionOp(
            q.values,
            k.values,
            v.values,
            attention.mask,
            scale=attention.scale.value.data,
            causal=attention.causal is not None,
            causal_offset=attention.causal_offset.value.data,
            softcap=None if attention.softcap is None else attention.softcap.value.data,
            empty_row=attention.empty_row.data,
            q_scale=_with_rank_4(build, q.factor),
            k_scale=_with_rank_4(build, k.factor),
            v_scale=_with_rank_4(build, v.factor),
            element=element_type(attention.result),
        )
        replace(attention, build.insert(quantized))

    def _operand(self, build: Builder, user: Operation, value: SSAValue, axis: int, range_name: str) -> Quantized:
        """The operand as i8: from its constant, by its calibrated range, or by its own range along `axis`."""
        known = self._made.get((value, axis))
        if known is not None:
            return known
        constant = value.owner
        written = already_quantized(value, axis)
        if written is not None:
            made = written
        elif isinstance(constant, nn.ConstantOp):
            key = constant.reference or self._context.store.anonymous(self._context.store.array(constant.data))
            made = quantize_constant(build, key, axis)
        else:
            made = self._activation(build, value, axis, user.attributes.get(range_name))
        self._made[value, axis] = made
        return made

    def _activation(self, build: Builder, value: SSAValue, axis: int, known: Attribute | None) -> Quantized:
        if known is None:
            return quantize_dynamic(build, value, axis)
        # Known ranges let the value be quantized where it is made, so that it leaves its kernel as int8.
        source, steps = above_layout(value)
        largest = self._context.store.array(known)
        above = before_layout(largest, value, steps)
        if above is None:
            return quantize_static(build, value, largest)
        values, _ = quantize_static(Builder.after(source, self._context.store, user), source, above)
        return Quantized(through_layout(values, steps), static_factor(build, largest))


def _with_rank_4(build: Builder, factor: SSAValue) -> SSAValue:
    shape = shape_of(factor)
    return build.reshape(factor, (1,) * (4 - len(shape)) + shape)
