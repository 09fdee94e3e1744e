"""Encoders of FABNet's kind (Fan et al., 2022, arXiv 2209.09570), as PyTorch code of them is exported: tokens mixed by
a Fourier transform, feed-forward layers of butterfly matrices, and attention in the last layers.

python benchmarks/fabnet.py fabnet.onnx
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from encoders import Encoder, Graph, attention_of
from onnx import TensorProto


@dataclass(frozen=True)
class FabNet:
    """Sizes of an encoder: `width` and `hidden` are powers of two, and the last `attentions` of `layers` have attention
    in the place of the transform."""

    layers: int = 4
    width: int = 256
    heads: int = 4
    tokens: int = 128
    hidden: int = 1024
    attentions: int = 1


FABNET = FabNet()
TRANSFORMER = Encoder(FABNET.layers, FABNET.width, FABNET.heads, FABNET.tokens, FABNET.hidden)
"""The Transformer of the same sizes."""


def butterfly(graph: Graph, x: str, name: str, tokens: int, size: int) -> str:
    """x [1, tokens, size] times log2(size) factors of strides 1, 2, 4 ...: each a reshape, a product with a constant
    and a sum over pairs. Factors keep the variance of what they multiply."""
    axes = graph.constant(f"{name}.axes", np.array([-2], np.int64))
    stride = 1
    while stride < size:
        pairs = np.array([1, tokens, size // (2 * stride), 1, 2, stride], np.int64)
        factors = graph.random(f"{name}.{stride}.twiddle", 2**-0.5, size // (2 * stride), 2, 2, stride)
        split = graph.node("Reshape", [x, graph.constant(f"{name}.{stride}.shape", pairs)], f"{name}.{stride}.split")
        scaled = graph.node("Mul", [factors, split], f"{name}.{stride}.scaled")
        x = graph.node("ReduceSum", [scaled, axes], f"{name}.{stride}.sum", keepdims=0)
        stride *= 2
    shape = graph.constant(f"{name}.shape", np.array([1, tokens, size], np.int64))
    return graph.node("Reshape", [x, shape], f"{name}.product")


def fourier(graph: Graph, x: str, name: str) -> str:
    """The real part of the transform along channels and tokens."""
    last, parts = graph.constant(f"{name}.last", np.array([-1], np.int64)), graph.constant(f"{name}.real", np.array(0))
    given = graph.node("Unsqueeze", [x, last], f"{name}.complex")
    for axis in (2, 1):
        number = graph.constant(f"{name}.axis{axis}", np.array(axis))
        given = graph.node("DFT", [given, "", number], f"{name}.along{axis}")
    return graph.node("Gather", [given, parts], name, axis=-1)


def fabnet(size: FabNet = FABNET, seed: int = 0) -> onnx.ModelProto:
    """`hidden` float32 [1, tokens, width] to `output` of the same shape."""
    graph, x, ratio = Graph(seed), "hidden", size.hidden // size.width
    attention = attention_of(graph, Encoder(size.layers, size.width, size.heads, size.tokens, size.hidden))
    narrow = [graph.constant(f"narrow.{end}", np.array([at])) for end, at in (("start", 0), ("end", size.width))]
    along = graph.constant("narrow.axis", np.array([2]))
    for layer in range(size.layers):
        name = f"layer.{layer}"
        if layer < size.layers - size.attentions:
            mixed = fourier(graph, x, f"{name}.mixing")
        else:
            mixed = attention(x, f"{name}.attention")
        x = graph.norm(graph.node("Add", [x, mixed], f"{name}.mixed"), f"{name}.norm", size.width)
        # From width to hidden channels by several matrices side by side; back by one, of which the first are taken.
        parts = [butterfly(graph, x, f"{name}.up.{part}", size.tokens, size.width) for part in range(ratio)]
        joined = graph.node("Concat", parts, f"{name}.up.joined", axis=2)
        up = graph.node("Add", [joined, graph.random(f"{name}.up.bias", 0.02, size.hidden)], f"{name}.up")
        down = butterfly(graph, graph.node("Gelu", [up], f"{name}.gelu"), f"{name}.down", size.tokens, size.hidden)
        cut = graph.node("Slice", [down, *narrow, along], f"{name}.down.cut")
        changed = graph.node("Add", [cut, graph.random(f"{name}.down.bias", 0.02, size.width)], f"{name}.down")
        x = graph.norm(graph.node("Add", [x, changed], f"{name}.residual"), f"{name}.output", size.width)
    graph.node("Identity", [x], "output")
    shape = [1, size.tokens, size.width]
    return graph.model("fabnet", ("hidden", TensorProto.FLOAT, shape), ("output", TensorProto.FLOAT, shape))


def main() -> None:
    """Write the model."""
    if len(sys.argv) != 2:
        sys.exit("usage: fabnet.py OUT.onnx")
    onnx.save(fabnet(), Path(sys.argv[1]))


if __name__ == "__main__":
    main()
