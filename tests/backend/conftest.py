"""The official ONNX backend suite through compiler and simulator."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "backend_score.py"


def _scoring() -> ModuleType:
    spec = importlib.util.spec_from_file_location("backend_score", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def scoring() -> ModuleType:
    """`benchmarks/backend_score.py`."""
    return _scoring()


@pytest.fixture(scope="session")
def plain_tests(scoring: ModuleType) -> list[Any]:
    """The plain node tests of the onnx package."""
    return scoring.plain_tests()
