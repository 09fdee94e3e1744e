"""The models of the repository with their inputs and reference outputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import attnc
from attnc.isa.program import Program

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "tests" / "models"
DIGITS = ROOT / "examples" / "digits_vit"


@dataclass(frozen=True)
class Case:
    """A model file, its inputs and what ONNX Runtime makes of them without optimizations."""

    path: Path
    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the inputs, for models that leave them open."""
        return {name: array.shape for name, array in self.inputs.items()}

    def program(self, machine: str = "edge", precision: str | None = None) -> Program:
        """The model compiled, once for all tests that only look at it."""
        return compiled(self.path.stem, machine, precision)


def case(name: str) -> Case:
    """The case of `tests/models/NAME.onnx`."""
    arrays = np.load(MODELS / f"{name}.npz")
    parts = {
        prefix: {k[len(prefix) :]: arrays[k] for k in arrays.files if k.startswith(prefix)}
        for prefix in ("in.", "out.")
    }
    return Case(MODELS / f"{name}.onnx", parts["in."], parts["out."])


@cache
def compiled(name: str, machine: str, precision: str | None) -> Program:
    """The program of a case."""
    one = case(name)
    program = attnc.compile(one.path, machine=machine, shapes=one.shapes, precision=precision).program
    assert program is not None
    return program


CASES = sorted(path.stem for path in MODELS.glob("*.onnx"))


@pytest.fixture(scope="session", params=CASES)
def model(request: pytest.FixtureRequest) -> Case:
    """Each model of `tests/models` in turn."""
    return case(request.param)


@pytest.fixture(scope="session")
def digits() -> Path:
    """The folder of the trained digits Transformer."""
    return DIGITS
