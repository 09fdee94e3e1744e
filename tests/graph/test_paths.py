from pathlib import Path

import numpy as np
import pytest
from xdsl.dialects.builtin import f32, i32

from attnc.compiler.importer.model import import_model
from attnc.dialects import nn, sattn
from attnc.dialects.context import CompilerContext
from attnc.dialects.elements import tensor
from attnc.passes.graph.lower.lower_onnx import LowerOnnx
from attnc.passes.graph.pipeline import recognition

WIDTH = 8


def linear(made, x, columns=WIDTH):
    rows = x.type.get_shape()[-1]
    weight = made.constant(np.random.default_rng(made.count).random((rows, columns)))
    return made.map("add", made.add(nn.MatmulOp(x, weight)), made.constant(np.zeros(columns)))


def norm(made, x):
    return made.add(nn.LayerNormOp(x, made.constant(np.ones(WIDTH)), made.constant(np.zeros(WIDTH)), -1, 1e-5))


def attention(made, x, source, causal=False):
    def heads(value):
        return made.add(nn.TransposeOp(made.add(nn.ReshapeOp(value, (1, 4, 2, 4))), (0, 2, 1, 3)))

    q, k, v = heads(linear(made, x)), heads(linear(made, source)), heads(linear(made, source))
    y = made.add(sattn.AttentionOp(q, k, v, scale=0.5, causal=causal))
    return linear(made, made.add(nn.ReshapeOp(made.add(nn.TransposeOp(y, (0, 2, 1, 3))), (1, 4, WIDTH))))


def feed_forward(made, x):
    return linear(made, made.map("gelu", linear(made, x, 16)))


def paths(made, kinds=(nn.MatmulOp, sattn.AttentionOp, nn.LayerNormOp, nn.GatherRowsOp)):
    """The paths of the operations of these kinds, after the graph passes."""
    return [op.attributes["path"].data for op in made.recognise() if isinstance(op, kinds)]


LAYER = ["attention.q", "attention.k", "attention.v", "attention.scores", "attention.out"]


@pytest.mark.parametrize("causal", [False, True])
def test_pre_norm_layers(graph, causal):
    made = graph(tensor(i32, 1, 4))
    x = made.add(nn.GatherRowsOp(made.constant(np.random.default_rng(0).random((9, WIDTH))), made.inputs[0]))
    x = made.map("add", x, made.constant(np.ones((1, 4, WIDTH))))
    for _ in range(2):
        n = norm(made, x)
        x = made.map("add", x, attention(made, n, n, causal))
        x = made.map("add", feed_forward(made, norm(made, x)), x)
    made.done(linear(made, norm(made, x), 9))
    kind = "decoder" if causal else "encoder"
    layer = ["norm1", *LAYER, "norm2", "ffn.up", "ffn.down"]
    expected = [f"{kind}.{i}.{name}" for i in range(2) for name in layer]
    assert paths(made) == ["embedding.table", *expected, "norm", "lm_head"]


def test_post_norm_layers(graph):
    made = graph(tensor(f32, 1, 4, WIDTH))
    x = norm(made, made.inputs[0])
    for _ in range(2):
        x = norm(made, made.map("add", attention(made, x, x), x))
        x = norm(made, made.map("add", feed_forward(made, x), x))
    first = made.add(nn.ReshapeOp(made.add(nn.SliceOp(x, (0, 0, 0), (1, 1, WIDTH))), (1, WIDTH)))
    made.done(linear(made, made.map("tanh", linear(made, first)), 3))
    layer = [*LAYER, "norm1", "ffn.up", "ffn.down", "norm2"]
    expected = [f"encoder.{i}.{name}" for i in range(2) for name in layer]
    assert paths(made) == ["embedding.norm", *expected, "pooler", "classifier"]


def test_an_encoder_and_a_decoder_that_reads_it(graph):
    made = graph(tensor(f32, 1, 4, WIDTH), tensor(f32, 1, 4, WIDTH))
    memory, x = made.inputs
    n = norm(made, memory)
    memory = made.map("add", memory, attention(made, n, n))
    memory = norm(made, made.map("add", memory, feed_forward(made, norm(made, memory))))
    n = norm(made, x)
    x = made.map("add", x, attention(made, n, n, causal=True))
    x = made.map("add", x, attention(made, norm(made, x), memory))
    x = made.map("add", x, feed_forward(made, norm(made, x)))
    made.done(linear(made, norm(made, x), 5))
    found = paths(made)
    assert "encoder.0.attention.q" in found
    assert "decoder.0.attention.scores" in found
    assert "decoder.0.cross_attention.scores" in found
    assert "decoder.0.cross_attention.q" in found
    assert "decoder.0.ffn.down" in found
    assert len(set(found)) == len(found)


def test_gated_feed_forward(graph):
    made = graph(tensor(f32, 1, 4, WIDTH))
    (x,) = made.inputs
    n = norm(made, x)
    x = made.map("add", x, attention(made, n, n))
    n = norm(made, x)
    gate, up = linear(made, n, 16), linear(made, n, 16)
    x = made.map("add", x, linear(made, made.map("mul", made.map("silu", gate), up)))
    made.done(x)
    found = paths(made, (nn.MatmulOp,))
    assert found[-3:] == ["encoder.0.ffn.gate", "encoder.0.ffn.up", "encoder.0.ffn.down"]


def test_a_projection_of_all_three_is_named_for_all(graph):
    made = graph(tensor(f32, 1, 4, WIDTH))
    (x,) = made.inputs
    joined = linear(made, norm(made, x), 3 * WIDTH)
    parts = [made.add(nn.SliceOp(joined, (0, 0, i * WIDTH), (1, 4, WIDTH))) for i in range(3)]
    heads = [made.add(nn.TransposeOp(made.add(nn.ReshapeOp(p, (1, 4, 2, 4))), (0, 2, 1, 3))) for p in parts]
    y = made.add(sattn.AttentionOp(*heads, scale=0.5))
    y = made.add(nn.ReshapeOp(made.add(nn.TransposeOp(y, (0, 2, 1, 3))), (1, 4, WIDTH)))
    made.done(made.map("add", x, linear(made, y)))
    assert paths(made, (nn.MatmulOp,)) == ["encoder.0.attention.qkv", "encoder.0.attention.out"]


def test_every_operation_of_a_real_model_has_a_path():
    context = CompilerContext()
    model = Path(__file__).parents[2] / "examples" / "digits_vit" / "model.onnx"
    module = import_model(model, {"image": (1, 1, 8, 8)}, context=context)
    for step in (LowerOnnx(), *recognition()):
        step.apply(context, module)
    operations = [op for op in module.walk() if isinstance(op, nn.NnOperation)]
    assert all("path" in op.attributes for op in operations)
    scores = [op.attributes["path"].data for op in operations if isinstance(op, sattn.AttentionOp)]
    assert scores == [f"encoder.{i}.attention.scores" for i in range(4)]
    anchors = [op.attributes["path"].data for op in operations if isinstance(op, nn.MatmulOp)]
    assert len(set(anchors)) == len(anchors)
    assert anchors[0] == "embedding.projection"
    assert anchors[-1] == "classifier"
