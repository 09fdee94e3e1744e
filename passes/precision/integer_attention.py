"""Attention between quantizers (QDQ) becomes one operation on int8 operands.

Exporters quantize queries, keys, values and the softmax's result, to bytes or to few levels: two integer products with
floats between them. As one operation the scores stay on chip. Each may have a zero point, whose share is taken off by
sums (n keys of d elements):

    sum Q K - zk * sum Q - zq * sum K + d * zq * zk
    sum P V - zp * sum V - zv * sum P + n * zp * zv
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter

from ...dialects import nn, sattn
from ...dialects.constants import ConstantStore
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, is_bool, shape_of
from ...dialects.provenance import fuse
from ..builder import Builder
from ..graph.matching import constant
from ..graph.recognize.attention import Fused, SpelledAttention, stand_for
from ..integer_product import sums
from .attention_operands import integer_attention, with_rank_4
from .attention_weights import Levels
from .dequantized import Dequantized


@dataclass(frozen=True)
class IntegerAttention(ModulePass):
    """Fuse attention whose queries, keys, values and weights are all quantized."""

    name = "integer-attention"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module; attention that does not fit stays as the products that it is."""
        spelled = SpelledAttention(CompilerContext.of(ctx).store)
        for product in [p for p in op.walk() if isinstance(p, nn.MatmulOp)]:
            levels = Levels.of(product.lhs, spelled)
            found = None if levels is None else spelled.fused(product, levels.scores, levels.empty_row)
            if levels is None or found is None:
                continue
            operands = _operands(found.attention, levels, spelled.store)
            if operands is None:
                for operation in (found.attention, *reversed(found.before)):
                    operation.erase()
            else:
                _rewrite(spelled.store, product, found, levels, operands)


def _operands(attention: sattn.AttentionOp, levels: Levels, store: ConstantStore) -> tuple[Dequantized, ...] | None:
    """Queries, keys and values where all are quantized, each by one zero point, none along the axis that is summed
    over. Thresholds of products with constants are an activation, as those of a feed-forward pair."""
    if levels.if_defined and not _is_defined(attention, store):
        return None
    found: list[Dequantized] = []
    for value, contracted in ((attention.q, 3), (attention.k, 3), (attention.v, 2)):
        made = Dequantized.of(value, store)
        if made is None or made.axis == contracted or made.signed_zero(store) is None:
            return None
        if levels.weights is sattn.Weights.SCORES and isinstance(made.source.owner, nn.ConstantOp):
            return None
        found.append(made)
    return tuple(found)


def _is_defined(attention: sattn.AttentionOp, store: ConstantStore) -> bool:
    """Whether no weight can be NaN: integer scores are finite, so only masks may make one."""
    hides = attention.mask is not None or (attention.causal is not None and attention.causal_offset.value.data < 0)
    if hides and not isfinite(attention.fill.value.data):
        added = None if attention.mask is None else constant(attention.mask, store)
        return added is not None and added.dtype != np.bool_ and bool(np.isfinite(added.astype(np.float32)).all())
    return attention.mask is None or is_bool(element_type(attention.mask))


def _rewrite(
    store: ConstantStore, product: nn.MatmulOp, found: Fused, levels: Levels, operands: tuple[Dequantized, ...]
) -> None:
    build = Builder.before(product, store)
    build.path = found.product.attributes.get("path", build.path)
    build.location = fuse(*(operand.location for operand in operands), product.location)
    values = [operand.bytes(build).value for operand in operands]
    q_scale, k_scale, v_scale = (operand.factor(build) for operand in operands)
    if operands[0].axis is operands[1].axis is None:
        # One factor, as the products by themselves have it.
        q_scale, k_scale = build.map("mul", q_scale, k_scale), build.constant(np.asarray(1, np.float32))
    v_scale = build.map("mul", levels.factor.factor(build), v_scale)
    query, key, value = (operand.signed_zero(store) or 0 for operand in operands)
    _, keys, width = shape_of(values[1])[1:]
    made = integer_attention(
        found.attention,
        values,
        [with_rank_4(build, scale) for scale in (q_scale, k_scale, v_scale)],
        p_scale=levels.scale_value(build),
        p_zero_point=levels.zero_point,
        p_thresholds=None if levels.thresholds is None else build.constant(levels.thresholds),
        p_levels=levels.most,
        weights=levels.weights,
        v_offset=_share(build, values[2], 2, levels.zero_point, keys * levels.zero_point * value),
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
