"""Named arrays from npz files: inputs and calibration data."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from ..isa.errors import InputError
from ..isa.formats import Array


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of an npz file. Raises InputError for a file that is none."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InputError(str(path), "holds one array, not named ones", "write it with numpy.savez")
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise InputError(str(path), f"cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(str(path), f"is not an npz file: {error}") from None
