"""Attributes of nodes as attributes of the IR.

Numbers and texts plainly, tensors by reference unless small.
"""

from __future__ import annotations

import numpy as np
from onnx import AttributeProto
from xdsl.dialects.builtin import ArrayAttr, DenseArrayBase, FloatAttr, IntegerAttr, StringAttr, f32, i64
from xdsl.ir import Attribute

from ...dialects.constants import Array
from ...dialects.onnx import constant_attribute
from .prototypes import attribute_of
from .tensors import TensorReader
from .values import Constants, Known


def encode(attribute: AttributeProto, owner: str, reader: TensorReader, constants: Constants) -> Attribute | None:
    """An attribute of node `owner`; None for a graph, which becomes a region, and for an empty one."""

    def tensor(array: Array, index: int = 0) -> Attribute:
        key = f"{owner}.{attribute.name}{index or ''}"
        return constant_attribute(array, lambda: constants.key(Known(key, array.shape, array.dtype, array)))

    match attribute.type:
        case AttributeProto.INT:
            return IntegerAttr(attribute.i, i64)
        case AttributeProto.FLOAT:
            return FloatAttr(attribute.f, f32)
        case AttributeProto.STRING:
            return StringAttr(_text(attribute.s))
        case AttributeProto.INTS:
            return DenseArrayBase.from_list(i64, list(attribute.ints))
        case AttributeProto.FLOATS:
            return DenseArrayBase.from_list(f32, list(attribute.floats))
        case AttributeProto.STRINGS:
            return ArrayAttr([StringAttr(_text(text)) for text in attribute.strings])
        case AttributeProto.TENSOR:
            return tensor(reader.read(attribute.t))
        case AttributeProto.TENSORS:
            return ArrayAttr([tensor(reader.read(t), index) for index, t in enumerate(attribute.tensors)])
        case AttributeProto.SPARSE_TENSOR:
            return tensor(reader.read_sparse(attribute.sparse_tensor))
        case AttributeProto.SPARSE_TENSORS:
            read = [reader.read_sparse(t) for t in attribute.sparse_tensors]
            return ArrayAttr([tensor(array, index) for index, array in enumerate(read)])
        case AttributeProto.TYPE_PROTO:
            return attribute_of(attribute.tp)
        case AttributeProto.TYPE_PROTOS:
            return ArrayAttr([attribute_of(proto) for proto in attribute.type_protos])
        case _:
            return None


def constant_value(attribute: AttributeProto, reader: TensorReader) -> Array | None:
    """The value of a `Constant` node by its attribute; None if that is none of the kinds of value."""
    match attribute.name:
        case "value":
            return reader.read(attribute.t)
        case "sparse_value":
            return reader.read_sparse(attribute.sparse_tensor)
        case "value_int":
            return np.array(attribute.i, np.int64)
        case "value_ints":
            return np.array(attribute.ints, np.int64)
        case "value_float":
            return np.array(attribute.f, np.float32)
        case "value_floats":
            return np.array(attribute.floats, np.float32)
        case "value_string":
            return np.array(_text(attribute.s), np.object_)
        case "value_strings":
            return np.array([_text(text) for text in attribute.strings], np.object_)
        case _:
            return None


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")
