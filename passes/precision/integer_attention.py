"""Attention between quantizers (QDQ) becomes one operation on int8 operands.

Exporters quantize queries, keys, values and the softmax's result: two integer products with floats between them. As one
operation the scores stay on chip. Each may have a zero point, whose share is taken off by sums (n keys of d elements):

    sum Q K - zk * sum Q - zq * sum K + d * zq * zk
    sum P V - zp * sum V - zv * sum P + n * zp * zv
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter

from ...dialects import nn, sattn
from ...dialects.constants import ConstantStore
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, shape_of, ui8
from ...dialects.provenance import fuse
from ...isa.frozen import frozen
from ..builder import Builder
from ..graph.recognize.attention import Fused, SpelledAttention, softmax_of, stand_for
from ..integer_product import SHIFT, sums
from .attention_operands import integer_attention, with_rank_4
from .dequantized import Dequantized


@dataclass(frozen=True)
class IntegerAttention(ModulePass):
    """Fuse attention whose queries, keys, values and weights are all quantized."""

    name = "integer-attention"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module; attention that does not fit stays as the products that it is."""
        store = CompilerContext.of(ctx).store
        for product in [p for p in op.walk() if isinstance(p, nn.MatmulOp)]:
            weights = _Weights.of(product.lhs, store)
            found = None if weights is None else SpelledAttention(store).fused(product, weights.softmax)
            if weights is None or found is None:
                continue
            operands = _operands(found.attention, store)
            if operands is None:
                for operation in (found.attention, *reversed(found.before)):
                    operation.erase()
            else:
                _rewrite(store, product, found, weights, operands)


@frozen
class _Weights:
    """A quantized and dequantized softmax: its scale and its zero point as int8."""

    softmax: nn.SoftmaxOp
    scale: SSAValue
    zero_point: int

    @staticmethod
    def of(value: SSAValue, store: ConstantStore) -> _Weights | None:
        """What makes the weights `value`, whose every step has one user."""
        dequantize = value.owner
        if not isinstance(dequantize, nn.DequantizeOp) or not value.has_one_use():
            return None
        quantize = dequantize.input.owner
        if not isinstance(quantize, nn.QuantizeOp) or not quantize.result.has_one_use():
            return None
        softmax = softmax_of(quantize.input)
        zero = _scalar(quantize.zero_point, store)
        alike = zero == _scalar(dequantize.zero_point, store)
        scale = _scalar(quantize.scale, store)
        if softmax is None or zero is None or not alike or scale is None:
            return None
        if scale != _scalar(dequantize.scale, store):
            return None
        moved = SHIFT if element_type(quantize.result) == ui8 else 0
        return _Weights(softmax, quantize.scale, int(zero) - moved)


def _scalar(value: SSAValue | None, store: ConstantStore) -> float | None:
    """The number that a constant holds; 0 for none, None for anything else."""
    if value is None:
        return 0.0
    constant = value.owner
    if shape_of(value) != () or not isinstance(constant, nn.ConstantOp):
        return None
    return float(store.array(constant.data))


def _operands(attention: sattn.AttentionOp, store: ConstantStore) -> tuple[Dequantized, ...] | None:
    """Queries, keys and values where all are quantized, each by one zero point, none along the axis that is summed
    over."""
    found: list[Dequantized] = []
    for value, contracted in ((attention.q, 3), (attention.k, 3), (attention.v, 2)):
        made = Dequantized.of(value, store)
        if made is None or made.axis == contracted or made.signed_zero(store) is None:
            return None
        found.append(made)
    return tuple(found)


def _rewrite(
    store: ConstantStore, product: nn.MatmulOp, found: Fused, weights: _Weights, operands: tuple[Dequantized, ...]
) -> None:
    build = Builder.before(product, store)
    build.path = found.product.attributes.get("path", build.path)
    build.location = fuse(*(operand.location for operand in operands), product.location)
    values = [operand.bytes(build).value for operand in operands]
    q_scale, k_scale, v_scale = (operand.factor(build) for operand in operands)
    if operands[0].axis is operands[1].axis is None:
        # One factor, as the products by themselves have it.
        q_scale, k_scale = build.map("mul", q_scale, k_scale), build.constant(np.asarray(1, np.float32))
    query, key, value = (operand.signed_zero(store) or 0 for operand in operands)
    _, keys, width = shape_of(values[1])[1:]
    made = integer_attention(
        found.attention,
        values,
        [with_rank_4(build, scale) for scale in (q_scale, k_scale, v_scale)],
        p_scale=with_rank_4(build, build.reshape(weights.scale, ())),
        p_zero_point=weights.zero_point,
        v_offset=_share(build, values[2], 2, weights.zero_point, keys * weights.zero_point * value),
        q_offset=_share(build, values[0], 3, key, width * query * key),
        k_offset=_share(build, values[1], 3, query, 0),
        v_zero_point=value,
    )
    if build.path is not None:
        made.attributes["path"] = build.path
    found.attention.erase()
    kept: list[Operation] = []
    for operation in reversed(found.before):
        if any(result.first_use for result in operation.results):
            kept.insert(0, operation)
        else:
            operation.erase()
    stand_for(PatternRewriter(product), product, made, kept)


def _share(build: Builder, values: SSAValue, axis: int, zero: int, both: int) -> SSAValue | None:
    """What the zero point of one side adds to a product, by the sums of the other: zero * sum - both."""
    if not zero:
        return None
    share = build.map("mul", sums(build, values, axis), zero)
    return build.map("sub", share, both) if both else share
