"""Random quantized models: QDQ, QCDQ, integer operators, weights alone in 8 bits.

Scales are powers of two and sums stay small, so that the reference's floats are exact and integers must agree.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from .model_builder import Builder, Value


def levels(b: Builder, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Integers of a type: all of its range, or nothing but its ends."""
    kind = np.iinfo(dtype)
    drawn = b.rng.integers(kind.min, kind.max + 1, shape)
    extreme = b.pick(drawn, drawn, np.full(shape, kind.max), np.full(shape, kind.min))
    return np.asarray(extreme).astype(dtype)


def zero_point(b: Builder, dtype: type, shape: tuple[int, ...] = ()) -> np.ndarray:
    """Zero points anywhere in the range, often none."""
    kind = np.iinfo(dtype)
    if b.chance(0.4):
        return np.zeros(shape, dtype)
    return b.rng.integers(kind.min, kind.max + 1, shape).astype(dtype)


def scale(b: Builder, shape: tuple[int, ...] = ()) -> np.ndarray:
    """Powers of two."""
    return np.float32(2.0) ** b.rng.integers(-6, -2, shape).astype(np.float32)


def quantized(b: Builder, x: Value, dtype: type) -> Value:
    """x through QuantizeLinear, now and then Clip, and DequantizeLinear, per tensor."""
    step, zero = b.constant(scale(b)), b.constant(zero_point(b, dtype))
    q = b("QuantizeLinear", x, step, zero)
    if b.opset >= 12 and b.chance(0.3):
        kind = np.iinfo(dtype)
        q = b("Clip", q, np.array(kind.min + 1, dtype), np.array(kind.max, dtype))
    return b("DequantizeLinear", q, step, zero)


def stored(b: Builder, shape: tuple[int, ...], axis: int) -> Value:
    """An int8 or uint8 weight with its DequantizeLinear, per tensor or per channel."""
    dtype = b.pick(np.int8, np.int8, np.uint8)
    weight = b.constant(levels(b, shape, dtype))
    if b.opset >= 13 and b.chance():
        extent = (shape[axis],)
        zero = zero_point(b, dtype, extent) if b.chance(0.3) else np.zeros(extent, dtype)
        return b("DequantizeLinear", weight, scale(b, extent), zero, axis=axis)
    return b("DequantizeLinear", weight, scale(b), zero_point(b, dtype))


def qdq_linear(b: Builder, x: Value) -> Value:
    """A linear layer between quantizers."""
    width, out = x.shape[-1], b.between(1, 40)
    x = quantized(b, x, b.pick(np.int8, np.uint8))
    if b.chance(0.3):
        weight = b("Transpose", stored(b, (out, width), 0), perm=[1, 0])
    else:
        weight = stored(b, (width, out), 1)
    made = b("MatMul", x, weight)
    if b.chance():
        made = b("Add", made, b.constant((b.rng.integers(-50, 50, out) / 8).astype(np.float32)))
    return b("Relu", made) if b.chance(0.3) else made


def qdq_product(b: Builder, x: Value) -> Value:
    """A product of two activations between quantizers: scores."""
    kinds = [b.pick(np.int8, np.uint8) for _ in range(2)]
    right = b("Transpose", x, perm=[*range(len(x.shape) - 2), len(x.shape) - 1, len(x.shape) - 2])
    return b("MatMul", quantized(b, x, kinds[0]), quantized(b, right, kinds[1]))


