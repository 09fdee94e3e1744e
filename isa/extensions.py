"""What other installed packages add to attnc, by entry points. A package says in its pyproject.toml:

[project.entry-points."attnc.machines"]         # a package whose folder holds machine files
wide = "my_package.machines"

[project.entry-points."attnc.instructions"]     # an instruction record, under its mnemonic
"ld.fill" = "my_package.fill:Fill"

[project.entry-points."attnc.passes"]           # a pass, under its name
replace-gelu = "my_package.replace_gelu:ReplaceGelu"

[project.entry-points."attnc.attention_forms"]  # a form of attention, under its label
strided = "my_package.strided:Strided"
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ExtensionError
from .frozen import frozen

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

MACHINES = "attnc.machines"
INSTRUCTIONS = "attnc.instructions"
PASSES = "attnc.passes"
ATTENTION_FORMS = "attnc.attention_forms"


@frozen
class Extension:
    """An entry point: its name, and the package (distribution) that has it."""

    name: str
    package: str
    entry_point: EntryPoint

    def load(self) -> Any:
        """The object that the entry point names. Raises ExtensionError, whatever goes wrong in the package."""
        try:
            return self.entry_point.load()
        except Exception as error:
            raise self.wrong(f"cannot be loaded: {type(error).__name__}: {error}") from error

    def wrong(self, reason: str) -> ExtensionError:
        """The error that this extension is not as it should be."""
        return ExtensionError(self.package, self.name, reason)


@cache
def extensions(group: str) -> tuple[Extension, ...]:
    """The entry points of a group, by name. Raises ExtensionError where two packages give one name."""
    if not _present():
        return ()
    from importlib.metadata import entry_points

    found: dict[str, Extension] = {}
    for point in entry_points(group=group):
        extension = Extension(point.name, "?" if point.dist is None else point.dist.name, point)
        other = found.setdefault(point.name, extension)
        if other.package != extension.package:
            raise extension.wrong(f"package {other.package} gives that name too")
    return tuple(found[name] for name in sorted(found))


@cache
def _present() -> bool:
    """Whether any installed package may extend attnc: importlib.metadata takes ten times as long to tell."""
    return any(_extends(Path(entry.path)) for folder in sys.path for entry in _metadata(folder))


def _metadata(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder or ".") as entries:
            return [entry for entry in entries if entry.name.endswith((".dist-info", ".egg-info"))]
    except OSError:
        return []


def _extends(metadata: Path) -> bool:
    try:
        return b"[attnc." in (metadata / "entry_points.txt").read_bytes()
    except OSError:
        return False
