"""Whole models of known size with random weights, embeddings and heads included, as exporters write them.

python benchmarks/whole_models.py gpt2-small gpt2_small.onnx
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from encoders import Encoder, Graph, layers
from onnx import TensorProto

GPT2_SMALL = Encoder(layers=12, width=768, heads=12, tokens=128, hidden=3072, pre_norm=True)
VOCABULARY = 50257

DEIT_TINY = Encoder(layers=12, width=192, heads=3, tokens=197, hidden=768, pre_norm=True)
IMAGE, PATCH, CLASSES = 224, 16, 1000


def gpt2_small(seed: int = 0) -> onnx.ModelProto:
    """The prefill of a causal language model: `input_ids` int64 [1, 128] to `logits` float32 [1, 128, 50257]; the head
    is the embedding table transposed."""
    graph, size = Graph(seed), GPT2_SMALL
    table = graph.weight("embedding", VOCABULARY, size.width)
    positions = graph.weight("positions", size.tokens, size.width)
    hidden = np.triu(np.full((size.tokens, size.tokens), np.finfo(np.float32).min, np.float32), 1)
    mask = graph.constant("causal_mask", hidden[None, None])
    words = graph.node("Gather", [table, "input_ids"], "words")
    x = graph.node("Add", [words, positions], "embedded")
    x = graph.norm(layers(graph, x, size, mask), "final.norm", size.width)
    head = graph.node("Transpose", [table], "head.weight", perm=[1, 0])
    graph.node("MatMul", [x, head], "logits")
    tokens = [1, size.tokens]
    result = ("logits", TensorProto.FLOAT, [*tokens, VOCABULARY])
    return graph.model("gpt2_small", ("input_ids", TensorProto.INT64, tokens), result)


def deit_tiny(seed: int = 0) -> onnx.ModelProto:
    """An image classifier: `pixel_values` float32 [1, 3, 224, 224] to `logits` float32 [1, 1000]."""
    graph, size = Graph(seed), DEIT_TINY
    depth = 3 * PATCH**2
    kernel = graph.random("patch.weight", depth**-0.5, size.width, 3, PATCH, PATCH)
    bias = graph.random("patch.bias", 0.02, size.width)
    patches = graph.node(
        "Conv", ["pixel_values", kernel, bias], "patches", strides=[PATCH, PATCH], kernel_shape=[PATCH, PATCH]
    )
    flat = graph.constant("flat", np.array([1, size.width, size.tokens - 1], np.int64))
    columns = graph.node("Reshape", [patches, flat], "patches.flat")
    rows = graph.node("Transpose", [columns], "patches.rows", perm=[0, 2, 1])
    first = graph.random("class_token", 0.02, 1, 1, size.width)
    joined = graph.node("Concat", [first, rows], "tokens", axis=1)
    x = graph.node("Add", [joined, graph.random("positions", 0.02, 1, size.tokens, size.width)], "embedded")
    x = graph.norm(layers(graph, x, size), "final.norm", size.width)
    pooled = graph.node("Gather", [x, graph.constant("first", np.array(0, np.int64))], "pooled", axis=1)
    graph.node("Identity", [graph.linear(pooled, "head", size.width, CLASSES)], "logits")
    given = ("pixel_values", TensorProto.FLOAT, [1, 3, IMAGE, IMAGE])
    return graph.model("deit_tiny", given, ("logits", TensorProto.FLOAT, [1, CLASSES]))


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {"gpt2-small": gpt2_small, "deit-tiny-whole": deit_tiny}
"""The models by name."""


def main() -> None:
    """Write one of the models to a file."""
    if len(sys.argv) != 3 or sys.argv[1] not in MODELS:
        sys.exit(f"usage: whole_models.py {{{','.join(MODELS)}}} OUT.onnx")
    onnx.save(MODELS[sys.argv[1]](), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
