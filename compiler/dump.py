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
from typing import Any, Self, cast

from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.utils.exceptions import ParseError, VerifyException

from ..dialects.constants import ConstantStore, RefAttr
from ..dialects.context import CompilerContext
from ..dialects.onnx_interface import main_of
from ..dialects.tile import TensorOp
from ..isa.container import STORABLE, container_parts, read_container
from ..isa.errors import AttncError, InputError, OutputError
from ..isa.files import write_beside
from ..isa.machine import Machine, machine_from_dict
from ..passes.emit.emit import ModelFacts
from .compilation import Compilation
from .facts import facts_from_dict, facts_to_dict
from .phases import EMIT, PHASE_NAMES
from .recipe import Recipe

CONSTANTS = "constants.safetensors"
DESCRIPTION = "compilation.json"


def file_of(phase: str) -> str:
    """The name of the file that holds what a phase made."""
    return f"{PHASE_NAMES.index(phase):02}-{phase}.{'asm' if phase == EMIT else 'mlir'}"


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

    What an earlier compilation left in the folder is replaced. Raises OutputError where the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._keys: dict[str, None] = {}
        self._last: Compilation | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in (*map(file_of, PHASE_NAMES), CONSTANTS, DESCRIPTION):
                (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(str(folder), error.strerror or str(error)) from None

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
        self._write(DESCRIPTION, json.dumps(description, indent=2) + "\n")
        write_constants(self.folder / CONSTANTS, self._last.context.store, list(self._keys))

    def phase(self, compilation: Compilation) -> None:
        """Write what the phase just reached has made: a module, or the program as assembly text."""
        self._last = compilation
        if compilation.program is not None:
            from ..isa.assembly import disassemble

            self._write(file_of(EMIT), disassemble(compilation.program))
            return
        self._keys |= dict.fromkeys(named_constants(compilation.module))
        self._write(file_of(compilation.phase), text_of(compilation.module))

    def _write(self, name: str, text: str) -> None:
        write_beside(self.folder / name, text.encode())


def write_constants(path: Path, store: ConstantStore, keys: list[str]) -> None:
    """Write constants of the store to a safetensors file; those of types that it cannot hold (text) are left out."""
    arrays = {key: store.get(key) for key in keys}
    storable = {key: array for key, array in arrays.items() if array.dtype in STORABLE}
    write_beside(path, *container_parts({"content": "constants"}, storable))


def read_dump(folder: Path, before: str, context: CompilerContext) -> tuple[ModuleOp, Machine, Recipe, ModelFacts]:
    """The module as it was before phase `before`, its constants put into the context's store, machine and recipe.

    Raises InputError (ProgramFileError for the constants) naming the file that is missing or damaged.
    """
    description = _described(folder / DESCRIPTION)
    path = folder / file_of(PHASE_NAMES[PHASE_NAMES.index(before) - 1])
    try:
        text = path.read_text(encoding="utf-8")
        read_constants(folder / CONSTANTS, context.store)
    except OSError as error:
        raise InputError(str(error.filename or folder), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(str(path), "is not text") from None
    module = _parsed(path, text, context)
    missing = [key for key in named_constants(module) if key not in context.store]
    if missing:
        raise InputError(str(folder / CONSTANTS), f"has no constant {missing[0]!r}")
    try:
        facts = facts_from_dict(description["facts"])
        return module, machine_from_dict(description["machine"]), Recipe.of(description["recipe"]), facts
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(str(folder / DESCRIPTION), "is not what --dump-ir writes") from None
    except AttncError as error:
        raise InputError(str(folder / DESCRIPTION), str(error)) from None


def _described(path: Path) -> dict[str, Any]:
    try:
        description: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        remedy = "--start-from needs a folder that --dump-ir wrote"
        raise InputError(str(path), f"cannot be read: {error.strerror}", remedy) from None
    except (ValueError, RecursionError) as error:
        raise InputError(str(path), f"is not valid JSON: {error}") from None
    if not isinstance(description, dict):
        raise InputError(str(path), "is not what --dump-ir writes")
    return cast("dict[str, Any]", description)


def _parsed(path: Path, text: str, context: CompilerContext) -> ModuleOp:
    try:
        module = Parser(context, text, str(path)).parse_module()
        module.verify()
        main_of(module)
    except ParseError as error:
        place = error.span.get_location()
        raise InputError(str(path), f"is not valid IR: line {place.line}, column {place.col}: {error.msg}") from None
    except (VerifyException, ValueError) as error:
        # The message of a failed verification is the whole module; what it was made from is the sentence.
        raise InputError(str(path), f"is not valid IR: {error.__cause__ or error}") from None
    return module


def read_constants(path: Path, store: ConstantStore) -> None:
    """Add the constants of a safetensors file to the store."""
    _, arrays = read_container(path.read_bytes(), str(path))
    for key, array in arrays.items():
        store.add(key, array)
