import numpy as np
import pytest
from xdsl.dialects.builtin import f32, i32

from attnc.dialects import nn
from attnc.dialects.elements import element_type, tensor


def test_rows_of_constant_ids_are_taken_without_the_table(graph, same_values):
    made = graph(tensor(f32, 4, 8))
    table = made.constant(np.random.default_rng(0).random((100, 8)))
    rows = made.add(nn.GatherRowsOp(table, made.constant([1, 5, 7, 99], np.int32)))
    made.done(made.map("add", made.inputs[0], rows))
    same_values(made)
    (constant,) = [op for op in made.block.ops if isinstance(op, nn.ConstantOp)]
    assert constant.result.type.get_shape() == (4, 8)


def test_ids_out_of_range_are_left_for_the_run_to_report(graph):
    made = graph(tensor(f32, 1, 8))
    table = made.constant(np.zeros((100, 8)))
    rows = made.add(nn.GatherRowsOp(table, made.constant([100], np.int32)))
    made.done(made.map("add", made.inputs[0], rows))
    assert any(isinstance(op, nn.GatherRowsOp) for op in made.recognise())


@pytest.mark.parametrize("spelling", ["cast", "dequantize"])
def test_integer_weights_stay_integers(graph, same_values, spelling):
    made = graph(tensor(f32, 2, 16))
    weight = made.constant(np.random.default_rng(0).integers(-127, 128, (16, 32)), np.int8)
    scale = made.constant(np.random.default_rng(1).random(32))
    if spelling == "cast":
        wide = made.map("mul", made.add(nn.CastOp(weight, f32)), scale)
    else:
        wide = made.add(nn.DequantizeOp(weight, scale, None, 1))
    made.done(made.add(nn.MatmulOp(made.inputs[0], wide)))
    same_values(made)
    elements = {op.result.type.get_element_type() for op in made.block.ops if isinstance(op, nn.ConstantOp)}
    assert element_type(weight) in elements


@pytest.mark.parametrize("function", ["ge", "sign", "rint"])
def test_binary_and_rounded_weights_stay_latent(graph, same_values, function):
    made = graph(tensor(f32, 2, 16))
    latent = made.constant(np.random.default_rng(0).standard_normal((16, 32)))
    if function == "ge":
        weight = made.map("select", made.map("ge", latent, 0.0), 1.0, -1.0)
    else:
        weight = made.map(function, latent)
    made.done(made.add(nn.MatmulOp(made.inputs[0], weight)))
    assert any(isinstance(op, nn.MapOp) and op.function.data == function for op in same_values(made))


def test_index_arithmetic_on_constants_becomes_one_constant(graph, same_values):
    made = graph(tensor(i32, 8, 8))
    rows, columns = made.add(nn.IotaOp((8, 1), 0)), made.add(nn.IotaOp((1, 8), 1))
    mask = made.map("ge", rows, columns)
    made.done(made.map("select", mask, made.inputs[0], 0))
    assert len(same_values(made)) == 1