def qdq_conv(b: Builder, x: Value) -> Value:
    """A convolution between quantizers; x is [B, C, L]."""
    channels, extent = x.shape[1:]
    out, kernel = b.between(1, 9), b.between(1, min(3, extent))
    x = quantized(b, x, b.pick(np.int8, np.uint8))
    group = b.pick(1, channels)
    weight = stored(b, (out * group, channels // group, kernel), 0)
    return b("Conv", x, weight, group=group, pads=[b.between(0, 1), b.between(0, 1)])


def integer_linear(b: Builder, x: Value) -> Value:
    """QuantizeLinear, MatMulInteger, Cast, Mul: an integer product written out."""
    kinds = [b.pick(np.int8, np.uint8), b.pick(np.int8, np.uint8)]
    zero = zero_point(b, kinds[0])
    step = scale(b)
    q = b("QuantizeLinear", x, step, zero)
    width, out = x.shape[-1], b.between(1, 40)
    weight = levels(b, (width, out), kinds[1])
    if b.chance(0.3):
        weight_zero = zero_point(b, kinds[1], (out,))
    else:
        weight_zero = zero_point(b, kinds[1])
    product = b("MatMulInteger", q, weight, zero, weight_zero)
    return b("Mul", b("Cast", product, to=TensorProto.FLOAT), scale(b, b.pick((), (out,))))


def operator_linear(b: Builder, x: Value) -> Value:
    """QuantizeLinear, QLinearMatMul, DequantizeLinear."""
    kind = b.pick(np.int8, np.uint8)
    zero, step = zero_point(b, kind), scale(b)
    q = b("QuantizeLinear", x, step, zero)
    width, out = x.shape[-1], b.between(1, 40)
    # ONNX Runtime has no product of int8 by uint8.
    weight = levels(b, (width, out), np.int8)
    out_zero, out_step = zero_point(b, kind), np.float32(2.0) ** b.between(-2, 4)
    made = b("QLinearMatMul", q, step, zero, weight, scale(b), zero_point(b, np.int8), np.float32(out_step), out_zero)
    return b("DequantizeLinear", made, np.float32(out_step), out_zero)


def bounded(b: Builder, x: Value) -> Value:
    """x brought back to about one, with few bits: requantized to a power of two."""
    step = np.float32(2.0**-4)
    q = b("QuantizeLinear", b("Mul", x, float(2.0 ** -b.between(4, 9))), step, np.array(0, np.int8))
    return b("DequantizeLinear", q, step, np.array(0, np.int8))


def fixed_point(seed: int, opset: int) -> Builder:
    """A chain of quantized layers whose integers must be the reference's to the bit."""
    b = Builder(seed, opset)
    shape = (b.between(1, 3), b.between(1, 30), b.pick(1, b.between(2, 70), b.between(2, 70), 200))
    x = b.input((b.rng.integers(-40, 41, shape) / 16).astype(np.float32))
    for _ in range(b.between(1, 3)):
        layer = b.pick(qdq_linear, qdq_linear, qdq_product, qdq_conv, integer_linear, operator_linear)
        x = bounded(b, layer(b, x))
    b.output(x)
    return b


def dynamic(seed: int, opset: int) -> Builder:
    """DynamicQuantizeLinear and MatMulInteger, as the quantizer of ONNX Runtime writes them."""
    b = Builder(seed, opset)
    x = b.input(b.normal(b.between(1, 3), b.between(1, 40), b.between(1, 70)))
    q, step, zero = b.nodes("DynamicQuantizeLinear", x, outputs=3)
    for _ in range(b.between(1, 2)):
        out = b.between(1, 50)
        kind = b.pick(np.int8, np.uint8)
        weight = levels(b, (x.shape[-1], out), kind)
        per_channel = b.chance()
        weight_zero = zero_point(b, kind, (out,) if per_channel and b.chance() else ())
        product = b("Cast", b("MatMulInteger", q, weight, zero, weight_zero), to=TensorProto.FLOAT)
        steps = np.abs(b.normal(*((out,) if per_channel else ()))) + np.float32(0.1)
        b.output(b("Add", b("Mul", product, b("Mul", step, steps)), b.weight(out)))
    return b


def weights_only(seed: int, opset: int) -> Builder:
    """Layers whose weights alone are 8 bits wide."""
    b = Builder(seed, opset)
    x = b.input(b.normal(b.between(1, 2), b.between(1, 30), b.between(1, 70)))
    for _ in range(b.between(1, 3)):
        width, out = x.shape[-1], b.between(1, 70)
        if b.chance():
            q = b.constant(levels(b, (width, out), np.int8))
            steps = (np.abs(b.normal(*b.pick((1, out), (out,), ()))) + np.float32(0.1)) / np.float32(100)
            weight = b("Mul", b("Cast", q, to=TensorProto.FLOAT), steps)
        else:
            weight = stored(b, (width, out), 1)
        x = b("Tanh", b("MatMul", x, weight))
    b.output(x)
    return b
