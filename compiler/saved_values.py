"""The values that `compare` saves: an npz file for the reference and for each phase, arrays by their ONNX names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..dialects.constants import Array
from ..isa.errors import OutputError
from ..runtime.arrays import write_arrays


class SavedValues:
    """Collects the values of one phase after the other. Raises OutputError where the folder cannot be made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._values: dict[str, Array] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(str(folder), error.strerror or str(error)) from None

    def add(self, name: str, array: Array) -> None:
        """Keep a copy of a value as it is now: what follows may take its memory."""
        self._values[name] = np.array(array)

    def write(self, phase: str) -> None:
        """Write what was collected to `PHASE.npz`, and start anew."""
        write_arrays(self._folder / f"{phase}.npz", self._values)
        self._values = {}
