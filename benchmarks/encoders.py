"""Random-weight Transformer encoders of known sizes, as exporters write them: the workloads of the benchmark tables.

python benchmarks/encoders.py bert-base bert_base.onnx
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


@dataclass(frozen=True)
class Product:
    """`count` matrix products [rows, depth] @ [depth, columns]."""

    count: int
    rows: int
    depth: int
    columns: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all of them."""
        return self.count * self.rows * self.depth * self.columns


@dataclass(frozen=True)
class Encoder:
    """The size of an encoder stack: `pre_norm` as in vision Transformers, otherwise post-norm as in BERT."""

    layers: int
    width: int
    heads: int
    tokens: int
    hidden: int
    pre_norm: bool = False

    @property
    def products(self) -> tuple[Product, ...]:
        """All matrix products of one sequence."""
        tokens, width, head = self.tokens, self.width, self.width // self.heads
        return (
            Product(4 * self.layers, tokens, width, width),
            Product(self.layers, tokens, width, self.hidden),
            Product(self.layers, tokens, self.hidden, width),
            Product(self.layers * self.heads, tokens, head, tokens),
            Product(self.layers * self.heads, tokens, tokens, head),
        )

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all matrix products, for one sequence."""
        return sum(product.macs for product in self.products)


ENCODERS = {
    "bert-tiny": Encoder(layers=2, width=128, heads=2, tokens=128, hidden=512),
    "deit-tiny": Encoder(layers=12, width=192, heads=3, tokens=197, hidden=768, pre_norm=True),
    "bert-base": Encoder(layers=12, width=768, heads=12, tokens=128, hidden=3072),
    "bert-base-layer-1024": Encoder(layers=1, width=768, heads=12, tokens=1024, hidden=3072),
    "bert-base-layer-4096": Encoder(layers=1, width=768, heads=12, tokens=4096, hidden=3072),
    "bert-large": Encoder(layers=24, width=1024, heads=16, tokens=128, hidden=4096),
}
"""Encoder blocks only: no embeddings, no classifier."""


Value = tuple[str, int, list[int]]
"""An input or output of a model: its name, ONNX element type and shape."""


class Graph:
    """Collects nodes and initializers."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(seed)

    def constant(self, name: str, array: np.ndarray) -> str:
        """An initializer."""
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def random(self, name: str, deviation: float, *shape: int, mean: float = 0) -> str:
        """An initializer of normally distributed values."""
        return self.constant(name, self._random.normal(mean, deviation, shape).astype(np.float32))

    def weight(self, name: str, *shape: int) -> str:
        """A random weight that keeps the variance of what it multiplies."""
        return self.random(name, shape[0] ** -0.5, *shape)

    def node(self, operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        """A node named after its output."""
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def linear(self, x: str, name: str, width: int, out: int) -> str:
        """x @ weight + bias."""
        product = self.node("MatMul", [x, self.weight(f"{name}.weight", width, out)], f"{name}.product")
        return self.node("Add", [product, self.random(f"{name}.bias", 0.02, out)], name)

    def norm(self, x: str, name: str, width: int) -> str:
        """Layer normalization with learned-looking scale and bias."""
        scale = self.random(f"{name}.scale", 0.05, width, mean=1)
        bias = self.random(f"{name}.bias", 0.05, width)
        return self.node("LayerNormalization", [x, scale, bias], name, axis=-1, epsilon=1e-5)

    def model(self, name: str, given: Value, result: Value) -> onnx.ModelProto:
        """The model of all nodes, with one input and one output: name, element type and shape."""
        inputs, outputs = ([helper.make_tensor_value_info(*value)] for value in (given, result))
        proto = helper.make_graph(self.nodes, name, inputs, outputs, self.initializers)
        return helper.make_model(proto, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def attention_of(graph: Graph, size: Encoder, mask: str = "", gain: float = 1.0) -> Callable[[str, str], str]:
    """What makes an attention of a value, under a name; `mask` is added to the scores of every head, which `gain`
    multiplies."""
    split = graph.constant("split", np.array([1, size.tokens, size.heads, size.width // size.heads], np.int64))
    merge = graph.constant("merge", np.array([1, size.tokens, size.width], np.int64))
    scale = graph.constant("scale", np.array(gain * (size.width // size.heads) ** -0.5, np.float32))

    def attention(x: str, name: str) -> str:
        def heads(part: str, order: list[int]) -> str:
            flat = graph.linear(x, f"{name}.{part}", size.width, size.width)
            parted = graph.node("Reshape", [flat, split], f"{name}.{part}.split")
            return graph.node("Transpose", [parted], f"{name}.{part}.heads", perm=order)

        query, key, value = heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1]), heads("value", [0, 2, 1, 3])
        scores = graph.node("MatMul", [query, key], f"{name}.scores")
        scaled = graph.node("Mul", [scores, scale], f"{name}.scaled")
        seen = graph.node("Add", [scaled, mask], f"{name}.masked") if mask else scaled
        weights = graph.node("Softmax", [seen], f"{name}.weights", axis=-1)
        context = graph.node("MatMul", [weights, value], f"{name}.context")
        tokens = graph.node("Transpose", [context], f"{name}.tokens", perm=[0, 2, 1, 3])
        merged = graph.node("Reshape", [tokens, merge], f"{name}.merged")
        return graph.linear(merged, f"{name}.out", size.width, size.width)

    return attention


def layers(graph: Graph, x: str, size: Encoder, mask: str = "") -> str:
    """The layers of a Transformer on `x` [1, tokens, width]; `mask` is added to the scores of every head."""
    attention = attention_of(graph, size, mask)

    def feed_forward(x: str, name: str) -> str:
        up = graph.linear(x, f"{name}.up", size.width, size.hidden)
        active = graph.node("Gelu", [up], f"{name}.gelu")
        return graph.linear(active, f"{name}.down", size.hidden, size.width)

    for layer in range(size.layers):
        for part, branch in (("attention", attention), ("feed_forward", feed_forward)):
            name = f"layer.{layer}.{part}"
            if size.pre_norm:
                changed = branch(graph.norm(x, f"{name}.norm", size.width), name)
                x = graph.node("Add", [x, changed], f"{name}.residual")
            else:
                residual = graph.node("Add", [x, branch(x, name)], f"{name}.residual")
                x = graph.norm(residual, f"{name}.norm", size.width)
    return x


def build(size: Encoder, seed: int = 0) -> onnx.ModelProto:
    """The encoder as an ONNX model: input `hidden` and output `output`, both float32 [1, tokens, width]."""
    graph = Graph(seed)
    graph.node("Identity", [layers(graph, "hidden", size)], "output")
    shape = [1, size.tokens, size.width]
    return graph.model("encoder", ("hidden", TensorProto.FLOAT, shape), ("output", TensorProto.FLOAT, shape))


def main() -> None:
    """Write one of the named encoders to a file."""
    if len(sys.argv) != 3 or sys.argv[1] not in ENCODERS:
        sys.exit(f"usage: encoders.py {{{','.join(ENCODERS)}}} OUT.onnx")
    onnx.save(build(ENCODERS[sys.argv[1]]), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
