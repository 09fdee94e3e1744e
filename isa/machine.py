"""The machine: everything that compiler and simulator know of the hardware, read from one TOML file.

Keys carry their units. A file may say `extends = "edge"` and give only what differs. Reading checks unknown,
missing and mistyped keys, ranges, and that every matrix mode's rate fits the operand ports.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from .errors import MachineError
from .extensions import MACHINES, extensions
from .hardware import (
    ACTIONS,
    MATRIX_LAWS,
    Dram,
    Engines,
    Figure,
    Machine,
    MatrixEngine,
    Memory,
    Queue,
    SparseEngine,
    Transfer,
    VectorEngine,
)
from .machine_reader import MachineReader

__all__ = [
    "ACTIONS",
    "MATRIX_LAWS",
    "Dram",
    "Engines",
    "Figure",
    "Machine",
    "MatrixEngine",
    "Memory",
    "Queue",
    "SparseEngine",
    "Transfer",
    "VectorEngine",
    "load_machine",
    "machine_from_dict",
    "machine_names",
    "machine_tables",
    "merge_tables",
]

DEFAULT_MACHINE = "edge"
"""The machine where none is named."""

MACHINES_FOLDER = Path(__file__).parent / "machines"


def machine_names() -> tuple[str, ...]:
    """Names of the machines that come with attnc and with packages that extend it."""
    return tuple(sorted((*_own_names(), *_further_files())))


def load_machine(name_or_path: str | Path) -> Machine:
    """The machine of a name from `machine_names()` or of a TOML file; MachineError when it is not valid."""
    return machine_from_dict(machine_tables(name_or_path), str(name_or_path))


def machine_from_dict(data: Mapping[str, Any], name: str = "") -> Machine:
    """The machine of plain values, as `Machine.to_dict` or a TOML file give; MachineError if not valid."""
    return MachineReader(name or str(data.get("name", "?"))).machine(data)


def machine_tables(name_or_path: str | Path) -> dict[str, Any]:
    """The tables of a machine's file, what it extends filled in, keys and values not checked yet.

    Raises MachineError for a file that cannot be read.
    """
    return _read(name_or_path, ())


def _read(name_or_path: str | Path, seen: tuple[str, ...]) -> dict[str, Any]:
    path = _locate(name_or_path)
    subject = str(name_or_path)
    if str(path) in seen:
        raise MachineError(subject, "extends", "the files extend one another in a circle")
    try:
        content = path.read_bytes()
        data: dict[str, Any] = tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise MachineError(subject, "", f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise MachineError(subject, "", "is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise MachineError(subject, "", f"is not TOML: {error}") from None
    parent = data.pop("extends", None)
    if parent is None:
        return data
    if not isinstance(parent, str):
        raise MachineError(subject, "extends", f"a machine's name or file is needed, not {parent!r}")
    beside = path.parent / parent
    base = _read(beside if beside.is_file() else parent, (*seen, str(path)))
    return merge_tables(base, data)


def _own_names() -> list[str]:
    return [path.stem for path in MACHINES_FOLDER.glob("*.toml")]


def _further_files() -> dict[str, Path]:
    """The machine files of packages that extend attnc, by name. Raises ExtensionError."""
    from importlib.resources import files

    found: dict[str, Path] = {}
    own = _own_names()
    for extension in extensions(MACHINES):
        package = extension.load()
        if not isinstance(package, ModuleType):
            raise extension.wrong("is not a package whose folder holds machine files")
        folder = Path(str(files(package)))
        for path in sorted(folder.glob("*.toml")):
            if path.stem in own or path.stem in found:
                raise extension.wrong(f"there is a machine {path.stem} already")
            found[path.stem] = path
    return found


def _locate(name_or_path: str | Path) -> Path:
    if isinstance(name_or_path, str):
        if name_or_path in _own_names():
            return MACHINES_FOLDER / f"{name_or_path}.toml"
        further = _further_files()
        if name_or_path in further:
            return further[name_or_path]
    path = Path(name_or_path)
    if not path.is_file():
        raise MachineError(
            str(name_or_path),
            "",
            f"no machine of this name and no such file; names are {', '.join(machine_names())}",
        )
    return path.resolve()


def merge_tables(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """The tables of `base` with those of `over` in their place, key by key."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        # A figure is replaced whole: a new value under the old source would be a false citation.
        if isinstance(old, dict) and isinstance(value, dict) and "source" not in old:
            result[key] = merge_tables(cast(dict[str, Any], old), cast(dict[str, Any], value))
        else:
            result[key] = value
    return result
