"""Export a small Transformer layer from Brevitas in every format that it writes: QONNX and QCDQ, from W1A1 to W8A8.

Writes NAME.onnx for each format and, as references.npz, one input and what PyTorch computes of it. Weights are random;
activation scales come from statistics of the input. Needs PyTorch and Brevitas.

    pip install torch brevitas
    python tests/models/brevitas/export.py
"""

import math
from pathlib import Path

import brevitas.nn as qnn
import numpy as np
import torch
from brevitas.export import export_onnx_qcdq, export_qonnx
from brevitas.quant import (
    Int8ActPerTensorFloat,
    Int8WeightPerChannelFloat,
    SignedBinaryActPerTensorConst,
    SignedBinaryWeightPerTensorConst,
    SignedTernaryActPerTensorConst,
    SignedTernaryWeightPerTensorConst,
    Uint8ActPerTensorFloat,
)
from torch import Tensor, nn

HERE = Path(__file__).parent
TOKENS, WIDTH, HEADS, HIDDEN = 9, 32, 2, 64

FORMATS = {"w1a1": (1, 1), "w2a2": (2, 2), "w4a4": (4, 4), "w4a8": (4, 8), "w8a8": (8, 8)}
"""Bits of weights and of activations; 2 is ternary."""


def linear(bits: int, inputs: int, outputs: int) -> nn.Module:
    """A linear layer with weights of so many bits."""
    if bits > 2:
        return qnn.QuantLinear(
            inputs, outputs, bias=True, weight_quant=Int8WeightPerChannelFloat, weight_bit_width=bits
        )
    quant = SignedBinaryWeightPerTensorConst if bits == 1 else SignedTernaryWeightPerTensorConst
    return qnn.QuantLinear(inputs, outputs, bias=True, weight_quant=quant)


def activation(bits: int, unsigned: bool = False) -> nn.Module:
    """A quantizer of activations."""
    if bits > 2:
        quant = Uint8ActPerTensorFloat if unsigned else Int8ActPerTensorFloat
        return qnn.QuantIdentity(act_quant=quant, bit_width=bits)
    quant = SignedBinaryActPerTensorConst if bits == 1 else SignedTernaryActPerTensorConst
    return qnn.QuantIdentity(act_quant=quant, min_val=-1.0, max_val=1.0)


class Layer(nn.Module):
    """A pre-norm encoder layer whose products are all quantized."""

    def __init__(self, weight_bits: int, activation_bits: int) -> None:
        super().__init__()
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query, self.key, self.value, self.out = (linear(weight_bits, WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = linear(weight_bits, WIDTH, HIDDEN), linear(weight_bits, HIDDEN, WIDTH)
        names = ("given", "query", "key", "value", "context", "normal")
        self.few = nn.ModuleDict({f"{name}_bits": activation(activation_bits) for name in names})
        self.few["weights_bits"] = activation(activation_bits, unsigned=True)
        self.few["hidden_bits"] = activation(activation_bits, unsigned=True)

    def heads(self, x: Tensor) -> Tensor:
        """[1, tokens, width] as [1, heads, tokens, width of a head]."""
        return x.reshape(1, TOKENS, HEADS, WIDTH // HEADS).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        given = self.few["given_bits"](self.attention_norm(x))
        query, key, value = (
            self.heads(self.few[f"{name}_bits"](layer(given)))
            for name, layer in (("query", self.query), ("key", self.key), ("value", self.value))
        )
        weights = (query @ key.transpose(-1, -2) / math.sqrt(WIDTH // HEADS)).softmax(-1)
        context = (self.few["weights_bits"](weights) @ value).transpose(1, 2).reshape(1, TOKENS, WIDTH)
        x = x + self.out(self.few["context_bits"](context))
        hidden = self.up(self.few["normal_bits"](self.feed_forward_norm(x))).relu()
        return x + self.down(self.few["hidden_bits"](hidden))


def main() -> None:
    """Write every file."""
    torch.manual_seed(0)
    x = torch.randn(1, TOKENS, WIDTH)
    references = {"x": x.numpy()}
    for name, bits in FORMATS.items():
        torch.manual_seed(1)
        layer = Layer(*bits)
        for norm in (layer.attention_norm, layer.feed_forward_norm):
            nn.init.normal_(norm.weight, 1.0, 0.1)
            nn.init.normal_(norm.bias, 0.0, 0.1)
        layer.train()
        with torch.no_grad():
            for _ in range(10):
                layer(torch.randn(1, TOKENS, WIDTH))
            layer.eval()
            references[name] = layer(x).numpy()
        options = {"opset_version": 17, "dynamo": False, "input_names": ["x"], "output_names": ["y"]}
        export_qonnx(layer, args=x, export_path=str(HERE / f"{name}_qonnx.onnx"), **options)
        if bits[0] > 1:
            export_onnx_qcdq(layer, args=x, export_path=str(HERE / f"{name}_qcdq.onnx"), **options)
    np.savez_compressed(HERE / "references.npz", **references)


if __name__ == "__main__":
    main()
