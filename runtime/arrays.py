"""Named arrays in npz files: inputs, calibration data, outputs and values."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ..isa.errors import InputError
from ..isa.files import write_beside
from ..isa.formats import Array

_DAMAGES = (ValueError, EOFError, KeyError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What numpy and zipfile raise for files that are damaged or something else."""


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of an npz file. Raises InputError for a file that is none."""
    try:
        # What it gives depends on the file's contents.
        found: Any = np.load(path, allow_pickle=False)
        if not isinstance(found, np.lib.npyio.NpzFile):
            raise InputError(str(path), "holds one array, not named ones", "write it with numpy.savez")
        with found:
            return {name: found[name] for name in found.files}
    except OSError as error:
        raise InputError(str(path), f"cannot be read: {error.strerror or error}") from None
    except _DAMAGES as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(str(path), f"is not an npz file of plain arrays: {reason}") from None


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write named arrays to an npz file, whole or not at all. Raises OutputError where it cannot be written.

    npz knows no bfloat16: such arrays are written as float32, which holds them exactly.
    """
    # Not numpy.savez, for which some names would be its own arguments.
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, array in arrays.items():
            plain = array.astype(np.float32) if array.dtype.name == "bfloat16" else array
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, plain, allow_pickle=False)
    write_beside(path, content.getvalue())
