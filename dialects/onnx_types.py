"""Types at the ONNX level: element types under ONNX's own names, and opaque types that only `check` lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
from xdsl.dialects.builtin import (
    ComplexType,
    Float4E2M1FNType,
    Float6E2M3FNType,
    Float6E3M2FNType,
    Float8E4M3FNType,
    Float8E4M3FNUZType,
    Float8E5M2FNUZType,
    Float8E5M2Type,
    Float8E8M0FNUType,
    IntegerType,
    Signedness,
    bf16,
    f16,
    f32,
    f64,
    i1,
    i8,
    i16,
    i32,
    i64,
)
from xdsl.ir import Attribute, ParametrizedAttribute, TypeAttribute
from xdsl.irdl import irdl_attr_definition
from xdsl.parser import AttrParser
from xdsl.printer import Printer

DType: TypeAlias = np.dtype[Any]


class _Wrapper(ParametrizedAttribute, TypeAttribute):
    """A type written around another one."""

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse `<type>`."""
        with parser.in_angle_brackets():
            return (parser.parse_type(),)

    def print_parameters(self, printer: Printer) -> None:
        """Print `<type>`."""
        with printer.in_angle_brackets():
            printer.print_list(self.parameters, printer.print_attribute)


@irdl_attr_definition
class StringType(ParametrizedAttribute, TypeAttribute):
    """An element that is a text: `tensor<3x!onnx.string>`."""

    name = "onnx.string"


@irdl_attr_definition
class NoneType(ParametrizedAttribute, TypeAttribute):
    """The type of an optional result that nobody asked for."""

    name = "onnx.none"


@irdl_attr_definition
class UnknownType(ParametrizedAttribute, TypeAttribute):
    """The type of what an operator makes that neither ONNX nor this importer knows."""

    name = "onnx.unknown"


@irdl_attr_definition
class SequenceType(_Wrapper):
    """A sequence: `!onnx.sequence<tensor<?x4xf32>>`."""

    name = "onnx.sequence"
    element: Attribute


@irdl_attr_definition
class OptionalType(_Wrapper):
    """A value or none: `!onnx.optional<tensor<4xf32>>`."""

    name = "onnx.optional"
    element: Attribute


@irdl_attr_definition
class MapType(_Wrapper):
    """A map: `!onnx.map<i64>`; only the type of its values is kept."""

    name = "onnx.map"
    element: Attribute


@irdl_attr_definition
class SparseType(_Wrapper):
    """A sparse tensor: `!onnx.sparse<tensor<4x4xf32>>`."""

    name = "onnx.sparse"
    element: Attribute


def _unsigned(width: int) -> IntegerType:
    return IntegerType(width, Signedness.UNSIGNED)


_ELEMENTS: tuple[tuple[int, str, Attribute, type[Any]], ...] = (
    (1, "FLOAT", f32, np.float32),
    (2, "UINT8", _unsigned(8), np.uint8),
    (3, "INT8", i8, np.int8),
    (4, "UINT16", _unsigned(16), np.uint16),
    (5, "INT16", i16, np.int16),
    (6, "INT32", i32, np.int32),
    (7, "INT64", i64, np.int64),
    (8, "STRING", StringType(), np.object_),
    (9, "BOOL", i1, np.bool_),
    (10, "FLOAT16", f16, np.float16),
    (11, "DOUBLE", f64, np.float64),
    (12, "UINT32", _unsigned(32), np.uint32),
    (13, "UINT64", _unsigned(64), np.uint64),
    (14, "COMPLEX64", ComplexType(f32), np.complex64),
    (15, "COMPLEX128", ComplexType(f64), np.complex128),
    (16, "BFLOAT16", bf16, ml_dtypes.bfloat16),
    (17, "FLOAT8E4M3FN", Float8E4M3FNType(), ml_dtypes.float8_e4m3fn),
    (18, "FLOAT8E4M3FNUZ", Float8E4M3FNUZType(), ml_dtypes.float8_e4m3fnuz),
    (19, "FLOAT8E5M2", Float8E5M2Type(), ml_dtypes.float8_e5m2),
    (20, "FLOAT8E5M2FNUZ", Float8E5M2FNUZType(), ml_dtypes.float8_e5m2fnuz),
    (21, "UINT4", _unsigned(4), ml_dtypes.uint4),
    (22, "INT4", IntegerType(4), ml_dtypes.int4),
    (23, "FLOAT4E2M1", Float4E2M1FNType(), ml_dtypes.float4_e2m1fn),
    (24, "FLOAT8E8M0", Float8E8M0FNUType(), ml_dtypes.float8_e8m0fnu),
    (25, "UINT2", _unsigned(2), ml_dtypes.uint2),
    (26, "INT2", IntegerType(2), ml_dtypes.int2),
    (27, "FLOAT6E2M3", Float6E2M3FNType(), ml_dtypes.float6_e2m3fn),
    (28, "FLOAT6E3M2", Float6E3M2FNType(), ml_dtypes.float6_e3m2fn),
)
"""ONNX's `TensorProto.DataType` code and name, the IR's element type, and numpy's."""

_BY_CODE = {code: element for code, _, element, _ in _ELEMENTS}
_CODES: dict[Attribute, int] = {element: code for code, _, element, _ in _ELEMENTS}
_NAMES: dict[Attribute, str] = {element: name for _, name, element, _ in _ELEMENTS}
_DTYPES: dict[Attribute, DType] = {element: np.dtype(dtype) for _, _, element, dtype in _ELEMENTS}
_BY_DTYPE = {dtype: element for element, dtype in _DTYPES.items()}


_PACKED = {
    "FLOAT6E2M3": 6,
    "FLOAT6E3M2": 6,
    "UINT4": 4,
    "INT4": 4,
    "FLOAT4E2M1": 4,
    "UINT2": 2,
    "INT2": 2,
}
"""Bits of the element types that are packed in files."""


def element_of_code(code: int) -> Attribute:
    """The element type of a `TensorProto.DataType` code; `!onnx.unknown` for one that is not known."""
    return _BY_CODE.get(code, UnknownType())


def code_of(element: Attribute) -> int:
    """The `TensorProto.DataType` code of an element type. Raises KeyError for one that ONNX does not have."""
    return _CODES[element]


def name_of(element: Attribute) -> str:
    """ONNX's name of an element type, such as `INT64`; `UNKNOWN` for one that it does not have."""
    return _NAMES.get(element, "UNKNOWN")


def dtype_of(element: Attribute) -> DType:
    """The numpy dtype of an element type (text is `object`). Raises KeyError for one that has none."""
    return _DTYPES[element]


def element_of_dtype(dtype: DType) -> Attribute:
    """The element type of a numpy dtype; numpy's own text dtypes are text. Raises KeyError for any other."""
    return StringType() if dtype.kind in "USTO" else _BY_DTYPE[dtype]


def bits_of(element: Attribute) -> int:
    """The bits that an element takes in a file.

    4-bit and narrower ones are packed. Raises KeyError for text.
    """
    if isinstance(element, StringType):
        raise KeyError("a text has no number of bits")
    return _PACKED.get(name_of(element)) or dtype_of(element).itemsize * 8
