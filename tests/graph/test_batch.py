import numpy as np
import pytest
from xdsl.dialects.builtin import f32, i32

from attnc.dialects import nn, sattn
from attnc.dialects.elements import tensor
from attnc.passes.graph.batch import batch_dependence


def answer(made):
    return batch_dependence(made.module, made.context.store)


@pytest.mark.parametrize("samples", [1, 3])
def test_an_encoder_is_batchable(graph, samples):
    made = graph(tensor(i32, samples, 5), tensor(i32, samples, 5))
    x = made.add(nn.GatherRowsOp(made.constant(np.zeros((10, 8))), made.inputs[0]))
    flat = made.add(nn.ReshapeOp(x, (samples * 5, 8)))
    flat = made.add(nn.MatmulOp(flat, made.constant(np.zeros((8, 8)))))
    heads = made.add(nn.TransposeOp(made.add(nn.ReshapeOp(flat, (samples, 5, 2, 4))), (0, 2, 1, 3)))
    mask = made.map("sub", 1.0, made.add(nn.CastOp(made.add(nn.ReshapeOp(made.inputs[1], (samples, 1, 1, 5))), f32)))
    y = made.add(sattn.AttentionOp(heads, heads, heads, mask, scale=0.5))
    y = made.add(nn.ReshapeOp(made.add(nn.TransposeOp(y, (0, 2, 1, 3))), (samples, 5, 8)))
    first = made.add(nn.BroadcastOp(made.constant(np.zeros((1, 1, 8))), (samples, 1, 8)))
    y = made.add(nn.LayerNormOp(made.add(nn.ConcatOp((first, y), 1)), None, None, -1, 1e-5))
    made.done(made.add(nn.ReshapeOp(made.add(nn.ReduceOp("mean", y, (1,))), (samples, 8))))
    assert answer(made).is_batchable


def test_heads_in_the_batch_axis_are_batchable(graph):
    made = graph(tensor(f32, 2, 6, 5, 4))
    (x,) = made.inputs
    flat = made.add(nn.ReshapeOp(x, (12, 5, 4)))
    weights = made.add(nn.SoftmaxOp(made.add(nn.MatmulOp(flat, flat, True)), -1))
    made.done(made.add(nn.ReshapeOp(made.add(nn.MatmulOp(weights, flat)), (2, 6, 5, 4))))
    assert answer(made).is_batchable


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("reduce", "nn.reduce mixes samples"),
        ("softmax", "nn.softmax mixes samples"),
        ("slice", "nn.slice takes some samples only"),
        ("concat", "nn.concat joins samples with others"),
        ("constant", "nn.map treats samples by their place in the batch"),
        ("product", "nn.matmul multiplies samples by one another"),
        ("transpose", "output 0 does not hold a sample per index of its first axis"),
        ("range", "nn.dynamic_quantize is not understood"),
        ("reverse", "nn.slice takes some samples only"),
    ],
)
def test_what_mixes_samples_is_named(graph, name, reason):
    made = graph(tensor(f32, 3, 3))
    (x,) = made.inputs
    made.done(
        {
            "reduce": lambda: made.map("sub", x, made.add(nn.ReduceOp("mean", x, (0,)))),
            "softmax": lambda: made.add(nn.SoftmaxOp(x, 0)),
            "slice": lambda: made.map("add", x, made.add(nn.SliceOp(x, (0, 0), (1, 3)))),
            "concat": lambda: made.add(nn.SliceOp(made.add(nn.ConcatOp((x, x), 0)), (0, 0), (3, 3))),
            "constant": lambda: made.map("add", x, made.constant(np.arange(9).reshape(3, 3))),
            "product": lambda: made.add(nn.MatmulOp(x, x, True)),
            "transpose": lambda: made.add(nn.TransposeOp(x, (1, 0))),
            "range": lambda: made.add(nn.CastOp(made.add(nn.DynamicQuantizeOp(x)), f32)),
            "reverse": lambda: made.add(nn.SliceOp(x, (2, 0), (3, 3), (-1, 1))),
        }[name]()
    )
    found = answer(made)
    assert not found.is_batchable
    assert found.reason == reason
