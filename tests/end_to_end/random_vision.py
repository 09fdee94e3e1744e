"""Random image and signal models: convolutions of every kind, pooling, batch norms."""

from __future__ import annotations

from typing import Any

import numpy as np

from .model_builder import Builder, Value


def convolution(b: Builder, x: Value) -> Value:
    """A convolution of drawn group, kernel, stride, dilation and padding that fits the image."""
    channels, spatial = x.shape[1], x.shape[2:]
    group = b.pick(1, 1, channels, *[g for g in range(1, channels + 1) if channels % g == 0])
    out = group * b.between(1, 5 if group > 1 else 20)
    attributes: dict[str, Any] = {"group": group}
    kernel = [b.between(1, min(4, extent)) for extent in spatial]
    if b.chance():
        attributes["dilations"] = [
            b.between(1, max(1, (extent - 1) // max(1, k - 1))) if k > 1 else 1
            for extent, k in zip(spatial, kernel, strict=True)
        ]
        attributes["dilations"] = [min(d, 3) for d in attributes["dilations"]]
    if b.chance(0.7):
        attributes["strides"] = [b.between(1, 3) for _ in spatial]
    padding = b.pick("none", "pads", "pads", "upper", "lower", "valid")
    if padding == "pads":
        attributes["pads"] = [b.between(0, k) for k in kernel * 2]
    elif padding != "none" and "dilations" not in attributes:
        attributes["auto_pad"] = {"upper": "SAME_UPPER", "lower": "SAME_LOWER", "valid": "VALID"}[padding]
    if b.chance():
        attributes["kernel_shape"] = kernel
    fan = channels // group * int(np.prod(kernel))
    weight = b.weight(out, channels // group, *kernel, scale=fan**-0.5)
    return b("Conv", x, weight, *([b.weight(out)] if b.chance() else []), **attributes)


def pool(b: Builder, x: Value) -> Value:
    """A pooling, or a global one."""
    kind = b.pick("MaxPool", "MaxPool", "AveragePool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
    if kind.startswith("Global"):
        return b(kind, x) if b.chance(0.4) else x
    kernel = [b.between(1, min(3, extent)) for extent in x.shape[2:]]
    attributes: dict[str, Any] = {"kernel_shape": kernel}
    if b.chance(0.7):
        attributes["strides"] = [b.between(1, 3) for _ in kernel]
    if b.chance():
        attributes["pads"] = [b.between(0, k - 1) for k in kernel * 2]
    elif b.chance(0.3) and all(s <= k for s, k in zip(attributes.get("strides", [1] * 2), kernel, strict=False)):
        # With strides beyond the kernel ONNX Runtime computes paddings below zero, and refuses them.
        attributes["auto_pad"] = b.pick("SAME_UPPER", "SAME_LOWER")
    if b.chance(0.3) and "auto_pad" not in attributes:
        attributes["ceil_mode"] = 1
    if kind == "AveragePool" and b.chance():
        attributes["count_include_pad"] = 1
    return b(kind, x, **attributes)


def batch_norm(b: Builder, x: Value) -> Value:
    """A batch norm with drawn statistics."""
    channels = x.shape[1]
    variance = np.abs(b.normal(channels)) + b.dtype.type(0.3)
    return b("BatchNormalization", x, *(b.weight(channels) for _ in range(3)), b.constant(variance))


def mix_channels(b: Builder, x: Value) -> Value:
    """Layout steps of vision models: shuffles, concatenations, transposed norms."""
    channels = x.shape[1]
    kind = b.pick("concat", "shuffle", "last", "instance", "group")
    if kind == "concat":
        return b("Concat", x, b("Neg", x), axis=1)
    if kind == "shuffle" and channels % 2 == 0:
        split = b("Reshape", x, [x.shape[0], 2, channels // 2, *x.shape[2:]])
        return b("Reshape", b("Transpose", split, perm=[0, 2, 1, *range(3, len(split.shape))]), list(x.shape))
    if kind == "last" and b.opset >= 17:
        last = b("Transpose", x, perm=[0, *range(2, len(x.shape)), 1])
        made = b("LayerNormalization", last, b.weight(channels), b.weight(channels), axis=-1)
        return b("Transpose", made, perm=[0, len(x.shape) - 1, *range(1, len(x.shape) - 1)])
    if kind == "instance":
        return b("InstanceNormalization", x, b.weight(channels), b.weight(channels))
    if kind == "group" and b.opset >= 21 and channels % 2 == 0:
        return b("GroupNormalization", x, b.weight(channels), b.weight(channels), num_groups=2)
    return x


def vision(seed: int, opset: int) -> Builder:
    """A stack of two to six layers over a signal or an image."""
    b = Builder(seed, opset)
    spatial = [b.between(3, 70)] if b.chance(0.3) else [b.between(2, 20), b.between(2, 33)]
    x = b.input(b.normal(b.between(1, 3), b.between(1, 8), *spatial))
    for _ in range(b.between(2, 6)):
        kind = b.pick("conv", "conv", "conv", "pool", "norm", "mix", "act")
        if kind == "conv" and x.shape[1] < 60:
            x = convolution(b, x)
        elif kind == "pool":
            x = pool(b, x)
        elif kind == "norm":
            x = batch_norm(b, x)
        elif kind == "mix":
            x = mix_channels(b, x)
        elif kind == "act":
            slopes = b.constant(b.normal(x.shape[1], *[1] * (len(x.shape) - 2)))
            x = b.pick(b("Relu", x), b("Sigmoid", x), b("PRelu", x, slopes))
    b.output(x)
    return b
