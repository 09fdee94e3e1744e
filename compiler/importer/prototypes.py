"""ONNX's type messages and the IR's types, one into the other."""

from __future__ import annotations

from functools import lru_cache

from onnx import TensorShapeProto, TypeProto
from xdsl.dialects.builtin import DYNAMIC_INDEX, TensorType, UnrankedTensorType
from xdsl.ir import Attribute

from ...dialects import onnx_types as types

Extents = tuple[int | None, ...]
"""A tensor's extents, None for one that only the run tells."""


@lru_cache(maxsize=4096)
def tensor_proto_type(code: int, shape: tuple[int | None, ...] | None) -> TypeProto:
    """The type of a tensor of element type `code`.

    Shape None: of unknown rank. Not to be changed: it is shared.
    """
    proto = TypeProto()
    proto.tensor_type.elem_type = code
    if shape is not None:
        proto.tensor_type.shape.SetInParent()
        for extent in shape:
            dimension = proto.tensor_type.shape.dim.add()
            if extent is not None:
                dimension.dim_value = extent
    return proto


def shape_of(proto: TypeProto | None) -> Extents | None:
    """The extents of a tensor type; None for an unknown rank and for what is no tensor."""
    if proto is None or not proto.HasField("tensor_type") or not proto.tensor_type.HasField("shape"):
        return None
    return _extents(proto.tensor_type.shape)


def static_shape(proto: TypeProto | None) -> tuple[int, ...] | None:
    """The extents of a tensor type if all are known."""
    extents = shape_of(proto)
    if extents is None:
        return None
    known = tuple(extent for extent in extents if extent is not None)
    return known if len(known) == len(extents) else None


def code_of(proto: TypeProto | None) -> int:
    """The element type of a tensor type as ONNX's code; 0 where it is not known."""
    if proto is None or not proto.HasField("tensor_type"):
        return 0
    return proto.tensor_type.elem_type


def attribute_of(proto: TypeProto | None) -> Attribute:
    """The IR's type of an ONNX type; `!onnx.unknown` for one that says nothing."""
    kind = None if proto is None else proto.WhichOneof("value")
    if proto is None or kind is None:
        return types.UnknownType()
    match kind:
        case "tensor_type":
            if not proto.tensor_type.elem_type:
                return types.UnknownType()
            return _tensor(proto.tensor_type.elem_type, shape_of(proto))
        case "sequence_type":
            return types.SequenceType(attribute_of(proto.sequence_type.elem_type))
        case "optional_type":
            return types.OptionalType(attribute_of(proto.optional_type.elem_type))
        case "map_type":
            return types.MapType(attribute_of(proto.map_type.value_type))
        case "sparse_tensor_type":
            sparse = proto.sparse_tensor_type
            extents = _extents(sparse.shape) if sparse.HasField("shape") else None
            return types.SparseType(_tensor(sparse.elem_type, extents))
        case _:
            return types.UnknownType()


def merged(first: TypeProto, second: TypeProto) -> TypeProto | None:
    """The type of what may be either: extents that differ are unknown; None if nothing is left to say."""
    if first == second:
        return first
    code = code_of(first)
    if not code or code != code_of(second):
        return None
    a, b = shape_of(first), shape_of(second)
    if a is None or b is None or len(a) != len(b):
        return tensor_proto_type(code, None)
    return tensor_proto_type(code, tuple(x if x == y else None for x, y in zip(a, b, strict=True)))


def _extents(shape: TensorShapeProto) -> Extents:
    """The extents of a shape; some exporters write -1 for one that is not known."""
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else None for d in shape.dim)


@lru_cache(maxsize=4096)
def _tensor(code: int, extents: Extents | None) -> Attribute:
    element = types.element_of_code(code)
    if extents is None:
        return UnrankedTensorType(element)
    return TensorType(element, [DYNAMIC_INDEX if extent is None else extent for extent in extents])
