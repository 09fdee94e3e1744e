"""The bytes of a model file without its weights, and where the weights are.

Parsing a model with protobuf copies every weight. Walking the wire format of the file first, and leaving out
the `raw_data` of large initializers, keeps them where they are: in the mapped file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ...isa.frozen import frozen

_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
"""Field numbers: ModelProto.graph, GraphProto.initializer, TensorProto.raw_data."""

_LEAVE_OUT = 4096
"""Weights of at least so many bytes stay in the file."""

_LENGTH_DELIMITED = 2


class DamagedError(ValueError):
    """The bytes are not protobuf's wire format: cut off, or something else."""


@dataclass
class Stripped:
    """A model's bytes without large weights.

    `weights` are their (offset, bytes) by index of the initializer.
    """

    proto: bytes
    weights: dict[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])


def strip_weights(data: memoryview) -> Stripped:
    """Take the large initializers out of a serialized ModelProto. Raises DamagedError if it is none."""
    graphs = [f for f in _fields(data, 0, len(data)) if f.number == _GRAPH and f.kind == _LENGTH_DELIMITED]
    if len(graphs) != 1:
        # Protobuf merges a field that comes twice; no exporter writes that, so leave it to the parser.
        return Stripped(bytes(data))
    graph = graphs[0]
    weights: dict[int, tuple[int, int]] = {}
    pieces: list[bytes] = []
    kept, index = graph.start, 0
    for tensor in _fields(data, graph.start, graph.end):
        if tensor.number != _INITIALIZER or tensor.kind != _LENGTH_DELIMITED:
            continue
        raw = [f for f in _fields(data, tensor.start, tensor.end) if f.number == _RAW_DATA]
        if len(raw) == 1 and raw[0].end - raw[0].start >= _LEAVE_OUT:
            weights[index] = (raw[0].start, raw[0].end - raw[0].start)
            rest = bytes(data[tensor.start : raw[0].tag]) + bytes(data[raw[0].end : tensor.end])
            pieces += [bytes(data[kept : tensor.tag]), _tagged(_INITIALIZER, len(rest)), rest]
            kept = tensor.end
        index += 1
    pieces.append(bytes(data[kept : graph.end]))
    size = sum(map(len, pieces))
    head = bytes(data[: graph.tag]) + _tagged(_GRAPH, size)
    return Stripped(b"".join((head, *pieces, bytes(data[graph.end :]))), weights)


@frozen
class _Field:
    """A field of a message: where its tag is, and where its contents start and end."""

    number: int
    kind: int
    tag: int
    start: int
    end: int


def _fields(data: memoryview, position: int, end: int) -> Iterator[_Field]:
    while position < end:
        tag = position
        key, position = _varint(data, position, end)
        number, kind = key >> 3, key & 7
        match kind:
            case 0:
                start = position
                _, position = _varint(data, position, end)
            case 1 | 5:
                start, position = position, position + (8 if kind == 1 else 4)
            case 2:
                size, start = _varint(data, position, end)
                position = start + size
            case _:
                raise DamagedError(f"byte {tag} starts no field")
        if position > end or number == 0:
            raise DamagedError(f"the field at byte {tag} does not end within its message")
        yield _Field(number, kind, tag, start, position)


def _varint(data: memoryview, position: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise DamagedError(f"the number before byte {position} does not end")


def _tagged(number: int, size: int) -> bytes:
    """The tag of a length-delimited field and its length."""
    encoded = bytearray((number << 3 | _LENGTH_DELIMITED,))
    while size >= 0x80:
        encoded.append(size & 0x7F | 0x80)
        size >>= 7
    encoded.append(size)
    return bytes(encoded)
