"""Number formats as stored in memory, and how values move between storage and the vector engine's lanes.

Lanes compute on three kinds: float (float32), int (int32) and bool. Reading widens, writing converts:
float to an integer format truncates and saturates, NaN gives 0; int to a narrower integer wraps; float to f16
or bf16 rounds half to even; anything to bool is `!= 0`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from math import prod
from typing import Any, Literal

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from .errors import UsageError
from .packed import fields_of_bytes, packed_bytes, packing, signed_field, unpacking

Kind = Literal["float", "int", "bool"]
Array = NDArray[Any]

NO_FORMAT = 15
"""The format code that says an operand is absent."""


class Format(Enum):
    """A stored number format: its `code` (4 bits), `bits`, `bytes`, numpy `dtype`, and `kind` in the lanes.

    B1 to U4 are packed (`isa.packed`): several elements a byte, `bytes` is 0 and `dtype` that of the bytes.
    Codes 12 to 14 are free, 15 means absent.
    """

    F32 = ("f32", 0, 32, "float", np.dtype(np.float32))
    F16 = ("f16", 1, 16, "float", np.dtype(np.float16))
    BF16 = ("bf16", 2, 16, "float", np.dtype(ml_dtypes.bfloat16))
    I32 = ("i32", 3, 32, "int", np.dtype(np.int32))
    I8 = ("i8", 4, 8, "int", np.dtype(np.int8))
    U8 = ("u8", 5, 8, "int", np.dtype(np.uint8))
    BOOL = ("bool", 6, 8, "bool", np.dtype(np.bool_))
    B1 = ("b1", 7, 1, "bool", np.dtype(np.uint8))
    I2 = ("i2", 8, 2, "int", np.dtype(np.uint8))
    U2 = ("u2", 9, 2, "int", np.dtype(np.uint8))
    I4 = ("i4", 10, 4, "int", np.dtype(np.uint8))
    U4 = ("u4", 11, 4, "int", np.dtype(np.uint8))

    def __init__(self, label: str, code: int, bits: int, kind: Kind, dtype: np.dtype[Any]) -> None:
        self.label = label
        self.code = code
        self.bits = bits
        self.bytes = bits // 8
        self.kind: Kind = kind
        self.dtype = dtype

    def __str__(self) -> str:
        return self.label

    @property
    def packed(self) -> bool:
        """Whether several elements share a byte."""
        return self.bits < 8

    @property
    def signed(self) -> bool:
        """Whether an integer format has negative values."""
        return self.kind == "int" and self.label.startswith("i")

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the greatest value of an integer format."""
        return (-(1 << self.bits - 1), (1 << self.bits - 1) - 1) if self.signed else (0, (1 << self.bits) - 1)

    def run_bytes(self, elements: int) -> int:
        """Bytes of so many elements in a row."""
        return packed_bytes(elements, self.bits)

    @property
    def width(self) -> float:
        """Bytes of an element, for estimates: a part of one where several share a byte."""
        return self.bytes or self.bits / 8

    @property
    def grain(self) -> int:
        """The fewest elements that fill whole bytes: where a run of elements may start."""
        return max(1, 8 // self.bits)

    def pitch(self, columns: int) -> int:
        """Elements from one row of `columns` to the next, where rows follow each other: each starts at a byte."""
        return -(-columns // self.grain) * self.grain

    def padded(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of a row-major tensor as it lies in memory: its rows, along the last axis, in whole bytes."""
        return (*shape[:-1], self.pitch(shape[-1])) if shape else ()

    def size(self, shape: Sequence[int]) -> int:
        """Bytes of a row-major tensor."""
        return packed_bytes(prod(self.padded(shape)), self.bits)

    @staticmethod
    def parse(name: str) -> Format:
        """The format called `name` ("f32", "i8", ...); UsageError for another name."""
        for item in Format:
            if item.label == name:
                return item
        raise UsageError(f"no number format {name!r}", "one of " + ", ".join(item.label for item in Format))

    @staticmethod
    def of_dtype(dtype: np.dtype[Any] | type[Any]) -> Format:
        """The format that stores numpy `dtype` as it is; UsageError if there is none."""
        wanted = np.dtype(dtype)
        for item in Format:
            if item.dtype == wanted:
                return item
        raise UsageError(f"no number format stores {wanted}")


FORMATS_BY_CODE: dict[int, Format] = {item.code: item for item in Format}
"""Formats by their code in instruction words."""

FORMAT_BYTES = np.array(
    [FORMATS_BY_CODE[code].bytes if code in FORMATS_BY_CODE else 0 for code in range(16)], dtype=np.int64
)
"""Bytes of an element by format code; 0 for packed formats, codes that are not used and NO_FORMAT."""

FORMAT_BITS = np.array(
    [FORMATS_BY_CODE[code].bits if code in FORMATS_BY_CODE else 0 for code in range(16)], dtype=np.int64
)
"""Bits of an element by format code; 0 for codes that are not used and for NO_FORMAT."""

KIND_DTYPES: dict[Kind, np.dtype[Any]] = {
    "float": np.dtype(np.float32),
    "int": np.dtype(np.int32),
    "bool": np.dtype(np.bool_),
}
"""The numpy dtype in which lanes hold each kind."""

KIND_FORMATS: dict[Kind, Format] = {"float": Format.F32, "int": Format.I32, "bool": Format.BOOL}
"""The format that stores a kind without loss."""


def kind_of_dtype(dtype: np.dtype[Any]) -> Kind:
    """The lane kind of an array that lanes hold (float32, int32 or bool)."""
    if dtype == np.bool_:
        return "bool"
    return "int" if dtype.kind == "i" else "float"


Convert = Callable[[Array, Array], None]
"""A conversion: (values, out) writes the values into `out`, whose dtype says what they become."""


def assign(values: Array, out: Array) -> None:
    """Numpy's own conversion: rounds half to even, wraps integers."""
    out[...] = values


def _is_not_zero(values: Array, out: Array) -> None:
    np.not_equal(values, 0, out)


def _stored_truth(stored: Array, out: Array) -> None:
    np.not_equal(stored.view(np.uint8), 0, out)


def _truncating(target: Format) -> Convert:
    """The conversion of float32 to an integer format: toward zero, saturated, NaN to 0."""
    least, greatest = target.limits
    low = np.array(least, dtype=np.float32)

    def to_narrow(values: Array, out: Array) -> None:
        # NaN stays NaN when clipped, and processors make it the least int32, or 0: low bytes of 0 either way.
        out[...] = values.clip(low, high)

    def to_int32(values: Array, out: Array) -> None:
        clipped = np.clip(values, low, high)
        if clipped.size and np.isnan(clipped.min()):
            clipped = np.where(np.isnan(clipped), np.float32(0), clipped)
        # 2**31 - 1 is no float32, so the upper end is put right after the conversion.
        over = values >= np.float32(2147483648.0)
        out[...] = clipped
        if over.any():
            out[over] = greatest

    if target.bits == 32:
        high = np.array(2147483520.0, dtype=np.float32)
        return to_int32
    high = np.array(greatest, dtype=np.float32)
    return to_narrow


def _packing(target: Format, kind: Kind) -> Convert:
    pack = packing(target.bits)
    if kind != "float" or target.kind != "int":
        return pack
    truncate = _truncating(target)

    def truncate_and_pack(values: Array, out: Array) -> None:
        whole = np.empty(values.shape, np.int8)
        truncate(values, whole)
        pack(whole, out)

    return truncate_and_pack


def _fields(source: Format) -> Array:
    """[256, elements of a byte]: what lanes hold of every byte of a packed format."""
    fields = fields_of_bytes(source.bits)
    if source.kind == "bool":
        return fields.astype(np.bool_)
    return signed_field(fields, source.bits) if source.signed else fields.astype(np.int32)


_TRUNCATIONS = {item: _truncating(item) for item in Format if item.kind == "int" and not item.packed}
_UNPACKINGS = {item: unpacking(_fields(item)) for item in Format if item.packed}
_PACKINGS = {(kind, item): _packing(item, kind) for kind in KIND_DTYPES for item in Format if item.packed}


def widening(source: Format) -> Convert | None:
    """The conversion from stored values to lane values; None where the lanes hold them as they are stored.

    Stored bool bytes other than 0 and 1 read as true. Packed rows have an axis of bytes, whose bits behind the
    last of the values are left out.
    """
    if source is Format.F32 or source is Format.I32:
        return None
    if source.packed:
        return _UNPACKINGS[source]
    return _stored_truth if source is Format.BOOL else assign


def narrowing(kind: Kind, target: Format) -> Convert:
    """The conversion from lane values of `kind` to stored values."""
    if target.packed:
        return _PACKINGS[kind, target]
    if target is Format.BOOL and kind != "bool":
        return _is_not_zero
    if kind == "float" and target.kind == "int":
        return _TRUNCATIONS[target]
    return assign


def widen(stored: Array, source: Format) -> Array:
    """Lane values of a stored array of `source` (any shape): float32, int32 or bool.

    The result may be the argument itself. Packed bytes give all their elements along the last axis.
    """
    convert = widening(source)
    if convert is None:
        return stored
    shape = (*stored.shape[:-1], stored.shape[-1] * 8 // source.bits) if source.packed else stored.shape
    result = np.empty(shape, KIND_DTYPES[source.kind])
    convert(np.atleast_1d(stored), np.atleast_1d(result))
    return result


def narrow(values: Array, target: Format) -> Array:
    """Lane values (float32, int32 or bool) converted to `target`, as numpy array of `target.dtype`.

    The result may be the argument itself.
    """
    if values.dtype == target.dtype and not target.packed:
        return values
    shape = (*values.shape[:-1], target.run_bytes(values.shape[-1])) if target.packed else values.shape
    result = np.empty(shape, target.dtype)
    with np.errstate(all="ignore"):
        narrowing(kind_of_dtype(values.dtype), target)(np.atleast_1d(values), np.atleast_1d(result))
    return result
