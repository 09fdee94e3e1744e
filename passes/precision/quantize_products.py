"""Post-training quantization: products that the recipe asks for become int8, or of fewer levels in bytes, with
everything explicit in the IR.

For y = x @ w this writes x8 = rint(x / sx), acc = x8 @ w8 (exact int32), y = acc * (sx * sw), where sx has
one value a row and sw one a column. Ranges attached by calibration make sx a constant; without them it is
computed for every row when the program runs. Attention becomes int8 on both of its products: queries and keys
by token, values by channel. Formats of fewer bits (`post_training`) differ in their levels and factors alone; the
probabilities of an attention stay int8.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, f32
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.passes import ModulePass

from ...dialects import nn, sattn
from ...dialects.constants import ConstantStore
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, is_float, shape_of
from ..builder import Builder
from .attention_operands import integer_attention, with_rank_4
from .calibrate import mean_name
from .dequantized import Dequantized
from .gathered_weights import GatheredWeights
from .integer_products import contracted_axis
from .layers import layer_precisions
from .post_training import FORMATS, Format
from .recognize_levels import bounds
from .retype import above_layout, before_layout, replace, through_layout
from .scales import Quantized, quantize_constant, quantize_dynamic, quantize_static, static_factor

QUANTIZED = ("int8", *FORMATS)

WHOLE_ROWS = 256
"""Softmax weights over up to so many keys are int8 levels of a row's greatest."""

KEY_BLOCK = 128
"""Those over more keys are levels of the greatest so far, so many keys at a time: no row is held, or made twice."""


@dataclass(frozen=True)
class QuantizeProducts(ModulePass):
    """Make integer products of every matrix product and attention whose precision is int8 or a format of fewer bits.

    `precision` is the default, `layers` are rules `pattern=precision`, of which the first that matches
    decides.
    """

    name = "quantize-products"

    precision: str = "int8"
    layers: tuple[str, ...] = ()

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module. Raises UsageError for a rule that matches no product."""
        quantizer = _Quantizer(CompilerContext.of(ctx).store)
        for product, precision in layer_precisions(op, self.precision, self.layers).items():
            # Integer products are what they are.
            if precision not in QUANTIZED or not is_float(element_type(product.operands[0])):
                continue
            quantizer.format = FORMATS.get(precision)
            if isinstance(product, nn.MatmulOp):
                quantizer.matmul(product)
            else:
                quantizer.attention(product)


class _Quantizer:
    """Rewrites float products one by one, to `format` (None for int8); a value that several of them read along the
    same axis in the same format is quantized once."""

    def __init__(self, store: ConstantStore) -> None:
        self.format: Format | None = None
        self._store = store
        self._made: dict[tuple[SSAValue, int, Format | None], Quantized] = {}

    def matmul(self, product: nn.MatmulOp) -> None:
        """Rewrite a matrix product."""
        build = Builder.before(product, self._store)
        transposed = product.transpose_rhs is not None
        left = self._operand(build, product, product.lhs, contracted_axis(product, 0), "lhs_range")
        right = self._operand(build, product, product.rhs, contracted_axis(product, 1), "rhs_range")
        right_factor = right.factor
        if transposed and len(shape_of(right_factor)) > 1:
            right_factor = build.swap_last(right_factor)
        sums = build.insert(nn.MatmulOp(left.values, right.values, transposed))
        factor = build.map("mul", left.factor, right_factor)
        replace(product, build.map("mul", build.cast(sums, f32), factor, to=element_type(product.result)))

    def attention(self, attention: sattn.AttentionOp) -> None:
        """Rewrite an attention."""
        build = Builder.before(attention, self._store)
        q = self._operand(build, attention, attention.q, 3, "q_range")
        k = self._operand(build, attention, attention.k, 3, "k_range")
        v = self._operand(build, attention, attention.v, 2, "v_range")
        scales = [with_rank_4(build, operand.factor) for operand in (q, k, v)]
        # Importance takes the weights of whole rows, and blocks of keys that are not there have no greatest.
        whole = attention.importance is not None or attention.count is not None
        block = KEY_BLOCK if attention.extents[4] > WHOLE_ROWS and not whole else 0
        made = integer_attention(attention, (q.values, k.values, v.values), scales, key_block=block)
        replace(attention, build.insert(made))

    def _operand(self, build: Builder, product: Operation, value: SSAValue, axis: int, range_name: str) -> Quantized:
        """The operand as levels in i8 with a factor that is constant along `axis`: the model's own quantization if it
        has a symmetric one, a constant by its greatest magnitudes, anything else by its calibrated range or
        its own."""
        key = value, axis, self.format
        if key not in self._made:
            self._made[key] = self._quantized(build, product, value, axis, range_name)
        return self._made[key]

    def _quantized(self, build: Builder, product: Operation, value: SSAValue, axis: int, range_name: str) -> Quantized:
        few = self.format
        written = Dequantized.of(value, self._store)
        if written is not None and written.axis != axis and written.is_symmetric(self._store):
            return Quantized(written.bytes(build).value, written.factor(build))
        constant = value.owner
        if isinstance(constant, nn.ConstantOp):
            key = constant.reference or self._store.anonymous(self._store.array(constant.data))
            return quantize_constant(build, key, axis) if few is None else few.weights.of_constant(build, key, axis)
        gathered = GatheredWeights.of(value)
        if gathered is not None:
            return gathered.quantized(build, quantize_constant if few is None else few.weights.of_constant, axis)
        known = product.attributes.get(range_name)
        if few is not None:
            mean = product.attributes.get(mean_name(range_name))
            return self._few_levels(build, product, value, axis, few, (known, mean))
        if known is None:
            return quantize_dynamic(build, value, axis)
        return self._static(build, product, value, known)

    def _few_levels(
        self,
        build: Builder,
        product: Operation,
        value: SSAValue,
        axis: int,
        few: Format,
        known: tuple[Attribute | None, Attribute | None],
    ) -> Quantized:
        """By the rule of a format; with calibration where the value is made."""
        signed = bounds(value, self._store)[0] < 0
        greatest, mean = known
        if greatest is None or mean is None:
            return few.activations.of_value(build, value, axis, None, signed)
        arrays = self._store.array(greatest), self._store.array(mean)
        source, steps = above_layout(value)
        above = [before_layout(array, value, steps) for array in arrays]
        if above[0] is None or above[1] is None:
            return few.activations.of_value(build, value, axis, arrays, signed)
        made = few.activations.of_value(
            Builder.after(source, self._store, product), source, axis, (above[0], above[1]), signed
        )
        factor = few.activations.known_factor(build, arrays, signed)
        return Quantized(through_layout(build, made.values, steps), factor)

    def _static(self, build: Builder, product: Operation, value: SSAValue, known: Attribute) -> Quantized:
        """Quantized by a known range, where the value is made: so it leaves its kernel as int8."""
        largest = self._store.array(known)
        source, steps = above_layout(value)
        above = before_layout(largest, value, steps)
        if above is None:
            return quantize_static(build, value, largest)
        made = quantize_static(Builder.after(source, self._store, product), source, above)
        return Quantized(through_layout(build, made.values, steps), static_factor(build, largest))
