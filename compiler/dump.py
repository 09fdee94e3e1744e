"""The folder that `--dump-ir` writes: every phase readable and small, and all that is needed to go on from any of them.

00-import.mlir ... 05-schedule.mlir   the module after each phase, weights by name
06-emit.asm                           the program as assembly text
constants.safetensors                 the named constants of those modules
compilation.json                      machine, recipe and what import knew of the model
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Self

from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.utils.exceptions import ParseError

from ..dialects.constants import ConstantStore, RefAttr
from ..dialects.context import CompilerContext
from ..dialects.tile import TensorOp
from ..isa.container import read_container, write_container
from ..isa.errors import InputError
from ..isa.machine import Machine, machine_from_dict
from ..passes.emit.emit import ModelFacts
from .facts import facts_from_dict, facts_to_dict
from .phases import PHASE_NAMES
from .recipe import Recipe

if TYPE_CHECKING:
    from .compilation import Compilation

CONSTANTS = "constants.safetensors"
DESCRIPTION = "compilation.json"


def text_of(module: ModuleOp) -> str:
    """A module as text, with the ONNX nodes of every operation as locations."""
    stream = StringIO()
    Printer(stream, print_debuginfo=True).print_op(module)
    return stream.getvalue() + "\n"


def named_constants(module: ModuleOp) -> Iterator[str]:
    """The keys of the constants that a module names."""
    for operation in module.walk():
        if isinstance(operation, TensorOp) and operation.key is not None:
            yield operation.key.data
        for attribute in (*operation.properties.values(), *operation.attributes.values()):
            if isinstance(attribute, RefAttr):
                yield attribute.key.data


class Dump:
    """Writes the folder phase by phase, so that what was reached is there even if a later phase fails.

    Raises InputError where the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._keys: dict[str, None] = {}
        self._last: Compilation | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(str(folder), f"cannot be made: {error.strerror}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Write what the modules need besides their text: machine, recipe, facts, and the constants they name."""
        if self._last is None:
            return
        description = {
            "machine": self._last.machine.to_dict(),
            "recipe": self._last.recipe.to_dict(),
            "facts": facts_to_dict(self._last.facts),
        }
        (self.folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")
        write_constants(self.folder / CONSTANTS, self._last.context.store, list(self._keys))

    def phase(self, compilation: Compilation) -> None:
        """Write what the phase just reached has made: a module, or the program as assembly text."""
        self._last = compilation
        name = compilation.phase
        numbered = f"{PHASE_NAMES.index(name):02}-{name}"
        if compilation.program is not None:
            from ..isa.assembly import disassemble

            (self.folder / f"{numbered}.asm").write_text(disassemble(compilation.program))
            return
        self._keys |= dict.fromkeys(named_constants(compilation.module))
        (self.folder / f"{numbered}.mlir").write_text(text_of(compilation.module))


def write_constants(path: Path, store: ConstantStore, keys: list[str]) -> None:
    """Write constants of the store to a safetensors file."""
    path.write_bytes(write_container({"content": "constants"}, {key: store.get(key) for key in keys}))


def read_dump(folder: Path, before: str, context: CompilerContext) -> tuple[ModuleOp, Machine, Recipe, ModelFacts]:
    """The module as it was before phase `before`, its constants put into the context's store, machine and recipe.

    Raises InputError naming the file that is missing or damaged.
    """
    phase = PHASE_NAMES[PHASE_NAMES.index(before) - 1]
    path = folder / f"{PHASE_NAMES.index(phase):02}-{phase}.mlir"
    try:
        description = json.loads((folder / DESCRIPTION).read_text())
        text = path.read_text()
        read_constants(folder / CONSTANTS, context.store)
    except OSError as error:
        raise InputError(str(error.filename or folder), f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(str(folder / DESCRIPTION), f"is not valid JSON: {error}") from None
    try:
        module = Parser(context, text, str(path)).parse_module()
    except ParseError as error:
        raise InputError(str(path), f"is not valid IR: {error}") from None
    facts = facts_from_dict(description["facts"])
    return module, machine_from_dict(description["machine"]), Recipe.of(description["recipe"]), facts


def read_constants(path: Path, store: ConstantStore) -> None:
    """Add the constants of a safetensors file to the store."""
    _, arrays = read_container(path.read_bytes(), str(path))
    for key, array in arrays.items():
        store.add(key, array)
