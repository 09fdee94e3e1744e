"""Values of less than a byte: how they lie in bytes, and what fields of bits stand for.

Element e of a row lies in byte e // n at bit (e % n) * bits, n being the elements of a byte; a row starts at a
byte, and the bits behind its last element are written as zero and never read as values.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def packed_bytes(elements: Any, bits: Any) -> Any:
    """Bytes of a row of `elements` values of `bits` each; numbers and columns alike."""
    return (elements * bits + 7) // 8


@cache
def fields_of_bytes(bits: int) -> NDArray[np.uint8]:
    """[256, 8 // bits]: the fields of every byte, lowest first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return (np.arange(256, dtype=np.uint8)[:, None] >> shifts) & np.uint8((1 << bits) - 1)


def signed_field(fields: Array, bits: int) -> Array:
    """Fields of `bits` as two's complement, int32."""
    half = 1 << (bits - 1)
    return (fields.astype(np.int32) ^ half) - half


def unpacking(table: Array) -> Callable[[Array, Array], None]:
    """The conversion of packed rows [..., bytes] to values [..., columns], by a table [256, values of a byte]."""
    each = table.shape[1]

    def unpack(stored: Array, out: Array) -> None:
        # Several times as fast as table[stored]; bytes are never out of range, so nothing is clipped.
        if out.size == stored.size * each and out.flags.c_contiguous and out.dtype == table.dtype:
            table.take(stored, 0, out.reshape(*stored.shape, each), "clip")
            return
        values = table.take(stored, 0, mode="clip").reshape(*stored.shape[:-1], -1)
        out[...] = values[..., : out.shape[-1]]

    return unpack


def packing(bits: int) -> Callable[[Array, Array], None]:
    """The conversion of integers or bools [..., columns] to packed rows [..., bytes]; higher bits are dropped."""
    each = 8 // bits

    def pack_bits(values: Array, out: Array) -> None:
        out[...] = np.packbits(values.astype(np.bool_, copy=False), axis=-1, bitorder="little")

    def pack_fields(values: Array, out: Array) -> None:
        fields = (values & ((1 << bits) - 1)).astype(np.uint8, copy=False)
        out[...] = fields[..., ::each]
        for place in range(1, each):
            part = fields[..., place::each]
            out[..., : part.shape[-1]] |= part << place * bits

    return pack_bits if bits == 1 else pack_fields
