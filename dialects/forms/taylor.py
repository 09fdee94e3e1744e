"""ViTALiTy: the first-order Taylor series of the softmax around centred keys (Dass et al., HPCA 2023,
arXiv 2211.05109, algorithm 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ...isa.frozen import frozen
from .linear import Graph, Heads, Reassociated
from .work import SCORES, Extents

if TYPE_CHECKING:
    from xdsl.ir import SSAValue

    from ..constants import Array


@frozen
class Taylor(Reassociated):
    """out_i = sum over j of (1 + scale q_i . c_j) v_j / n, where c_j = k_j - mean of k: exp(x) by 1 + x, with keys from
    which the softmax loses nothing by taking their mean. Centred keys sum to 0, and so the weights to n."""

    label = "taylor"

    def attend(self, q: Array, k: Array, v: Array, scale: float, constants: Mapping[str, Array]) -> Array:
        centred = k - k.mean(axis=-2, keepdims=True)
        context = centred.swapaxes(-1, -2) @ v
        return v.mean(axis=-2, keepdims=True) + q @ context * np.float32(scale / k.shape[-2])

    def macs(self, extents: Extents) -> int:
        return super().macs(extents) + extents.keys * extents.value_width

    def lower(self, graph: Graph, heads: Heads) -> SSAValue:
        keys = graph.widen(graph.swap_last(heads.k))
        centred = graph.map("sub", keys, graph.reduce("mean", keys, (-1,)), to=heads.element)
        share = heads.scale / heads.extents.keys
        # A product as the others are: what reads values besides would have them stored once more.
        ones = graph.cast(graph.constant(np.ones((1, heads.extents.keys), np.float32)), heads.element)
        mean = graph.map("mul", graph.matmul(ones, heads.v, element=heads.wide), 1 / heads.extents.keys)
        if self.chosen(heads.extents) == SCORES:
            weights = graph.map("mul", graph.matmul(heads.q, centred, element=heads.wide), share, to=heads.element)
            return graph.map("add", graph.matmul(weights, heads.v, element=heads.wide), mean, to=heads.element)
        context = graph.map("mul", graph.matmul(centred, heads.v, element=heads.wide), share, to=heads.element)
        return graph.map("add", graph.matmul(heads.q, context, element=heads.wide), mean, to=heads.element)
