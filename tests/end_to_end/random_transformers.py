"""Random Transformers: the ways in which exporters write embeddings, norms, attention and feed-forward layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from .model_builder import FLOAT_CODES, Builder, Value

LOWEST = -3.4028234663852886e38
"""What exporters add to masked scores: finite, so that a row with nothing to see becomes uniform."""


@dataclass(frozen=True)
class Sizes:
    """Of one Transformer: batch, tokens, query heads, key heads, width of a head, width of the model."""

    batch: int
    tokens: int
    heads: int
    groups: int
    head: int
    width: int


def draw_sizes(b: Builder, longest: int) -> Sizes:
    """Odd sizes of every kind, small enough to run in a moment."""
    heads = b.between(1, 5)
    groups = b.pick(*[g for g in range(1, heads + 1) if heads % g == 0])
    tokens = b.pick(1, 2, b.between(3, 20), b.between(20, 70), longest)
    head = 2 * b.between(1, 9) if tokens <= 70 else 2 * b.between(1, 4)
    width = b.pick(heads * head, b.between(3, 70))
    return Sizes(b.between(1, 3) if tokens <= 70 else 1, tokens, heads, groups, head, width)


def linear(b: Builder, x: Value, out: int, bias: bool = True) -> Value:
    """x @ W (+ bias), as MatMul and Add or as Gemm between reshapes."""
    width = x.shape[-1]
    if b.chance(0.25):
        rows = int(np.prod(x.shape[:-1]))
        flat = b("Reshape", x, [-1, width])
        transposed = b.chance()
        weight = b.weight(out, width, scale=width**-0.5) if transposed else b.weight(width, out)
        made = b("Gemm", flat, weight, *([b.weight(out)] if bias else []), transB=int(transposed))
        assert made.shape == (rows, out)
        return b("Reshape", made, [*x.shape[:-1], out])
    if b.chance(0.2):
        weight = b("Transpose", b.weight(out, width, scale=width**-0.5), perm=[1, 0])
    else:
        weight = b.weight(width, out)
    made = b("MatMul", x, weight)
    if not bias:
        return made
    return b("Add", made, b.weight(out)) if b.chance(0.7) else b("Add", b.weight(out), made)


def norm(b: Builder, x: Value) -> Value:
    """A layer or RMS norm in one of its spellings."""
    width = x.shape[-1]
    scale, bias = b.constant(1 + b.normal(width, scale=0.1)), b.weight(width)
    kinds = ["mean_sub", "rms_div", "rms_mul", "none"]
    if b.opset >= 17:
        kinds += ["layer", "layer", "layer_plain"]
    if b.opset >= 23:
        kinds += ["rms", "rms"]
    kind = b.pick(*kinds)
    epsilon = b.pick(1e-5, 1e-12, 1e-6)
    if b.dtype != np.float32:
        # The smaller ones are zero in 16 bits.
        epsilon = 1e-3
    if kind == "none":
        return x
    if kind == "layer":
        return b("LayerNormalization", x, scale, bias, epsilon=epsilon)
    if kind == "layer_plain":
        return b("LayerNormalization", x, scale, axis=len(x.shape) - 1, epsilon=epsilon)
    if kind == "rms":
        return b("RMSNormalization", x, scale, epsilon=epsilon)
    if kind == "mean_sub":
        centred = b("Sub", x, b.reduce("Mean", x, [-1]))
        square = b("Pow", centred, 2.0) if b.chance() else b("Mul", centred, centred)
        root = b("Sqrt", b("Add", b.reduce("Mean", square, [-1]), float(epsilon)))
        return b("Add", b("Mul", b("Div", centred, root), scale), bias)
    square = b("Pow", x, 2.0)
    root = b("Sqrt", b("Add", b.reduce("Mean", square, [-1]), float(epsilon)))
    if kind == "rms_div":
        return b("Mul", b("Div", x, root), scale)
    return b("Mul", scale, b("Mul", x, b("Reciprocal", root)))


def activation(b: Builder, x: Value) -> Value:
    """An activation function in one of its spellings."""
    kinds = ["erf_div", "erf_mul", "tanh", "quick", "relu", "silu", "tanh_only", "clip", "leaky", "hard"]
    if b.opset >= 20:
        kinds += ["gelu", "gelu_tanh"]
    kind = b.pick(*kinds)
    if kind == "gelu":
        return b("Gelu", x)
    if kind == "gelu_tanh":
        return b("Gelu", x, approximate="tanh")
    if kind == "erf_div":
        inner = b("Add", b("Erf", b("Div", x, float(np.sqrt(2)))), 1.0)
        return b("Mul", b("Mul", x, inner), 0.5)
    if kind == "erf_mul":
        inner = b("Add", b("Erf", b("Mul", x, float(np.sqrt(0.5)))), 1.0)
        return b("Mul", b("Mul", x, 0.5), inner)
    if kind == "tanh":
        cube = b("Mul", b("Pow", x, 3.0), 0.044715)
        inner = b("Tanh", b("Mul", b("Add", x, cube), float(np.sqrt(2 / np.pi))))
        return b("Mul", b("Mul", x, 0.5), b("Add", inner, 1.0))
    if kind == "quick":
        return b("Mul", x, b("Sigmoid", b("Mul", x, 1.702)))
    if kind == "relu":
        return b("Relu", x)
    if kind == "silu":
        return b("Mul", x, b("Sigmoid", x))
    if kind == "clip":
        return b("Clip", x, -0.5, 0.7)
    if kind == "leaky":
        return b("LeakyRelu", x, alpha=0.1)
    if kind == "hard":
        return b("HardSigmoid", x, alpha=0.2, beta=0.4)
    return b("Tanh", x)


def feed_forward(b: Builder, x: Value) -> Value:
    """Two linear layers with an activation between them, now and then gated."""
    hidden = b.pick(b.between(1, 70), 4 * x.shape[-1])
    up = activation(b, linear(b, x, hidden))
    if b.chance(0.3):
        up = b("Mul", up, linear(b, x, hidden, bias=False))
    return linear(b, up, x.shape[-1])


def heads_of(b: Builder, x: Value, heads: int, head: int) -> Value:
    """[B, L, heads * head] -> [B, heads, L, head]."""
    batch, tokens = x.shape[:2]
    split = b("Reshape", x, b.pick([batch, tokens, heads, head], [0, 0, heads, head], [batch, -1, heads, head]))
    return b("Transpose", split, perm=[0, 2, 1, 3])


def rotate(b: Builder, x: Value) -> Value:
    """Rotary positions as Slice, Neg, Concat, Mul, Add."""
    tokens, head = x.shape[2:]
    angles = np.arange(tokens)[:, None] * (10000.0 ** -(np.arange(head // 2) / (head // 2)))[None]
    angles = np.concatenate([angles, angles], axis=-1)[None, None]
    low = b("Slice", x, [0], [head // 2], [3])
    high = b("Slice", x, [head // 2], [b.pick(head, 2**63 - 1)], [b.pick(3, -1)])
    turned = b("Concat", b("Neg", high), low, axis=-1)
    cosine, sine = np.cos(angles).astype(b.dtype), np.sin(angles).astype(b.dtype)
    return b("Add", b("Mul", x, cosine), b("Mul", turned, sine))


def repeat_groups(b: Builder, x: Value, heads: int) -> Value:
    """Each key head once for every query head that shares it."""
    batch, groups, tokens, head = x.shape
    if groups == heads:
        return x
    wide = b.unsqueeze(x, [2])
    wide = b("Expand", wide, [batch, groups, heads // groups, tokens, head])
    return b("Reshape", wide, [batch, heads, tokens, head])


@dataclass(frozen=True)
class Mask:
    """What hides scores: `additive` is added to them; where `keep` is false they become `fill`."""

    additive: Value | None = None
    keep: Value | None = None
    fill: float = float("-inf")


def draw_mask(b: Builder, batch: int, heads: int, queries: int, keys: int) -> Mask:
    """A mask in one of its spellings, with or without rows that see nothing."""
    kind = b.pick("none", "none", "tokens", "tokens", "rows", "causal", "bias", "keep", "bool", "less")
    fill = b.pick(float("-inf"), LOWEST, -1000.0)
    if b.dtype != np.float32:
        # Added to scores in 16 bits, a finite one leaves nothing of them: a matter of rounding alone.
        fill = float("-inf")
    if kind == "none":
        return Mask()
    if kind in ("tokens", "rows"):
        shape = (batch, keys) if kind == "tokens" else (batch, 1, queries, keys)
        kept = b.rng.random(shape) < b.pick(0.3, 0.7)
        if b.chance(0.5):
            kept[..., 0] = True
        else:
            kept[(0,) * (len(shape) - 1)] = False
        # As transformers writes it: (1 - mask) * lowest; with infinity as Where, for 0 * inf is NaN.
        given = b.input(kept.astype(np.int64))
        wide = b.unsqueeze(given, [1, 2]) if kind == "tokens" else given
        if b.chance() and np.isfinite(fill):
            inverted = b("Sub", 1.0, b("Cast", wide, to=FLOAT_CODES[b.dtype]))
            return Mask(additive=b("Mul", inverted, fill))
        keep = b("Cast", wide, to=TensorProto.BOOL)
        if b.chance():
            return Mask(keep=keep, fill=fill)
        return Mask(additive=b("Where", keep, 0.0, fill))
    if kind == "causal":
        seen = np.tril(np.ones((queries, keys), np.bool_), keys - queries)
        if b.chance():
            return Mask(additive=b.constant(np.where(seen, 0, fill).astype(b.dtype)[None, None]))
        return Mask(keep=b.constant(seen), fill=fill)
    if kind == "bias":
        return Mask(additive=b.weight(1, heads, queries, keys, scale=1.0))
    if kind == "less":
        ends = b.input(b.rng.integers(0, keys + 1, (batch, 1, 1, 1)))
        return Mask(keep=b("Less", np.arange(keys)[None, None, None], ends), fill=fill)
    kept = b.rng.random((batch, b.pick(1, heads), queries, keys)) < 0.6
    if kind == "keep":
        return Mask(keep=b.input(kept), fill=fill)
    causal = b.constant(np.tril(np.ones((1, 1, queries, keys), np.bool_)))
    return Mask(keep=b("And", b.input(kept), causal), fill=fill)


def masked(b: Builder, scores: Value, mask: Mask) -> Value:
    """Scores with their mask."""
    if mask.keep is not None:
        if b.chance(0.4):
            return b("Where", b("Not", mask.keep), mask.fill, scores)
        return b("Where", mask.keep, scores, mask.fill)
    if mask.additive is not None:
        return b("Add", scores, mask.additive)
    return scores


def softmax(b: Builder, scores: Value) -> Value:
    """Softmax over keys, now and then guarded against rows that see nothing."""
    weights = b("Softmax", scores, axis=b.pick(-1, 3))
    if b.chance(0.3):
        guarded = b("Where", b("IsNaN", weights), 0.0, weights)
        return b("Cast", guarded, to=FLOAT_CODES[b.dtype]) if b.chance(0.2) else guarded
    return weights


def attention(b: Builder, x: Value, source: Value, sizes: Sizes) -> Value:
    """Attention of x over `source` (itself, or another sequence), written out."""
    batch, queries, keys = x.shape[0], x.shape[1], source.shape[1]
    heads, groups, head = sizes.heads, sizes.groups, sizes.head
    if x is source and groups == heads and b.chance(0.4):
        fused = linear(b, x, 3 * heads * head)
        q, k, v = b.split(fused, b.pick(2, -1), [heads * head] * 3)
    else:
        q = linear(b, x, heads * head)
        k, v = (linear(b, source, groups * head, bias=b.chance()) for _ in range(2))
    q, k, v = heads_of(b, q, heads, head), heads_of(b, k, groups, head), heads_of(b, v, groups, head)
    if queries == keys and head % 2 == 0 and b.chance(0.25):
        q, k = rotate(b, q), rotate(b, k)
    k, v = repeat_groups(b, k, heads), repeat_groups(b, v, heads)
    k = b("Transpose", k, perm=[0, 1, 3, 2])
    where = b.pick("both", "q", "after", "divide", "none")
    if where == "both":
        q, k = b("Mul", q, head**-0.25), b("Mul", k, head**-0.25)
    elif where == "q":
        q = b("Mul", q, head**-0.5)
    scores = b("MatMul", q, k)
    if where == "after":
        scores = b("Mul", scores, head**-0.5)
    elif where == "divide":
        scores = b("Div", scores, head**0.5)
    if b.chance(0.15):
        scores = b("Mul", b("Tanh", b("Div", scores, 5.0)), 5.0)
    mask = draw_mask(b, batch, heads, queries, keys)
    weights = softmax(b, masked(b, scores, mask))
    if b.chance(0.1) and batch * queries * keys < 3000:
        b.output(weights)
    merged = b("Transpose", b("MatMul", weights, v), perm=[0, 2, 1, 3])
    merged = b("Reshape", merged, b.pick([batch, queries, heads * head], [0, 0, heads * head]))
    return linear(b, merged, x.shape[-1])


def block(b: Builder, x: Value, sizes: Sizes, source: Value | None = None) -> Value:
    """A layer, norms before or behind."""
    pre = b.chance()
    for part in ("self", "cross", "ffn"):
        if part == "cross" and source is None:
            continue
        inner = norm(b, x) if pre else x
        if part == "ffn":
            made = feed_forward(b, inner)
        else:
            made = attention(b, inner, inner if source is None or part == "self" else source, sizes)
        x = b("Add", x, made) if b.chance() else b("Add", made, x)
        x = x if pre else norm(b, x)
    return x


def embed(b: Builder, sizes: Sizes) -> Value:
    """Tokens: from floats, from ids (negative ones count from the end), or from an image's patches."""
    batch, tokens, width = sizes.batch, sizes.tokens, sizes.width
    kind = b.pick("floats", "ids", "ids", "patches")
    if kind == "floats":
        return b.input(b.normal(batch, tokens, width))
    if kind == "ids":
        words = b.between(2, 60)
        ids = b.rng.integers(-words, words, (batch, tokens)).astype(b.pick(np.int64, np.int32))
        x = b("Gather", b.weight(words, width, scale=1.0), b.input(ids), axis=0)
        if b.chance():
            x = b("Add", x, b("Gather", b.weight(tokens + 2, width, scale=1.0), np.arange(tokens)[None]))
        return x
    side, channels = b.between(1, 4), b.pick(1, 3)
    image = b.input(b.normal(batch, channels, side, side * tokens))
    weight = b.weight(width, channels, side, side, scale=(channels * side * side) ** -0.5)
    patches = b("Conv", image, weight, b.weight(width), kernel_shape=[side, side], strides=[side, side])
    flat = b("Reshape", patches, b.pick([batch, width, -1], [0, 0, -1]))
    return b("Transpose", flat, perm=[0, 2, 1])


def head(b: Builder, x: Value) -> Value:
    """What is made of the tokens at the end."""
    kind = b.pick("all", "first", "slice", "mean", "last")
    if kind == "first":
        x = b("Gather", x, np.array(0, np.int64), axis=1)
    elif kind == "last":
        x = b("Gather", x, np.array(-1, np.int64), axis=1)
    elif kind == "slice":
        x = b.squeeze(b("Slice", x, [0], [1], [1]), [1])
    elif kind == "mean":
        x = b.reduce("Mean", x, [1], keepdims=b.pick(0, 1))
    return linear(b, norm(b, x), b.between(1, 70)) if b.chance(0.7) else x


def transformer(seed: int, opset: int, dtype: type = np.float32, longest: int = 70) -> Builder:
    """An encoder or decoder of one or two layers."""
    b = Builder(seed, opset, dtype)
    sizes = draw_sizes(b, longest)
    x = embed(b, sizes)
    source = None
    if b.chance(0.25):
        source = b.input(b.normal(sizes.batch, b.between(1, 40), b.between(2, 40)))
    for _ in range(b.between(1, 2) if sizes.tokens <= 70 else 1):
        x = block(b, x, sizes, source)
    b.output(head(b, x))
    return b
