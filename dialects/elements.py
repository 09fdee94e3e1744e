"""Element types: how the types of the IR, numpy and the machine's formats name each other."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

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

Element: TypeAlias = Attribute
"""One of `ELEMENTS`: a type that an element of a tensor can have."""

ui8 = IntegerType(8, Signedness.UNSIGNED)

_FORMATS: dict[Element, Format] = {
    f32: Format.F32,
    f16: Format.F16,
    bf16: Format.BF16,
    i32: Format.I32,
    i8: Format.I8,
    ui8: Format.U8,
    i1: Format.BOOL,
}
_ELEMENTS: dict[Format, Element] = {stored: element for element, stored in _FORMATS.items()}

ELEMENTS: tuple[Element, ...] = tuple(_ELEMENTS.values())
"""Every element type that a tensor may have below import."""


def format_of(element: Attribute) -> Format:
    """The machine's format of an element type. Raises KeyError for a type that no tensor may have."""
    return _FORMATS[element]


def element_of(stored: Format) -> Element:
    """The element type that the machine's format `stored` holds."""
    return _ELEMENTS[stored]


def dtype_of(element: Attribute) -> np.dtype[Any]:
    """The numpy dtype of an element type (`bool_` for i1, `ml_dtypes.bfloat16` for bf16)."""
    return _FORMATS[element].dtype


def element_of_dtype(dtype: np.dtype[Any] | type[Any]) -> Element:
    """The element type of a numpy dtype. UsageError for one that no tensor may have, such as
    int64."""
    return _ELEMENTS[Format.of_dtype(dtype)]


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
    return cast(TensorType[Attribute], value.type)


def shape_of(value: SSAValue) -> tuple[int, ...]:
    """The shape of a tensor value."""
    return tensor_type(value).get_shape()


def element_type(value: SSAValue) -> Attribute:
    """The element type of a tensor value."""
    return tensor_type(value).get_element_type()
