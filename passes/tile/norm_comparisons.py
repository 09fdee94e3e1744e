"""Comparisons of layer norms as what they are computed of: statistics of rows, a bound for each value, a comparison."""

from __future__ import annotations

import numpy as np
from xdsl.dialects.builtin import f32
from xdsl.ir import Block, SSAValue

from ...dialects import bnn, nn
from ...dialects.constants import Array, ConstantStore
from ...dialects.elements import shape_of
from ...dialects.interpret.bnn import norm_bounds
from ..builder import Builder
from .recompute import statistic


def expand_norm_comparisons(block: Block, store: ConstantStore) -> None:
    """Rewrite every `bnn.compare_norm` of a block."""
    for op in list(block.ops):
        if isinstance(op, bnn.CompareNormOp):
            bits = _expanded(op, Builder.before(op, store), store)
            if isinstance(bits.owner, nn.MapOp):
                bits.owner.attributes.update(op.attributes)
            op.result.replace_all_uses_with(bits)
            op.detach()
            op.erase()


def _expanded(op: bnn.CompareNormOp, build: Builder, store: ConstantStore) -> SSAValue:
    def array(value: SSAValue) -> Array:
        assert isinstance(value.owner, nn.ConstantOp)
        return store.array(value.owner.data)

    distance, falls = norm_bounds(*(array(value) for value in (op.scale, op.bias, op.threshold)))
    axes = (len(shape_of(op.input)) - 1,)
    mean, variance = (statistic(kind, op.input, axes, op, store) for kind in ("mean", "variance"))
    deviation = build.map("sqrt", build.map("add", variance, op.epsilon.value.data, to=f32))
    value = build.cast(op.input, f32)
    bound = build.map("add", mean, build.map("mul", deviation, build.constant(distance)))
    if falls.any():
        # Turned over by their signs, so that a NaN stays on no side.
        sign = build.constant(np.where(falls, -1, 1).astype(np.float32))
        value, bound = build.map("mul", value, sign), build.map("mul", bound, sign)
    return build.map(str(op.side.data), value, bound)
