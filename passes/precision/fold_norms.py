"""A layer norm that only a comparison reads becomes a comparison of its argument.

norm(x) >= t is x >= mean + deviation * (t - bias) / scale, the other way round where the scale is negative. The least
norm for which the model's own expression gives a true bit is found by bisection; the norm itself is turned round by
algebra. That reassociates its float32 operations, so it is done where it is asked for only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, f32
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from ...dialects import bnn, nn
from ...dialects.constants import Array, ConstantStore
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, is_bool, shape_of
from ...dialects.provenance import fuse
from ..builder import Builder
from ..graph.matching import constant
from .level_chain import LevelChain, least_reaching, step_to
from .monotone import COMPARISONS, Step
from .retype import replace


@dataclass(frozen=True)
class FoldNorms(ModulePass):
    """Compare arguments of layer norms with bounds instead of the norms with thresholds."""

    name = "fold-norms"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module; what nothing reads any more is left for `remove-unused`."""
        store = CompilerContext.of(ctx).store
        for made in list(op.walk()):
            if isinstance(made, nn.MapOp) and made.function.data in COMPARISONS and is_bool(element_type(made.result)):
                _fold(made, store)


def _fold(comparison: nn.MapOp, store: ConstantStore) -> None:
    steps: list[Step] = []
    source = comparison.result
    while not isinstance(source.owner, nn.LayerNormOp):
        step = step_to(source, store) if source is comparison.result or source.has_one_use() else None
        if step is None:
            return
        steps.insert(0, step)
        source = step.operation.operands[step.place]
    norm = source.owner
    width = shape_of(norm.input)[-1]
    scale, bias = (_by_column(value, default, width, store) for value, default in ((norm.scale, 1), (norm.bias, 0)))
    if norm.axis.value.data != len(shape_of(norm.input)) - 1 or element_type(norm.result) != f32:
        return
    threshold = _threshold(LevelChain(tuple(steps), store), width)
    if scale is None or bias is None or threshold is None:
        return
    level, side = threshold
    build = Builder.before(comparison, store)
    build.location = fuse(norm.location, *(step.operation.location for step in steps))
    factor, shift, bound = (build.constant(array) for array in (scale, bias, level))
    made = bnn.CompareNormOp(norm.input, factor, shift, bound, side, norm.epsilon.value.data)
    replace(comparison, build.insert(made))


def _by_column(value: SSAValue | None, default: float, width: int, store: ConstantStore) -> Array | None:
    """A constant of a norm as float32 [C]; None where it is no constant of one axis."""
    if value is None:
        return np.full(width, default, np.float32)
    found = constant(value, store)
    if found is None or found.size not in (1, width) or not np.isfinite(found.astype(np.float32)).all():
        return None
    return np.broadcast_to(found.reshape(-1).astype(np.float32), (width,))


def _threshold(chain: LevelChain, width: int) -> tuple[Array, bnn.Side] | None:
    """The least argument [C] from which on a chain of comparisons is true (`ge`), or no longer (`lt`); None where its
    constants vary with rows."""
    if any(array.size != 1 and (array.shape[-1], array.size) != (width, width) for array in chain.constants):
        return None
    if not chain.rises and not chain.falls:
        return None
    turned = chain.falls

    def reached(argument: Array) -> Array:
        return chain(argument[:, 0]).reshape(width, 1) != turned

    level = least_reaching(reached, np.ones(1), (width, 1), -np.inf, np.inf)[:, 0]
    return level, bnn.Side.LT if turned else bnn.Side.GE
