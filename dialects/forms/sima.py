"""SimA: queries and keys divided by sums of magnitudes, and no softmax (Koohpayegani and Pirsiavash, 2022,
arXiv 2206.08898)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ...isa.frozen import frozen
from .linear import Graph, Heads, Reassociated
from .work import SCORES

if TYPE_CHECKING:
    from xdsl.ir import SSAValue

    from ..constants import Array

LEAST = 1e-12
"""No sum of magnitudes is taken for less."""


@frozen
class Sima(Reassociated):
    """out = Q' K'^T V, where each channel of Q' and K' is divided by the sum of its magnitudes over the tokens of the
    head. The scale of the scores cancels."""

    label = "sima"

    def attend(self, q: Array, k: Array, v: Array, scale: float, constants: Mapping[str, Array]) -> Array:
        left, right = (x / np.maximum(np.abs(x).sum(axis=-2, keepdims=True), np.float32(LEAST)) for x in (q, k))
        return left @ (right.swapaxes(-1, -2) @ v)

    def lower(self, graph: Graph, heads: Heads) -> SSAValue:
        # One factor a channel brings both divisions to where there are the fewest elements.
        turned = graph.swap_last(heads.k)
        sums = graph.map("mul", graph.swap_last(_magnitude(graph, heads.q, -2)), _magnitude(graph, turned, -1))
        factor = graph.map("reciprocal", sums)
        if self.chosen(heads.extents) == SCORES:
            scaled = graph.map("mul", graph.widen(heads.q), graph.swap_last(factor), to=heads.element)
            return graph.matmul(graph.matmul(scaled, heads.k, transpose_rhs=True), heads.v)
        context = graph.matmul(turned, heads.v, element=heads.wide)
        return graph.matmul(heads.q, graph.map("mul", context, factor, to=heads.element))


def _magnitude(graph: Graph, value: SSAValue, axis: int) -> SSAValue:
    return graph.map("max", graph.reduce("sum", graph.map("abs", graph.widen(value)), (axis,)), LEAST)
