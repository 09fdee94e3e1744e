"""EcoFormer: queries and keys as bits of a kernelized hash (Liu et al., NeurIPS 2022, arXiv 2209.09004; Liu et al.,
"Supervised hashing with kernels", CVPR 2012, for the hash)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ...isa.errors import UsageError
from ...isa.frozen import frozen
from .linear import Graph, Heads, Linear
from .work import Extents

if TYPE_CHECKING:
    from xdsl.ir import SSAValue

    from ..constants import Array

LEAST = 1e-12
"""No vector is taken for shorter."""

DRAWN = 1024
"""The means of a drawn hash are those over so many unit vectors."""

SIGMA = 2.0
"""The mean square of the distance between unit vectors of no preferred direction."""


@frozen
class Ecoformer(Linear):
    """out_i = sum over j of (bits + 1 + h(q_i) . h(k_j)) v_j, divided by the sum of these weights, all 1 or more.
    h(x) = sign(weights (exp(-|x / |x| - anchors|^2 / (2 sigma)) - means)) is of -1 and 1, 1 for a 0, and the same for
    queries and keys. Lengths, and the scale of the scores, do not count.

    The hash is the constants `anchors` [anchors, Dk], `sigma` [1], `means` [anchors] and `weights` [bits, anchors],
    each without or with the heads as an axis before. Those that a recipe does not give are drawn from `seed`: anchors
    and weights of no preferred direction, and sigma and means as they are for such vectors.
    """

    label = "ecoformer"
    bits: int = 16
    anchors: int = 25
    seed: int = 0

    def __post_init__(self) -> None:
        self.refuse(self.bits < 1 or self.anchors < 1, "there is at least one bit, and one anchor")
        self.refuse(self.seed < 0, "a seed is 0 or more")

    def constants(self, extents: Extents) -> Mapping[str, Array]:
        width = extents.key_width
        drawn = _normal(self.seed, (self.anchors + DRAWN) * width + self.bits * self.anchors)
        vectors, weights = drawn[: -self.bits * self.anchors].reshape(-1, width), drawn[-self.bits * self.anchors :]
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        anchors, others = vectors[: self.anchors], vectors[self.anchors :]
        return {
            "anchors": anchors.astype(np.float32),
            "sigma": np.array([SIGMA], np.float32),
            "means": np.exp((others @ anchors.T - 1) / SIGMA).mean(axis=0).astype(np.float32),
            "weights": weights.reshape(self.bits, self.anchors).astype(np.float32),
        }

    def attend(self, q: Array, k: Array, v: Array, scale: float, constants: Mapping[str, Array]) -> Array:
        left, right = _hashed(q, constants), _hashed(k, constants)
        weights = np.float32(self.bits + 1) + left @ right.swapaxes(-1, -2)
        return weights @ v / weights.sum(axis=-1, keepdims=True)

    def macs(self, extents: Extents) -> int:
        hashing = self.anchors * (extents.key_width + self.bits)
        summing = self.bits * extents.value_width
        return (extents.queries + extents.keys) * (hashing + summing) + extents.keys * extents.value_width

    def lower(self, graph: Graph, heads: Heads) -> SSAValue:
        left, right = (_bits(graph, heads, x) for x in (heads.q, heads.k))
        # Bits on the right, along tokens: what a packed product takes, beside values of 8 bits.
        values = graph.swap_last(heads.v)
        context = graph.matmul(values, right)
        shown = graph.matmul(left, context, transpose_rhs=True, element=heads.wide)
        agreed = graph.swap_last(graph.reduce("sum", graph.widen(graph.swap_last(right)), (-1,)))
        alike = graph.map("mul", graph.widen(left), agreed)
        # A product as the others are: what reads values besides would have them stored once more.
        ones = graph.cast(graph.constant(np.ones((heads.extents.keys, 1), np.float32)), heads.element)
        total = graph.swap_last(graph.matmul(values, ones, element=heads.wide))
        total = graph.map("mul", total, float(self.bits + 1))
        count = graph.map("add", graph.reduce("sum", alike, (-1,)), float((self.bits + 1) * heads.extents.keys))
        return graph.map("div", graph.map("add", shown, total), count, to=heads.element)


def _hashed(x: Array, constants: Mapping[str, Array]) -> Array:
    anchors, means, weights = (constants[name] for name in ("anchors", "means", "weights"))
    sigma = constants["sigma"][..., None]
    unit = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), np.float32(LEAST))
    squared = 1 + (anchors * anchors).sum(axis=-1)[..., None, :] - 2 * unit @ anchors.swapaxes(-1, -2)
    kernel = np.exp(-squared / (2 * sigma)) - means[..., None, :]
    return np.where(kernel @ weights.swapaxes(-1, -2) >= 0, np.float32(1), np.float32(-1))


def _bits(graph: Graph, heads: Heads, x: SSAValue) -> SSAValue:
    """The hash of [..., tokens, Dk]: [..., tokens, bits]. What is constant is folded into the two products and what
    follows them."""
    anchors, means, weights = (heads.constants[name] for name in ("anchors", "means", "weights"))
    sigma = heads.constants["sigma"][..., None]
    if (sigma <= 0).any():
        raise UsageError(f"a sigma of {sigma.min()} is no width of the hash of ecoformer", "sigma is above 0")
    wide = graph.widen(x)
    square = graph.map("max", graph.reduce("sum", graph.map("mul", wide, wide), (-1,)), LEAST**2)
    near = graph.matmul(
        x, graph.cast(graph.constant((anchors / sigma).swapaxes(-1, -2)), heads.element), element=heads.wide
    )
    apart = -(1 + (anchors * anchors).sum(axis=-1)[..., None, :]) / (2 * sigma)
    exponent = graph.map("add", graph.map("mul", near, graph.map("rsqrt", square)), graph.constant(apart))
    kernel = graph.map("exp", exponent, to=heads.element)
    turned = graph.cast(graph.constant(weights.swapaxes(-1, -2)), heads.element)
    threshold = (weights * means[..., None, :]).sum(axis=-1)[..., None, :]
    bit = graph.map("ge", graph.matmul(kernel, turned, element=heads.wide), graph.constant(threshold))
    return graph.map("select", bit, 1.0, -1.0, to=heads.element)


def _normal(seed: int, count: int) -> Array:
    """Normally distributed numbers of the raw stream of PCG64, which no version of numpy changes (Box and Muller)."""
    raw = np.random.PCG64(seed).random_raw((2, count)) >> np.uint64(11)
    uniform = raw.astype(np.float64) * 2.0**-53
    return np.sqrt(-2 * np.log1p(-uniform[0])) * np.cos(2 * np.pi * uniform[1])
