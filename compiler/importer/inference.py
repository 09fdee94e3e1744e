"""The types of a node's results, from the official schemas' own shape functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnx import NodeProto, TensorProto, TypeProto, checker, defs, helper, numpy_helper, shape_inference

from ...dialects.onnx_signatures import normal_domain
from .contributed import contributed_types
from .prototypes import code_of, shape_of, tensor_proto_type
from .values import Known, Value

_TOLD = 256
"""Known inputs of up to so many elements are shown to the shape functions: extents, axes, pads, scales."""

_EXTENTS_NOT_TRUSTED = frozenset(("STFT",))
"""Operators whose shape function is wrong: STFT's forgets that its result is one-sided by default."""

_SAME_AS_INPUT = frozenset(("GroupNormalization", "MeanVarianceNormalization"))
"""Operators without a shape function whose result has the shape of their first input."""


class InferenceError(ValueError):
    """The node does not fit its inputs; the message says how."""


def infer(node: NodeProto, version: int, inputs: Sequence[Value | None]) -> list[TypeProto | None]:
    """The types of the node's results in order, None for one that nothing tells.

    `version` is the opset of the node's domain whose form the node has. Raises InferenceError where its
    inputs contradict its operator.
    """
    domain = normal_domain(node.domain)
    if not defs.has(node.op_type, version, domain):
        return contributed_types(node, inputs)
    schema: Any = defs.get_schema(node.op_type, version, domain)
    types = {name: value.type for name, value in zip(node.input, inputs, strict=True) if value is not None}
    data = {
        name: _tensor(value)
        for name, value in zip(node.input, inputs, strict=True)
        if isinstance(value, Known) and value.array is not None and _is_told(value)
    }
    if node.op_type == "SplitToSequence" and _is_split_by_rule_and_runtime_differently(node):
        return [_sequence_of_any_rank(types)]
    try:
        made: Mapping[str, TypeProto] = shape_inference.infer_node_outputs(
            schema, node, types, data, opset_imports=[helper.make_opsetid(domain, version)]
        )
    except (shape_inference.InferenceError, checker.ValidationError, ValueError, KeyError) as error:
        raise InferenceError(_sentence(str(error))) from error
    found = [made.get(name) if name else None for name in node.output]
    if node.op_type in _SAME_AS_INPUT and not domain:
        return [types.get(node.input[0])]
    if node.op_type in _EXTENTS_NOT_TRUSTED and not domain:
        return [_of_rank(proto) for proto in found]
    has_body = schema.has_function or schema.has_context_dependent_function
    if has_body and any(proto is not None and shape_of(proto) is None for proto in found):
        return _through_body(node, domain, version, types) or found
    return found


def _of_rank(proto: TypeProto | None) -> TypeProto | None:
    shape = shape_of(proto)
    return proto if shape is None else tensor_proto_type(code_of(proto), (None,) * len(shape))


def _through_body(
    node: NodeProto, domain: str, version: int, types: Mapping[str, TypeProto]
) -> list[TypeProto | None] | None:
    """The types of a node whose operator has a body of other operators and no shape function of its own."""
    graph = helper.make_graph(
        [node],
        "node",
        [helper.make_value_info(name, proto) for name, proto in types.items()],
        [helper.make_empty_tensor_value_info(name) for name in node.output if name],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, version)])
    try:
        inferred = shape_inference.infer_shapes(model)
    except (shape_inference.InferenceError, checker.ValidationError, ValueError):
        return None
    made = {value.name: value.type for value in (*inferred.graph.output, *inferred.graph.value_info)}
    return [made.get(name) if name else None for name in node.output]


def _is_split_by_rule_and_runtime_differently(node: NodeProto) -> bool:
    """Whether keepdims=0 stands beside a given split: ONNX ignores it, and ONNX Runtime drops the axis."""
    return len(node.input) > 1 and any(a.name == "keepdims" and a.i == 0 for a in node.attribute)


def _sequence_of_any_rank(types: Mapping[str, TypeProto]) -> TypeProto:
    data = next(iter(types.values()))
    return helper.make_sequence_type_proto(tensor_proto_type(code_of(data), None))


def _is_told(value: Known) -> bool:
    return (
        len(value.shape) <= 1 and value.elements <= _TOLD and value.dtype.isbuiltin == 1 and value.dtype.kind in "biuf"
    )


def _tensor(value: Known) -> TensorProto:
    assert value.array is not None
    return numpy_helper.from_array(value.array)


def _sentence(message: str) -> str:
    """What ONNX says, without its own place and prefix."""
    text = message.strip().splitlines()[0] if message.strip() else "its inputs do not fit"
    for mark in ("] ", "): "):
        text = text.rpartition(mark)[2] if text.startswith(("[", "(")) else text
    return text
