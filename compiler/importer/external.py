"""Tensors whose bytes stand in a file beside the model, never outside its folder."""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field
from pathlib import Path

from onnx import TensorProto

from ...isa.errors import InputError


@dataclass
class ExternalData:
    """The files beside a model, each mapped once.

    `folder` is None for a model that was not read from a file.
    """

    folder: Path | None
    model: str
    maps: dict[Path, memoryview] = field(default_factory=dict[Path, memoryview])

    def read(self, tensor: TensorProto, size: int) -> memoryview:
        """The `size` bytes of a tensor with external data.

        Raises InputError if its entry is not complete, if its file is not a regular file inside the folder
        (links followed), or if that does not hold the bytes.
        """
        subject = f"{self.model}: external data of {tensor.name!r}"
        entries = {entry.key: entry.value for entry in tensor.external_data}
        offset, length = _number(entries, "offset", 0, subject), _number(entries, "length", size, subject)
        if length < size:
            raise InputError(subject, f"has {length} bytes, and the tensor needs {size}")
        location = entries.get("location", "")
        data = self._map(location, subject)
        if offset + size > len(data):
            raise InputError(subject, f"ends at byte {offset + size} of {location!r}, which has {len(data)}")
        return data[offset : offset + size]

    def _map(self, location: str, subject: str) -> memoryview:
        path = self._inside(location, subject)
        if path not in self.maps:
            try:
                with path.open("rb") as file:
                    empty = path.stat().st_size == 0
                    mapped = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except OSError as error:
                raise InputError(subject, f"{location!r} cannot be read: {error.strerror}") from error
            self.maps[path] = memoryview(mapped)
        return self.maps[path]

    def _inside(self, location: str, subject: str) -> Path:
        """The file that `location` names, if it is one inside the folder whatever links lead there."""
        if not location:
            raise InputError(subject, "names no file")
        if self.folder is None:
            raise InputError(subject, "cannot be found beside a model that is no file", "give the model's path")
        try:
            home = self.folder.resolve(strict=True)
            path = (home / location).resolve()
            is_file = path.is_file()
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(subject, f"{location!r} cannot be found") from error
        if Path(location).is_absolute() or not path.is_relative_to(home):
            raise InputError(
                subject,
                f"{location!r} is outside the model's folder",
                "copy the file into the folder, not a link",
            )
        if not is_file:
            raise InputError(subject, f"there is no file {location!r} in the model's folder")
        return path


def _number(entries: dict[str, str], name: str, default: int, subject: str) -> int:
    text = entries.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit()):
        raise InputError(subject, f"its {name} {text!r} is not a number of bytes")
    return int(text)
