"""Arrays that a recipe gives for attentions, in .npz files, under their structural paths."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...dialects.constants import Array
from ...isa.errors import InputError


def read_archive(file: str) -> dict[str, Array]:
    """All arrays of an .npz file. Raises InputError for one that cannot be read, or holds anything else."""
    try:
        with np.load(Path(file), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise InputError(file, f"cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise InputError(file, f"is no .npz file of plain arrays: {error}") from None


def beginnings(path: str) -> Iterator[str]:
    """A structural path, and ever shorter beginnings of it."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        yield ".".join(parts[:length])
