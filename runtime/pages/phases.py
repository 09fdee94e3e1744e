"""The phases of a program's IR as `compile --dump-ir` writes them, with the ONNX nodes of each line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...isa.errors import InputError, UsageError
from ...isa.program import Program

_REMEDY = "name a folder that `attnc compile --dump-ir` wrote together with the program"
_LOCATION = re.compile(r'"((?:[^"\\]|\\.)*)"\("')
"""A node in a location: its name, its operator following in parentheses."""

_ESCAPE = re.compile(r"\\(.)")


def read_phases(folder: Path, program: Program, numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    """Every phase in the folder: its name, text, and for each line a place in `sets`, lists of node `numbers` by name
    (-1: a line of no node). `first_row` is the line of the program's first instruction, -1 where there are none.

    Raises InputError where there is nothing to read, UsageError where the folder is of another program.
    """
    paths = sorted(path for path in folder.glob("[0-9][0-9]-*") if path.suffix in (".mlir", ".asm"))
    if not paths:
        raise InputError(str(folder), "holds no phases", _REMEDY)
    if paths[-1].suffix != ".asm":
        raise InputError(str(folder), "has no program", _REMEDY)
    return [_phase(path, program, numbers) for path in paths]


def _phase(path: Path, program: Program, numbers: Mapping[str, int]) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(str(path), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(str(path), "is not text") from None
    lines = text.splitlines()
    first_row = -1
    if path.suffix == ".asm":
        first_row = _first_instruction(path, lines, program)
        nodes = [()] * first_row + [program.row_nodes(row) for row in range(len(program.table))]
        nodes += [()] * (len(lines) - len(nodes))
    else:
        nodes = _located(lines)
    sets: dict[tuple[int, ...], int] = {}
    places: list[int] = []
    for names in nodes:
        own = tuple(numbers[name] for name in names if name in numbers)
        places.append(sets.setdefault(own, len(sets)) if own else -1)
    return {
        "name": path.stem.partition("-")[2],
        "file": path.name,
        "text": "\n".join(lines),
        "sets": list(sets),
        "places": places,
        "first_row": first_row,
    }


def _first_instruction(path: Path, lines: list[str], program: Program) -> int:
    """The line of the first instruction of assembly text that must be the program's own."""
    if not any(program.digest in line for line in lines[:1]):
        raise UsageError(f"{path} is of another program", _REMEDY)
    return next((number for number, line in enumerate(lines) if line and line[0] not in "#."), -1)


def _located(lines: list[str]) -> list[tuple[str, ...]]:
    """For each line of a module the nodes of its operation: its own location, or that of the operation around it."""
    found: list[tuple[str, ...]] = [()] * len(lines)
    opened: dict[int, int] = {}
    for number, line in enumerate(lines):
        depth = len(line) - len(line.lstrip(" "))
        _, mark, location = line.rpartition(" loc(")
        names = tuple(_ESCAPE.sub(r"\1", name) for name in _LOCATION.findall(location)) if mark else ()
        if line.lstrip(" ").startswith("}"):
            for inner in range(opened.pop(depth, number), number + 1):
                found[inner] = found[inner] or names
        else:
            found[number] = names
            if line.endswith("{"):
                opened[depth] = number
    return found
