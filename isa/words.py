"""Instruction words as bits: packing columns of field values into 64-byte words, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .columns import Int64Array
from .errors import Fault
from .fields import Wait
from .record import (
    HEADER_BITS,
    HEADER_WAITS,
    OPCODE_BITS,
    QUEUE_BITS,
    WORD_BITS,
    WORD_BYTES,
    Field,
    Instruction,
)

Words = NDArray[np.uint8]
Lanes = NDArray[np.uint64]

_WAIT = Wait()
_WAIT_OFFSET = OPCODE_BITS + QUEUE_BITS


def _put(lanes: Lanes, offset: int, bits: int, raw: Any) -> None:
    lane, shift = divmod(offset, 64)
    lanes[:, lane] |= raw << np.uint64(shift)
    if shift + bits > 64:
        lanes[:, lane + 1] |= raw >> np.uint64(64 - shift)


def _take(lanes: Lanes, offset: int, bits: int) -> Any:
    lane, shift = divmod(offset, 64)
    raw = lanes[:, lane] >> np.uint64(shift)
    if shift + bits > 64:
        raw = raw | (lanes[:, lane + 1] << np.uint64(64 - shift))
    return raw & np.uint64((1 << bits) - 1)


def _used_bits(fields: tuple[Field, ...]) -> Lanes:
    last = max((item.offset + item.kind.bits for item in fields), default=HEADER_BITS)
    number = (1 << last) - 1
    return np.frombuffer(number.to_bytes(WORD_BYTES, "little"), dtype="<u8").astype(np.uint64)


def check_fields(record: type[Instruction], rows: Int64Array, columns: Mapping[str, Int64Array]) -> None:
    """Fault naming the row, field and value of the first value that may not stand in its field."""
    for item in record.fields:
        values = columns[item.name]
        legal = item.kind.legal(values)
        if not legal.all():
            place = int(np.flatnonzero(~legal)[0])
            value = int(values[place])
            raise Fault(
                f"{record.mnemonic} {item.name} = {value} is not legal: {item.kind.describe()}",
                int(rows[place]),
            )


def encode_rows(
    record: type[Instruction],
    queues: Int64Array,
    waits: Int64Array,
    columns: Mapping[str, Int64Array],
) -> Words:
    """Words uint8 [count, 64] of rows of one record; `waits` [count, 3] as Wait columns; values are legal."""
    lanes = np.zeros((len(queues), WORD_BITS // 64), dtype=np.uint64)
    _put(lanes, 0, OPCODE_BITS, np.full(len(queues), record.opcode, dtype=np.uint64))
    _put(lanes, OPCODE_BITS, QUEUE_BITS, queues.astype(np.uint64))
    for place in range(HEADER_WAITS):
        _put(lanes, _WAIT_OFFSET + place * _WAIT.bits, _WAIT.bits, _WAIT.encode(waits[:, place]))
    for item in record.fields:
        _put(lanes, item.offset, item.kind.bits, item.kind.encode(columns[item.name]))
    return lanes.astype("<u8").view(np.uint8).reshape(len(queues), WORD_BYTES)


def decode_header(words: Words) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Opcodes, queues and waits [count, 3] (counts still modulo 2^16) of words uint8 [count, 64]."""
    lanes = _lanes(words)
    waits = [_WAIT.decode(_take(lanes, _WAIT_OFFSET + place * _WAIT.bits, _WAIT.bits)) for place in range(HEADER_WAITS)]
    return (
        _take(lanes, 0, OPCODE_BITS).astype(np.int64),
        _take(lanes, OPCODE_BITS, QUEUE_BITS).astype(np.int64),
        np.stack(waits, axis=1),
    )


def decode_rows(record: type[Instruction], rows: Int64Array, words: Words) -> dict[str, Int64Array]:
    """Field columns of words of one record; Fault where a value or a reserved bit is not legal."""
    lanes = _lanes(words)
    stray = (lanes & ~_used_bits(record.fields)).any(axis=1)
    if stray.any():
        raise Fault(f"{record.mnemonic} has reserved bits set", int(rows[np.flatnonzero(stray)[0]]))
    columns = {item.name: item.kind.decode(_take(lanes, item.offset, item.kind.bits)) for item in record.fields}
    check_fields(record, rows, columns)
    return columns


def _lanes(words: Words) -> Lanes:
    return np.ascontiguousarray(words).view("<u8").astype(np.uint64, copy=False)
