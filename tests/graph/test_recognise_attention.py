import numpy as np
import pytest
from xdsl.dialects.builtin import f16, f32, i32

from attnc.dialects import nn, sattn
from attnc.dialects.elements import tensor

BATCH, ROWS, HEADS, WIDTH = 2, 5, 4, 16
LEAST = float(np.finfo(np.float32).min)
TRIANGLE = np.tri(ROWS, dtype=np.bool_)


def with_heads(made, value, heads=HEADS):
    batch, rows, width = value.type.get_shape()
    split = made.add(nn.ReshapeOp(value, (batch, rows, heads, width // heads)))
    return made.add(nn.TransposeOp(split, (0, 2, 1, 3)))


def operands(graph, *more):
    made = graph(*[tensor(f32, BATCH, ROWS, HEADS * WIDTH)] * 3, *more)
    return made, [with_heads(made, value) for value in made.inputs[:3]]


def turned(made, keys):
    rank = len(keys.type.get_shape())
    return made.add(nn.TransposeOp(keys, (*range(rank - 2), rank - 1, rank - 2)))


def finished(made, scores, values, guarded=False):
    weights = made.add(nn.SoftmaxOp(scores, -1))
    if guarded:
        weights = made.map("select", made.map("is_nan", weights), 0.0, weights)
    return made.add(nn.MatmulOp(weights, values))


def only_attention(operations) -> sattn.AttentionOp:
    (found,) = [op for op in operations if isinstance(op, sattn.AttentionOp)]
    assert not any(isinstance(op, nn.MatmulOp | nn.SoftmaxOp) for op in operations)
    return found


@pytest.mark.parametrize("spelling", ["divided", "multiplied", "on both operands", "none"])
def test_the_scale_is_merged(graph, same_values, spelling):
    made, (q, k, v) = operands(graph)
    if spelling == "on both operands":
        q, keys = made.map("mul", q, 0.5), made.map("mul", turned(made, k), 0.5)
    else:
        keys = turned(made, k)
    scores = made.add(nn.MatmulOp(q, keys))
    if spelling == "divided":
        scores = made.map("div", scores, 4.0)
    if spelling == "multiplied":
        scores = made.map("mul", 0.25, scores)
    made.done(finished(made, scores, v))
    found = only_attention(same_values(made))
    assert found.scale.value.data == (1.0 if spelling == "none" else 0.25)
    assert found.mask is None


@pytest.mark.parametrize(
    ("mask", "fill"),
    [(np.where(TRIANGLE, 0, LEAST), None), (np.where(TRIANGLE, 0, -np.inf), None), (TRIANGLE, -np.inf)],
)
def test_a_triangle_is_causal(graph, same_values, mask, fill):
    made, (q, k, v) = operands(graph)
    scores = made.add(nn.MatmulOp(q, turned(made, k)))
    if fill is None:
        scores = made.map("add", scores, made.constant(mask.reshape(1, 1, ROWS, ROWS)))
    else:
        scores = made.map("select", made.constant(mask, np.bool_), scores, fill)
    made.done(finished(made, scores, v))
    found = only_attention(same_values(made))
    assert found.causal is not None
    assert found.causal_offset.value.data == 0
    assert found.mask is None


def test_fewer_queries_than_keys_are_the_last_ones(graph, same_values):
    made = graph(tensor(f32, 1, 1, 2, 8), tensor(f32, 1, 1, 6, 8))
    q, k = made.inputs
    scores = made.add(nn.MatmulOp(q, k, True))
    mask = made.constant(np.where(np.tri(2, 6, 4, dtype=np.bool_), 0, -np.inf))
    made.done(finished(made, made.map("add", scores, mask), k))
    assert only_attention(same_values(made)).causal_offset.value.data == 4


def test_a_row_without_keys_keeps_a_constant_mask(graph, same_values):
    made, (q, k, v) = operands(graph)
    hidden = np.tri(ROWS, ROWS, -1, dtype=np.bool_)
    scores = made.add(nn.MatmulOp(q, turned(made, k)))
    made.done(finished(made, made.map("select", made.constant(hidden, np.bool_), scores, -np.inf), v))
    found = only_attention(same_values(made))
    assert found.mask is not None
    assert found.empty_row.data == nn.EmptyRow.NAN


@pytest.mark.parametrize("guarded", [False, True])
@pytest.mark.parametrize("fill", [-np.inf, LEAST, -1e9, -1e4])
def test_fully_masked_rows_stay_what_they_are(graph, same_values, fill, guarded):
    made, (q, k, v) = operands(graph)
    visible = np.random.default_rng(1).random((BATCH, 1, ROWS, ROWS)) > 0.5
    visible[0, 0, 2] = False
    scores = made.add(nn.MatmulOp(q, turned(made, k)))
    scores = made.map("select", made.map("not", made.constant(visible, np.bool_)), fill, scores)
    made.done(finished(made, scores, v, guarded))
    found = only_attention(same_values(made))
    assert found.fill.value.data == np.float32(fill)


def test_a_padding_mask_from_an_input_is_added(graph, same_values):
    made, (q, k, v) = operands(graph, tensor(i32, BATCH, ROWS))
    kept = made.add(nn.CastOp(made.add(nn.ReshapeOp(made.inputs[3], (BATCH, 1, 1, ROWS))), f32))
    mask = made.map("mul", made.map("sub", 1.0, kept), LEAST)
    scores = made.map("add", made.add(nn.MatmulOp(q, turned(made, k))), mask)
    made.done(finished(made, scores, v))
    inputs = made.random_inputs()
    inputs[3] = np.array([[1, 1, 1, 0, 0], [0] * 5], np.int32)
    found = only_attention(same_values(made, inputs))
    assert found.mask is not None
    assert found.mask.type.get_shape() == (BATCH, 1, 1, ROWS)


def test_a_triangle_and_a_padding_mask_are_summed(graph, same_values):
    made, (q, k, v) = operands(graph, tensor(f32, BATCH, 1, 1, ROWS))
    scores = made.add(nn.MatmulOp(q, turned(made, k)))
    scores = made.map("select", made.constant(TRIANGLE, np.bool_), scores, LEAST)
    made.done(finished(made, made.map("add", scores, made.inputs[3]), v))
    inputs = made.random_inputs()
    inputs[3] = np.where(np.array([[0, 0, 1, 1, 1], [1, 1, 1, 1, 0]]) > 0, 0, LEAST).reshape(2, 1, 1, 5)
    inputs[3] = inputs[3].astype(np.float32)
    found = only_attention(same_values(made, inputs))
    assert found.causal is None
    assert found.mask is not None


def test_masks_that_cannot_be_one_prevent_fusion(graph, same_values):
    made, (q, k, v) = operands(graph, tensor(f32, ROWS, ROWS))
    scores = made.add(nn.MatmulOp(q, turned(made, k)))
    scores = made.map("select", made.constant(TRIANGLE, np.bool_), scores, -1e4)
    made.done(finished(made, made.map("add", scores, made.inputs[3]), v))
    assert not any(isinstance(op, sattn.AttentionOp) for op in same_values(made))


def test_the_soft_cap_comes_before_the_mask(graph, same_values):
    made, (q, k, v) = operands(graph)
    scores = made.map("div", made.add(nn.MatmulOp(q, turned(made, k))), 4.0)
    scores = made.map("mul", made.map("tanh", made.map("div", scores, 30.0)), 30.0)
    scores = made.map("select", made.constant(TRIANGLE, np.bool_), scores, -1e4)
    made.done(finished(made, scores, v))
    found = only_attention(same_values(made))
    assert found.softcap is not None
    assert found.softcap.value.data == 30.0
    assert found.scale.value.data == pytest.approx(0.25)
    assert found.causal is not None
    assert found.empty_row.data == nn.EmptyRow.UNIFORM


def test_heads_in_the_batch_axis(graph, same_values):
    made, heads = operands(graph)
    q, k, v = (made.add(nn.ReshapeOp(x, (BATCH * HEADS, ROWS, WIDTH))) for x in heads)
    scores = made.map("mul", made.add(nn.MatmulOp(q, turned(made, k))), 0.25)
    scores = made.add(nn.ReshapeOp(scores, (BATCH, HEADS, ROWS, ROWS)))
    mask = np.where(np.random.default_rng(2).random((BATCH, 1, ROWS, ROWS)) > 0.3, 0, -np.inf)
    scores = made.map("add", scores, made.constant(mask))
    scores = made.add(nn.ReshapeOp(scores, (BATCH * HEADS, ROWS, ROWS)))
    made.done(finished(made, scores, v))
    found = only_attention(same_values(made))
    assert found.extents[:2] == (BATCH, HEADS)


def test_windows_with_a_mask_over_five_axes(graph, same_values):
    windows = 6
    made = graph(tensor(f32, BATCH * windows, HEADS, ROWS, WIDTH))
    (x,) = made.inputs
    scores = made.add(nn.MatmulOp(x, x, True))
    scores = made.add(nn.ReshapeOp(scores, (BATCH, windows, HEADS, ROWS, ROWS)))
    mask = np.where(np.random.default_rng(3).random((1, windows, 1, ROWS, ROWS)) > 0.3, 0, -100.0)
    scores = made.map("add", scores, made.constant(mask))
    scores = made.add(nn.ReshapeOp(scores, (BATCH * windows, HEADS, ROWS, ROWS)))
    made.done(finished(made, scores, x))
    found = only_attention(same_values(made))
    assert found.mask is not None
    assert found.mask.type.get_shape() == (BATCH * windows, 1, ROWS, ROWS)


@pytest.mark.parametrize("late", [False, True])
def test_repeated_heads_are_shared(graph, same_values, late):
    groups = 2
    made = graph(tensor(f32, 1, ROWS, HEADS * WIDTH), *[tensor(f32, 1, ROWS, groups * WIDTH)] * 2)
    q = with_heads(made, made.inputs[0])

    def repeated(value):
        if late:
            split = made.add(nn.ReshapeOp(value, (1, ROWS, groups, 1, WIDTH)))
            wide = made.add(nn.BroadcastOp(split, (1, ROWS, groups, HEADS // groups, WIDTH)))
            return made.add(nn.TransposeOp(made.add(nn.ReshapeOp(wide, (1, ROWS, HEADS, WIDTH))), (0, 2, 1, 3)))
        split = made.add(nn.ReshapeOp(with_heads(made, value, groups), (1, groups, 1, ROWS, WIDTH)))
        wide = made.add(nn.BroadcastOp(split, (1, groups, HEADS // groups, ROWS, WIDTH)))
        return made.add(nn.ReshapeOp(wide, (1, HEADS, ROWS, WIDTH)))

    k, v = (repeated(value) for value in made.inputs[1:])
    scores = made.add(nn.MatmulOp(q, turned(made, k)))
    made.done(finished(made, scores, v))
    operations = same_values(made)
    assert only_attention(operations).extents[2] == groups
    assert not any(isinstance(op, nn.BroadcastOp) for op in operations)


def test_one_key_head_for_all_queries(graph, same_values):
    made = graph(tensor(f32, 1, HEADS, ROWS, WIDTH), tensor(f32, 1, 1, ROWS, WIDTH))
    q, k = made.inputs
    made.done(finished(made, made.add(nn.MatmulOp(q, k, True)), k))
    assert only_attention(same_values(made)).extents[2] == 1


def test_half_precision_scores_may_be_float32_inside(graph, same_values):
    made = graph(*[tensor(f16, 1, HEADS, ROWS, WIDTH)] * 3)
    q, k, v = made.inputs
    scores = made.map("mul", made.add(nn.MatmulOp(q, k, True)), made.constant(0.25, np.float16))
    weights = made.add(nn.SoftmaxOp(made.add(nn.CastOp(scores, f32)), -1))
    made.done(made.add(nn.MatmulOp(made.add(nn.CastOp(weights, f16)), v)))
    only_attention(same_values(made, tolerance=2e-3))
