"""The program file's container: safetensors bytes with one metadata key, whose digest covers the whole file.

Layout: length of the header (8 bytes, little-endian), a JSON header that begins with the metadata, padding
spaces to 8 bytes, then the tensors without gaps. The metadata is one JSON text under the key "attnc", and
begins with the digest, so that its place in the file is fixed. The digest is blake2b over the file with its
own characters set to "0". Equal content gives equal bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from math import prod
from typing import Any, cast

import ml_dtypes
import numpy as np

from .errors import ProgramFileError
from .formats import Array

_DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I32": np.dtype("<i4"),
    "F32": np.dtype("<f4"),
    "I64": np.dtype("<i8"),
    "I16": np.dtype("<i2"),
    "U16": np.dtype("<u2"),
    "U32": np.dtype("<u4"),
    "U64": np.dtype("<u8"),
    "F64": np.dtype("<f8"),
}

STORABLE = frozenset(_DTYPES.values())
"""The numpy dtypes that a container can hold."""

_DIGEST_CHARACTERS = 64
_START = b'{"__metadata__":{"attnc":"{\\"digest\\":\\"'
_DIGEST_OFFSET = 8 + len(_START)
_NO_DIGEST = "0" * _DIGEST_CHARACTERS


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _dtype_name(dtype: np.dtype[Any]) -> str:
    for name, item in _DTYPES.items():
        if item == dtype:
            return name
    raise ProgramFileError("program", f"a tensor of {dtype} cannot be stored")


def _digest(begin: bytearray | memoryview, rest: Iterable[memoryview] = ()) -> str:
    """The digest of a container that begins with `begin`, the place of the digest included, and goes on with `rest`."""
    state = hashlib.blake2b(digest_size=_DIGEST_CHARACTERS // 2)
    state.update(begin[:_DIGEST_OFFSET])
    state.update(_NO_DIGEST.encode())
    state.update(begin[_DIGEST_OFFSET + _DIGEST_CHARACTERS :])
    for part in rest:
        state.update(part)
    return state.hexdigest()


def is_container(begin: bytes) -> bool:
    """Whether a file that begins with these bytes (64 are enough) claims to be a container."""
    return begin[8 : 8 + len(_START)] == _START


def container_parts(metadata: Mapping[str, Any], tensors: Mapping[str, Array]) -> list[memoryview]:
    """The bytes of a container, as its header and the tensors' own memory: tensors in the order given, none copied.

    Raises ProgramFileError for a dtype without a name.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    described = json.dumps({"digest": _NO_DIGEST})[:-1] + "," + _canonical(dict(metadata))[1:]
    described = described.replace('"digest": ', '"digest":', 1)
    header: dict[str, Any] = {"__metadata__": {"attnc": described}}
    offset = 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": _dtype_name(array.dtype),
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    begin = bytearray(len(text).to_bytes(8, "little") + text)
    stored = [array.reshape(-1).view(np.uint8).data for array in arrays.values()]
    begin[_DIGEST_OFFSET : _DIGEST_OFFSET + _DIGEST_CHARACTERS] = _digest(begin, stored).encode()
    return [memoryview(begin), *stored]


def read_container(content: bytes | bytearray, subject: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """Metadata and tensors (views of `content`); ProgramFileError for anything that is not as written."""
    view = memoryview(content)
    length = int.from_bytes(view[:8], "little")
    if len(view) < _DIGEST_OFFSET + _DIGEST_CHARACTERS or not is_container(view[:_DIGEST_OFFSET].tobytes()):
        raise ProgramFileError(subject, "is not an attnc program")
    if length > len(view) - 8:
        raise ProgramFileError(subject, "is damaged: its header is longer than the file")
    stored = view[_DIGEST_OFFSET : _DIGEST_OFFSET + _DIGEST_CHARACTERS].tobytes()
    if stored.decode("latin-1") != _digest(view):
        raise ProgramFileError(subject, "is damaged: its digest does not match its bytes")
    try:
        header: Any = json.loads(view[8 : 8 + length].tobytes().decode("ascii"))
        metadata: Any = json.loads(header.pop("__metadata__")["attnc"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ProgramFileError(subject, "is damaged: its header is not the JSON it should be") from None
    if not isinstance(metadata, dict):
        raise ProgramFileError(subject, "is damaged: its metadata is no table")
    tensors = _read_tensors(cast(dict[str, Any], header), view[8 + length :], subject)
    return cast(dict[str, Any], metadata), tensors


def _read_tensors(header: dict[str, Any], data: memoryview, subject: str) -> dict[str, Array]:
    tensors: dict[str, Array] = {}
    end = 0
    for name, entry in header.items():
        reason = _entry_fault(entry, end, len(data))
        if reason is not None:
            raise ProgramFileError(subject, f"tensor {name!r} {reason}")
        dtype, shape, (start, stop) = _DTYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
        tensors[name] = np.frombuffer(data[start:stop], dtype=np.uint8).view(dtype).reshape(shape)
        end = stop
    if end != len(data):
        raise ProgramFileError(subject, f"has {len(data) - end} bytes that belong to no tensor")
    return tensors


def _entry_fault(entry: Any, start: int, limit: int) -> str | None:
    if not isinstance(entry, dict) or set(cast(dict[str, Any], entry)) != {"dtype", "shape", "data_offsets"}:
        return "has no proper entry"
    fields = cast(dict[str, Any], entry)
    if not isinstance(fields["dtype"], str) or fields["dtype"] not in _DTYPES:
        return f"has the unknown type {fields['dtype']!r}"
    for key in ("shape", "data_offsets"):
        numbers = fields[key]
        if not isinstance(numbers, list) or not all(
            type(number) is int and 0 <= number < 1 << 40 for number in cast(list[Any], numbers)
        ):
            return f"has {key} {numbers!r}"
    offsets = cast(list[int], fields["data_offsets"])
    size = prod(cast(list[int], fields["shape"])) * _DTYPES[fields["dtype"]].itemsize
    if len(offsets) != 2 or offsets[0] != start or offsets[1] != start + size or offsets[1] > limit:
        return f"does not lie where it should: bytes {offsets} of {limit}"
    return None


def stored_digest(content: bytes | bytearray | memoryview) -> str:
    """The digest that a container carries (unchecked), of its bytes or of their first part."""
    start = _DIGEST_OFFSET
    return bytes(content[start : start + _DIGEST_CHARACTERS]).decode("latin-1")
