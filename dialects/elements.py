"""Element types: how the types of the IR, numpy and the machine's formats name each other."""

from __future__ import annotations

from functools import cache
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
from ..isa.matrix import Values
from .bnn_types import bipolar, int2, int4, ternary, uint2, uint4, unipolar

Element: TypeAlias = Attribute
"""One of `ELEMENTS` or `PACKED`: a type that an element of a tensor can have."""

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
_PACKED: dict[Element, tuple[Format, Values, tuple[int, int]]] = {
    bipolar: (Format.B1, Values.BIPOLAR, (-1, 1)),
    unipolar: (Format.B1, Values.UNIPOLAR, (0, 1)),
    ternary: (Format.I2, Values.I2, (-1, 1)),
    int2: (Format.I2, Values.I2, (-2, 1)),
    uint2: (Format.U2, Values.U2, (0, 3)),
    int4: (Format.I4, Values.I4, (-8, 7)),
    uint4: (Format.U4, Values.U4, (0, 15)),
}
_BYTES: dict[Element, Values] = {i8: Values.I8, ui8: Values.U8}
_ELEMENTS: dict[Format, Element] = {
    **{stored: element for element, stored in _FORMATS.items()},
    # What lanes make of the stored fields.
    Format.B1: unipolar,
    Format.I2: int2,
    Format.U2: uint2,
    Format.I4: int4,
    Format.U4: uint4,
}

_SINGLE: dict[int, Format] = {id(element): stored for element, stored in _FORMATS.items()}
"""Formats by the identity of the type objects above, which nearly all tensors share: to hash a type takes longer."""

ELEMENTS: tuple[Element, ...] = tuple(_FORMATS)
"""The element types of whole bytes that a tensor may have below import: what is computed on."""

PACKED: tuple[Element, ...] = tuple(_PACKED)
"""The element types of less than a byte (`bnn_types`): what is packed, moved and multiplied."""


def format_of(element: Attribute) -> Format:
    """The machine's format of an element type. Raises KeyError for a type that no tensor may have."""
    known = _SINGLE.get(id(element))
    if known is not None:
        return known
    packed = _PACKED.get(element)
    return _FORMATS[element] if packed is None else packed[0]


def element_of(stored: Format) -> Element:
    """The element type that lanes read from the machine's format `stored`."""
    return _ELEMENTS[stored]


def dtype_of(element: Attribute) -> np.dtype[Any]:
    """The numpy dtype of an element type (`bool_` for i1, `ml_dtypes.bfloat16` for bf16, int8 for packed ones)."""
    return np.dtype(np.int8) if element in _PACKED else _FORMATS[element].dtype


def is_packed(element: Attribute) -> bool:
    """Whether several elements of the type share a byte."""
    return element in _PACKED


def values_of(element: Attribute) -> Values | None:
    """What an operand of a packed mode holds that has this element type; None where such modes do not take it."""
    packed = _PACKED.get(element)
    return _BYTES.get(element) if packed is None else packed[1]


def range_of(element: Attribute) -> tuple[int, int]:
    """The least and the greatest value of a packed element type (a bipolar one has no 0 between). Raises KeyError for
    other types."""
    return _PACKED[element][2]


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


@cache
def tensor(element: Attribute, *shape: int) -> TensorType[Attribute]:
    """The type of a tensor: `tensor(f32, 1, 17, 64)`."""
    return TensorType(element, shape)


def tensor_type(value: SSAValue) -> TensorType[Attribute]:
    """The type of a value that is known to be a tensor. Raises TypeError if it is not one."""
    if not isinstance(value.type, TensorType):
        raise TypeError(f"expected a tensor, got {value.type}")
    return cast("TensorType[Attribute]", value.type)


def shape_of(value: SSAValue) -> tuple[int, ...]:
    """The shape of a tensor value."""
    return tensor_type(value).get_shape()


def element_type(value: SSAValue) -> Attribute:
    """The element type of a tensor value."""
    return tensor_type(value).get_element_type()
