"""Models that were valid until something in them was changed at random."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import prod

import onnx
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, numpy_helper

NUMBERS = (-(2**63), 2**63 - 1, -1, 0, 1, 7, 1_000_000, 2**40)

OPERATORS = ("Nope", "TopK", "Loop", "Identity", "MatMul", "Conv", "Softmax", "Gather", "Einsum", "LSTM")

Rule = Callable[[random.Random, ModelProto, NodeProto], None]


def mutated(model: ModelProto, seed: int) -> ModelProto:
    """A copy of a model with one to three changes."""
    rng = random.Random(seed)
    copy = ModelProto()
    copy.CopyFrom(model)
    for _ in range(rng.choice((1, 1, 2, 3))):
        if copy.graph.node:
            rng.choice(RULES)(rng, copy, rng.choice(copy.graph.node))
    return copy


def flipped(model: ModelProto, seed: int) -> bytes:
    """The bytes of a model, some changed, now and then cut off."""
    rng = random.Random(seed)
    data = bytearray(model.SerializeToString())
    for _ in range(rng.choice((1, 1, 3, 10))):
        data[rng.randrange(min(len(data), 4000) if rng.random() < 0.8 else len(data))] = rng.randrange(256)
    return bytes(data[: rng.randrange(len(data))] if rng.random() < 0.1 else data)


def _names(model: ModelProto) -> list[str]:
    graph = model.graph
    made = [name for node in graph.node for name in node.output]
    return [*made, *(item.name for item in (*graph.input, *graph.initializer)), "", "nowhere"]


def _rewire(rng: random.Random, model: ModelProto, node: NodeProto) -> None:
    if node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(_names(model))


def _drop_input(rng: random.Random, _: ModelProto, node: NodeProto) -> None:
    if node.input:
        del node.input[rng.randrange(len(node.input))]


def _rename_result(rng: random.Random, model: ModelProto, node: NodeProto) -> None:
    node.output[0] = rng.choice(_names(model))


def _other_operator(rng: random.Random, model: ModelProto, node: NodeProto) -> None:
    node.op_type = rng.choice([*(other.op_type for other in model.graph.node), *OPERATORS])


def _drop_attribute(rng: random.Random, _: ModelProto, node: NodeProto) -> None:
    if node.attribute:
        del node.attribute[rng.randrange(len(node.attribute))]


def _other_attribute(rng: random.Random, _: ModelProto, node: NodeProto) -> None:
    if not node.attribute:
        return
    attribute = rng.choice(node.attribute)
    if attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(NUMBERS)
    elif attribute.type == AttributeProto.INT:
        attribute.i = rng.choice(NUMBERS)
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = rng.choice((float("nan"), float("inf"), -1.0, 0.0))
    elif attribute.type == AttributeProto.STRING:
        attribute.s = rng.choice((b"", b"\xff\xfe", b"NOTSET"))


def _weight(change: Callable[[random.Random, TensorProto], None]) -> Rule:
    def rule(rng: random.Random, model: ModelProto, _: NodeProto) -> None:
        if model.graph.initializer:
            change(rng, rng.choice(model.graph.initializer))

    return rule


def _other_extent(rng: random.Random, tensor: TensorProto) -> None:
    if tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice((0, -1, 1, 2, 10**6, 2**62))


def _other_type(rng: random.Random, tensor: TensorProto) -> None:
    tensor.data_type = rng.choice((*range(30), 99, -1))


def _cut(rng: random.Random, tensor: TensorProto) -> None:
    tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)]


def _other_integer(rng: random.Random, tensor: TensorProto) -> None:
    whole = len(tensor.raw_data) == 8 * prod(tensor.dims) > 0
    if tensor.data_type == TensorProto.INT64 and whole:
        array = numpy_helper.to_array(tensor).copy()
        array.flat[rng.randrange(array.size)] = rng.choice(NUMBERS)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _other_input(rng: random.Random, model: ModelProto, _: NodeProto) -> None:
    if not model.graph.input:
        return
    kind = rng.choice(model.graph.input).type.tensor_type
    if kind.shape.dim and rng.random() < 0.6:
        kind.shape.dim[rng.randrange(len(kind.shape.dim))].dim_value = rng.choice((0, -1, 2, 5, 2**40))
    else:
        kind.elem_type = rng.randrange(27)


def _other_opset(rng: random.Random, model: ModelProto, _: NodeProto) -> None:
    model.opset_import[0].version = rng.choice((0, -1, 1, 7, 10, 12, 13, 18, 24, onnx.defs.onnx_opset_version(), 99))


def _drop_node(_: random.Random, model: ModelProto, node: NodeProto) -> None:
    model.graph.node.remove(node)


def _drop_weight(rng: random.Random, model: ModelProto, _: NodeProto) -> None:
    if model.graph.initializer:
        del model.graph.initializer[rng.randrange(len(model.graph.initializer))]


def _other_output(rng: random.Random, model: ModelProto, _: NodeProto) -> None:
    model.graph.output[0].name = rng.choice(_names(model))


def _shuffle(rng: random.Random, model: ModelProto, _: NodeProto) -> None:
    nodes = list(model.graph.node)
    rng.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


RULES: tuple[Rule, ...] = (
    _rewire,
    _drop_input,
    _rename_result,
    _other_operator,
    _drop_attribute,
    _other_attribute,
    _weight(_other_extent),
    _weight(_other_type),
    _weight(_cut),
    _weight(_other_integer),
    _other_input,
    _other_opset,
    _drop_node,
    _drop_weight,
    _other_output,
    _shuffle,
)
