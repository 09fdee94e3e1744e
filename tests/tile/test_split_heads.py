"""Attention in groups of heads: the values of the whole, and only where softmax outlasts the products."""

import numpy as np
from xdsl.dialects.builtin import i8

from attnc.dialects import bnn, nn, sattn
from attnc.dialects.bnn_types import bipolar
from attnc.dialects.constants import RefAttr
from attnc.dialects.elements import shape_of, tensor

TOKENS, HEADS, WIDTH = 96, 4, 64
CHANNELS = HEADS * WIDTH


def signs(seed, *shape):
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), shape)


def constant(array):
    return nn.ConstantOp(array).result


def bits(value, threshold):
    return bnn.PackOp(nn.MapOp("ge", [value, threshold]).result, bipolar).result


def heads(value):
    split = nn.ReshapeOp(value, (1, TOKENS, HEADS, WIDTH)).result
    return nn.TransposeOp(split, (0, 2, 1, 3)).result


def attention(x, keys_are_queries=False):
    """A layer's attention with its projections; values are made along tokens, the result is read as rows."""
    depths = [shape_of(x)[-1]] * 3 + [CHANNELS]
    x = bnn.PackOp(x, bipolar).result
    weights = [
        nn.ConstantOp(RefAttr(name), tensor(bipolar, CHANNELS, depth)).result
        for name, depth in zip("qkvo", depths, strict=True)
    ]
    thresholds = np.arange(CHANNELS, dtype=np.int32) % 7 - 3
    q, k = (bits(bnn.MatmulOp(x, weight).result, constant(thresholds)) for weight in weights[:2])
    by_channel = nn.ReshapeOp(constant(thresholds), (1, CHANNELS, 1)).result
    v = bits(bnn.MatmulOp(weights[2], x).result, by_channel)
    v = nn.ReshapeOp(v, (1, HEADS, WIDTH, TOKENS)).result
    one, limit = (constant(np.full((1, 1, 1, 1), number, np.float32)) for number in (1.0, 0.01))
    scales = {"q_scale": one, "k_scale": one, "v_scale": one}
    keys = heads(q if keys_are_queries else k)
    mixed = sattn.AttentionOp(heads(q), keys, v, scale=0.1, p_thresholds=limit, p_levels=1, **scales).result
    made = bnn.PackOp(nn.MapOp("ge", [mixed, constant(np.zeros((1, 1, 1, 1), np.float32))]).result, bipolar).result
    rows = nn.ReshapeOp(nn.TransposeOp(made, (0, 2, 1, 3)).result, (1, TOKENS, CHANNELS)).result
    return [bnn.MatmulOp(rows, weights[3]).result]


def kernels(tiling, body, depth=CHANNELS):
    """The kinds of kernels that a layer of `depth` channels becomes, whose values are those of the whole."""
    context = tiling.context()
    for seed, name in enumerate("qkvo"):
        context.store.add(name, signs(seed, CHANNELS, CHANNELS if name == "o" else depth))
    module = tiling.module([(i8, (1, TOKENS, depth))], body)
    found = tiling.check(module, [signs(3, 1, TOKENS, depth)], context=context)
    kinds = [kernel.label.data.split("_")[0] for kernel in found]
    return [kind for kind in kinds if kind != "rowwise"]


def test_groups_of_heads_have_projections_of_their_own(tiling):
    # Products of 2048 channels keep the array busier than the vector engine.
    group = [*["matmul"] * 3, "attention"]
    assert kernels(tiling, attention, depth=2048) == [*group, *group, "matmul"]


def test_groups_are_narrow_and_projections_early_where_the_vector_engine_is_as_busy_as_the_array(tiling):
    projections, attend = ["matmul"] * 3, "attention"
    first, next_one = [*projections, *projections, attend], [*projections, attend]
    assert kernels(tiling, attention) == [*first, *next_one, *next_one, attend, "matmul"]


def test_what_others_read_is_made_once(tiling):
    made = kernels(tiling, lambda x: attention(x, keys_are_queries=True))
    assert made.count("attention") == 1
