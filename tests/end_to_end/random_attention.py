"""The Attention, RMSNormalization and RotaryEmbedding operators of opset 23 in all their forms."""

from __future__ import annotations

from typing import Any

import numpy as np

from .model_builder import Builder, Value


def attention_operator(seed: int, dtype: type = np.float32) -> Builder:
    """One Attention node between norms."""
    b = Builder(seed, 23, dtype)
    batch, groups, head = b.between(1, 3), b.between(1, 3), 2 * b.between(1, 12)
    heads, value_head = groups * b.between(1, 3), b.pick(head, b.between(1, 20))
    queries, keys = b.pick(1, b.between(2, 40)), b.between(1, 40)
    past = b.pick(0, 0, b.between(1, 9))
    causal = b.pick(0, 0, 1)
    if past and causal:
        # For another number of new keys than queries ONNX Runtime and the operator's definition part.
        keys = queries
    q = b.input(b.normal(batch, heads, queries, head))
    k, v = b.input(b.normal(batch, groups, keys, head)), b.input(b.normal(batch, groups, keys, value_head))
    attributes: dict[str, Any] = {}
    if b.chance(0.3):
        q, k = _turned(b, q), _turned(b, k)
    if b.chance(0.3):
        q, k = (b("RMSNormalization", x, b.weight(head, scale=1.0), epsilon=1e-5) for x in (q, k))
    if b.chance():
        q, k, v = (_joined(b, x) for x in (q, k, v))
        attributes |= {"q_num_heads": heads, "kv_num_heads": groups}
    total = keys + past
    mask: Value | None = None
    kind = b.pick("none", "bool", "float", "infinite", "row")
    if kind == "bool":
        shape = b.pick((queries, total), (1, 1, queries, total), (batch, heads, queries, total))
        mask = b.input(b.rng.random(shape) < 0.6)
    elif kind == "float":
        mask = b.input(b.normal(*b.pick((queries, total), (batch, 1, queries, total))))
    elif kind == "infinite":
        kept = b.rng.random((batch, 1, queries, total)) < 0.6
        mask = b.input(np.where(kept, 0, -np.inf).astype(b.dtype))
    elif kind == "row":
        kept = np.ones((queries, total), np.bool_)
        kept[-1] = False
        mask = b.input(kept)
    attributes["is_causal"] = causal
    if b.chance(0.3):
        attributes["scale"] = float(b.pick(0.1, 1.0, 0.37))
    if b.chance(0.3):
        attributes["softcap"] = float(b.pick(2.0, 30.0))
    operands = [q, k, v]
    if past:
        operands += [
            mask,
            b.input(b.normal(batch, groups, past, head)),
            b.input(b.normal(batch, groups, past, value_head)),
        ]
        results = b.nodes("Attention", *operands, outputs=3, **attributes)
    else:
        results = b.nodes("Attention", *operands, mask, **attributes)
    for result in results:
        b.output(result)
    return b


def _joined(b: Builder, x: Value) -> Value:
    batch, heads, tokens, head = x.shape
    return b("Reshape", b("Transpose", x, perm=[0, 2, 1, 3]), [batch, tokens, heads * head])


def _turned(b: Builder, x: Value) -> Value:
    batch, _, tokens, head = x.shape
    half = b.pick(head, 2 * b.between(1, head // 2))
    shape = (50, half // 2)
    places = b.input(b.rng.integers(0, 50, (batch, tokens)))
    return b(
        "RotaryEmbedding",
        x,
        b.normal(*shape),
        b.normal(*shape),
        places,
        interleaved=b.pick(0, 1),
        **({"rotary_embedding_dim": half} if half != head else {}),
    )
