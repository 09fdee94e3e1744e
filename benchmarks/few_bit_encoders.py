"""Random encoders of one-bit weights and few-bit activations, as binarized Transformers are exported.

Weights are +-1 with a scale for each column; activations have `bits` bits and one scale for each tensor. One bit: +-1,
or {0, 1} for the attention's weights and behind the ReLU (Liu et al., "BiT: Robustly Binarized Multi-distilled
Transformer", 2022); more: whole numbers by rounding and clipping. Queries, keys and values share one quantized input.

python benchmarks/few_bit_encoders.py bert-base 1 bert_base_w1a1.onnx
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from encoders import ENCODERS, Encoder, Graph
from onnx import TensorProto

BITS = (1, 2, 4, 8)


class FewBitGraph(Graph):
    """Collects the nodes of an encoder whose products are of few bits."""

    def __init__(self, bits: int, seed: int) -> None:
        super().__init__(seed)
        self.bits = bits
        self._random_bits = np.random.default_rng(seed + 1)
        for name, value in (("zero", 0.0), ("one", 1.0), ("minus_one", -1.0)) if bits == 1 else ():
            self.constant(name, np.array(value, np.float32))

    def quantized(self, x: str, name: str, deviation: float, unsigned: bool = False) -> str:
        """`x`, of so much deviation, rounded to few levels and scaled back."""
        levels = 2**self.bits - 1 if unsigned else 2 ** (self.bits - 1)
        scale = self.constant(f"{name}.alpha", np.array(2.5 * deviation / (levels + 1), np.float32))
        if self.bits == 1 and not unsigned:
            shift = self.random(f"{name}.beta", 0.1 * deviation, 1)
            moved = self.node("Sub", [x, shift], f"{name}.moved")
            positive = self.node("GreaterOrEqual", [moved, "zero"], f"{name}.positive")
            whole = self.node("Where", [positive, "one", "minus_one"], f"{name}.bit")
            return self.node("Mul", [whole, scale], name)
        divided = self.node("Div", [x, scale], f"{name}.divided")
        rounded = self.node("Round", [divided], f"{name}.round")
        bounds = (0, levels) if unsigned else (-levels, levels - 1)
        low, high = (
            self.constant(f"{name}.{side}", np.array(bound, np.float32))
            for side, bound in zip(("low", "high"), bounds, strict=True)
        )
        return self.node("Mul", [self.node("Clip", [rounded, low, high], f"{name}.level"), scale], name)

    def binary_linear(self, x: str, name: str, width: int, out: int) -> str:
        """x @ signs * scale + bias, of a deviation near 1 for an input of 1."""
        signs = self._random_bits.integers(0, 2, (width, out), np.int8).astype(np.float32) * 2 - 1
        product = self.node("MatMul", [x, self.constant(f"{name}.weight", signs)], f"{name}.product")
        scale = self.random(f"{name}.scale", 0.05 * width**-0.5, out, mean=width**-0.5)
        scaled = self.node("Mul", [product, scale], f"{name}.scaled")
        return self.node("Add", [scaled, self.random(f"{name}.bias", 0.02, out)], name)


def build(size: Encoder, bits: int, seed: int = 0) -> onnx.ModelProto:
    """A post-norm encoder as an ONNX model: input `hidden` and output `output`, both float32 [1, tokens, width]."""
    graph = FewBitGraph(bits, seed)
    split = graph.constant("split", np.array([1, size.tokens, size.heads, size.width // size.heads], np.int64))
    merge = graph.constant("merge", np.array([1, size.tokens, size.width], np.int64))
    root = graph.constant("root", np.array((size.width // size.heads) ** 0.5, np.float32))

    def attention(x: str, name: str) -> str:
        given = graph.quantized(x, f"{name}.input", 1)

        def heads(part: str, order: list[int]) -> str:
            flat = graph.binary_linear(given, f"{name}.{part}", size.width, size.width)
            few = graph.quantized(flat, f"{name}.{part}.few", 1)
            parted = graph.node("Reshape", [few, split], f"{name}.{part}.split")
            return graph.node("Transpose", [parted], f"{name}.{part}.heads", perm=order)

        query, key, value = heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1]), heads("value", [0, 2, 1, 3])
        scores = graph.node("MatMul", [query, key], f"{name}.scores")
        scaled = graph.node("Div", [scores, root], f"{name}.scaled")
        softmax = graph.node("Softmax", [scaled], f"{name}.softmax", axis=-1)
        weights = graph.quantized(softmax, f"{name}.weights", 1 / size.tokens, unsigned=True)
        context = graph.node("MatMul", [weights, value], f"{name}.context")
        tokens = graph.node("Transpose", [context], f"{name}.tokens", perm=[0, 2, 1, 3])
        merged = graph.node("Reshape", [tokens, merge], f"{name}.merged")
        return graph.binary_linear(
            graph.quantized(merged, f"{name}.out.input", 0.5), f"{name}.out", size.width, size.width
        )

    def feed_forward(x: str, name: str) -> str:
        up = graph.binary_linear(graph.quantized(x, f"{name}.input", 1), f"{name}.up", size.width, size.hidden)
        active = graph.node("Relu", [up], f"{name}.relu")
        few = graph.quantized(active, f"{name}.hidden", 1, unsigned=True)
        return graph.binary_linear(few, f"{name}.down", size.hidden, size.width)

    x = "hidden"
    for layer in range(size.layers):
        for part, branch in (("attention", attention), ("feed_forward", feed_forward)):
            name = f"layer.{layer}.{part}"
            residual = graph.node("Add", [x, branch(x, name)], f"{name}.residual")
            x = graph.norm(residual, f"{name}.norm", size.width)
    graph.node("Identity", [x], "output")
    shape = [1, size.tokens, size.width]
    return graph.model("few_bit_encoder", ("hidden", TensorProto.FLOAT, shape), ("output", TensorProto.FLOAT, shape))


def main() -> None:
    """Write one of the named encoders to a file."""
    if len(sys.argv) != 4 or sys.argv[1] not in ENCODERS or sys.argv[2] not in map(str, BITS):
        sys.exit(f"usage: few_bit_encoders.py {{{','.join(ENCODERS)}}} {{{','.join(map(str, BITS))}}} OUT.onnx")
    onnx.save(build(ENCODERS[sys.argv[1]], int(sys.argv[2])), Path(sys.argv[3]))


if __name__ == "__main__":
    main()
