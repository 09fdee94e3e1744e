"""Reading a model: from a file (weights stay mapped), from bytes, or a ModelProto as it is."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import TypeAlias

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

from ...dialects.onnx_signatures import normal_domain
from ...isa.errors import InputError
from ...isa.frozen import frozen
from .wire import DamagedError, Stripped, strip_weights

Source: TypeAlias = str | os.PathLike[str] | bytes | ModelProto
"""What a model can be read from: a path, the bytes of a file, or the model itself."""


@frozen
class LoadedModel:
    """A model as read: `name` is what errors call it, `folder` holds its external data (None: nowhere).

    `weights` are the bytes of large initializers that stayed in the file, by index of the initializer.
    """

    proto: ModelProto
    name: str
    folder: Path | None
    weights: dict[int, memoryview] = field(default_factory=dict[int, memoryview])
    opsets: dict[str, int] = field(default_factory=dict[str, int])


def load_model(source: Source) -> LoadedModel:
    """Read a model and check what every model has.

    Raises InputError, in one sentence, for whatever is none.
    """
    if isinstance(source, ModelProto):
        return _checked(LoadedModel(source, "model", None))
    if isinstance(source, bytes):
        return _parse(memoryview(source), "model", None)
    path = Path(source)
    return _parse(_mapped(path), str(path), path.parent)


def _mapped(path: Path) -> memoryview:
    try:
        if not path.exists():
            raise InputError(str(path), "there is no such file")
        if not path.is_file():
            raise InputError(str(path), "is not a file")
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise InputError(str(path), "the file is empty")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise InputError(str(path), f"cannot be read: {error.strerror}") from error


def _parse(data: memoryview, name: str, folder: Path | None) -> LoadedModel:
    try:
        stripped = strip_weights(data)
        proto = ModelProto.FromString(stripped.proto)
    except (DamagedError, DecodeError) as error:
        raise InputError(name, "is not an ONNX model, or it is cut off") from error
    return _checked(LoadedModel(proto, name, folder, _views(data, stripped)))


def _views(data: memoryview, stripped: Stripped) -> dict[int, memoryview]:
    return {index: data[start : start + size] for index, (start, size) in stripped.weights.items()}


def _checked(model: LoadedModel) -> LoadedModel:
    proto = model.proto
    if not proto.HasField("graph") or not (proto.graph.node or proto.graph.output):
        raise InputError(model.name, "is not an ONNX model: it has no graph")
    if not proto.opset_import:
        raise InputError(model.name, "is not a complete ONNX model: it names no operator set")
    if not all(isinstance(text, str) for text in _texts(proto)):
        raise InputError(model.name, "is damaged: a name in it is no text")
    for entry in proto.opset_import:
        model.opsets[normal_domain(entry.domain)] = entry.version
    version, newest = model.opsets.get(""), onnx.defs.onnx_opset_version()
    if version is not None and version > newest:
        raise InputError(
            model.name,
            f"is written in operator set {version}, and the onnx package here knows {newest} at most",
            f"install a newer onnx package or export with operator set {newest}",
        )
    return model


def _texts(proto: ModelProto) -> Iterator[object]:
    """All names in a model. Protobuf hands out bytes, not str, for one that is not valid text."""
    yield from (entry.domain for entry in proto.opset_import)
    yield from _graph_texts(proto.graph)
    for function in proto.functions:
        yield from (function.name, function.domain, function.overload)
        yield from (*function.input, *function.output, *function.attribute)
        yield from (entry.domain for entry in function.opset_import)
        for attribute in function.attribute_proto:
            yield from _attribute_texts(attribute)
        for node in function.node:
            yield from _node_texts(node)


def _graph_texts(graph: GraphProto) -> Iterator[object]:
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield value.name
        yield from (dimension.dim_param for dimension in value.type.tensor_type.shape.dim)
    yield from (tensor.name for tensor in graph.initializer)
    yield from (sparse.values.name for sparse in graph.sparse_initializer)
    for tensor in graph.initializer:
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))
    for node in graph.node:
        yield from _node_texts(node)


def _node_texts(node: NodeProto) -> Iterator[object]:
    yield from (node.name, node.op_type, node.domain, node.overload)
    yield from node.input
    yield from node.output
    for attribute in node.attribute:
        yield from _attribute_texts(attribute)


def _attribute_texts(attribute: AttributeProto) -> Iterator[object]:
    yield attribute.name
    yield attribute.ref_attr_name
    if attribute.type == AttributeProto.TENSOR:
        yield attribute.t.name
    elif attribute.type == AttributeProto.GRAPH:
        yield from _graph_texts(attribute.g)
    elif attribute.type == AttributeProto.GRAPHS:
        for graph in attribute.graphs:
            yield from _graph_texts(graph)
