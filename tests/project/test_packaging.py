"""What is installed: every package is listed, start-up stays light, the simulator stands alone."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("compiler", "dialects", "isa", "passes", "runtime")
HEAVY = ("numpy", "onnx", "onnxruntime", "xdsl", "lark", "tqdm", "jinja2", "plotly")


def python(code: str) -> str:
    """Run code in a new interpreter and give what it prints."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return result.stdout


def test_every_package_is_listed_for_installation() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        ".".join(("attnc", *init.parent.relative_to(ROOT).parts))
        for package in PACKAGES
        for init in (ROOT / package).rglob("__init__.py")
    }
    assert set(listed) == {"attnc", *found, "attnc.isa.machines"}


def test_help_loads_no_heavy_module() -> None:
    code = f"""
import sys
from attnc.compiler.command_line.main import main
try:
    main(["--help"])
except SystemExit:
    pass
print([name for name in {HEAVY} if name in sys.modules])
"""
    assert python(code).splitlines()[-1] == "[]"


@pytest.mark.parametrize("module", ["attnc.runtime.session", "attnc.isa.assembly"])
def test_simulator_imports_without_compiler_libraries(module: str) -> None:
    code = f"""
import sys
for name in ("xdsl", "onnx", "onnxruntime"):
    sys.modules[name] = None
import {module}
print([name for name in sys.modules if name.startswith(("attnc.compiler", "attnc.passes", "attnc.dialects"))])
"""
    assert python(code).strip() == "[]"
