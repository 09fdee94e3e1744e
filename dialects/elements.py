"""Element types: how the types of the IR, numpy and the machine's formats name each other."""

from __future__ import annotations

from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
from xdsl.dialects.builtin import (
    BFloat16Type,
    Float16Type,
    Float32Type,
    IntegerType,
    Signedness,
    TensorType,
    bf16,
    f16,
    f32,
    i1,
    i8,
    i32,
)
from xdsl.ir import Attribute, SSAValue

from ..isa.formats import Format

Element: TypeAlias = Float32Type | Float16Type | BFloat16Type | IntegerType
"""A type that an element of an `nn` tensor can have."""

ui8 = IntegerType(8, Signedness.UNSIGNED)

_FORMATS: dict[Attribute, Format] = {
    f32: Format.F32,
    f16: Format.F16,
    bf16: Format.BF16,
    i32: Format.I32,
    i8: Format.I8,
    ui8: Format.U8,
    i1: Format.BOOL,
}
_ELEMENTS: dict[Format, Element] = {
    Format.F32: f32,
    Format.F16: f16,
    Format.BF16: bf16,
    Format.I32: i32,
    Format.I8: i8,
    Format.U8: ui8,
    Format.BOOL: i1,
}
_DTYPES: dict[Attribute, np.dtype[Any]] = {
    f32: np.dtype(np.float32),
    f16: np.dtype(np.float16),
    bf16: np.dtype(ml_dtypes.bfloat16),
    i32: np.dtype(np.int32),
    i8: np.dtype(np.int8),
    ui8: np.dtype(np.uint8),
    i1: np.dtype(np.bool_),
}
_BY_DTYPE: dict[np.dtype[Any], Element] = {dtype: _ELEMENTS[_FORMATS[e]] for e, dtype in _DTYPES.items()}

ELEMENTS: tuple[Element, ...] = tuple(_ELEMENTS.values())
"""Every element type that a tensor may have below import."""


def format_of(element: Attribute) -> Format:
    """The machine's format of an element type. Raises KeyError for a type that no tensor may have."""
    return _FORMATS[element]


def element_of(format: Format) -> Element:
    """The element type that the machine's `format` holds."""
    return _ELEMENTS[format]


def dtype_of(element: Attribute) -> np.dtype[Any]:
    """The numpy dtype of an element type (`bool_` for i1, `ml_dtypes.bfloat16` for bf16)."""
    return _DTYPES[element]


def element_of_dtype(dtype: np.dtype[Any] | type[Any]) -> Element:
    """The element type of a numpy dtype. Raises KeyError for one that no tensor may have, such as int64."""
    return _BY_DTYPE[np.dtype(dtype)]


def is_float(element: Attribute) -> bool:
    """Whether the element type is a floating-point one."""
    return isinstance(element, Float32Type | Float16Type | BFloat16Type)


def is_bool(element: Attribute) -> bool:
    """Whether the element type is the truth value i1."""
    return element == i1


def tensor(element: Attribute, *shape: int) -> TensorType[Attribute]:
    """The type of a tensor: `tensor(f32, 1, 17, 64)`."""
    return TensorType(element, shape)


def tensor_type(value: SSAValue) -> TensorType[Attribute]:
    """The type of a value that is known to be a tensor. Raises TypeError if it is not one."""
    if not isinstance(value.type, TensorType):
        raise TypeError(f"expected a tensor, got {value.type}")
    return value.type


def shape_of(value: SSAValue) -> tuple[int, ...]:
    """The shape of a tensor value."""
    return tensor_type(value).get_shape()


def element_type(value: SSAValue) -> Attribute:
    """The element type of a tensor value."""
    return tensor_type(value).get_element_type()
