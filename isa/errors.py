"""Every error that attnc shows a user, as a typed class whose message is made here from its fields.

`code` names the kind of error in print and in machine-readable output; `exit_code` is what the command line
returns: 1 when the answer is no (unsupported, does not fit, faults, races), 2 when the question was wrong
(usage, unreadable or invalid input). `meaning` and `advice` are what `attnc explain` and the page of errors say.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from .frozen import frozen


class AttncError(Exception):
    """Base of every error that attnc raises on purpose; `str(error)` is one clear message."""

    code: ClassVar[str] = "E100"
    exit_code: ClassVar[int] = 1
    meaning: ClassVar[str] = ""
    advice: ClassVar[str] = ""


class UsageError(AttncError):
    """A wrong flag, argument or call; `remedy` says what to write instead."""

    code = "E201"
    exit_code = 2
    meaning = "A flag, an argument or a call asks for something that does not exist or does not go together."
    advice = "The message ends with what to write instead. `attnc COMMAND --help` lists every option with examples."

    def __init__(self, reason: str, remedy: str | None = None) -> None:
        self.reason = reason
        self.remedy = remedy
        super().__init__(reason if remedy is None else f"{reason}; {remedy}")


def one_of(what: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises UsageError where a word is none of those that there are."""
    if value not in choices:
        raise UsageError(f"{what} {value!r} is unknown", f"choose one of {', '.join(choices)}")


class InputError(AttncError):
    """An input (model, npz, recipe, array) that cannot be read or is not valid; `subject` names it."""

    code = "E202"
    exit_code = 2
    meaning = (
        "An input cannot be read, or is not what it should be: a model, arrays, a recipe, a dump folder. "
        "Nothing was written."
    )
    advice = (
        "For arrays, compare names, types and shapes with `attnc inspect PROGRAM`. For a model, run "
        "`onnx.checker.check_model` on it, keep external data beside it, and fix open dimensions with "
        "`--shape NAME=1x128`."
    )

    def __init__(self, subject: str, reason: str, remedy: str | None = None) -> None:
        self.subject = subject
        self.reason = reason
        self.remedy = remedy
        message = f"{subject}: {reason}"
        super().__init__(message if remedy is None else f"{message}; {remedy}")


class MachineError(AttncError):
    """A machine file that is not valid; `key` is the dotted key at fault (empty for the file as a whole)."""

    code = "E203"
    exit_code = 2
    meaning = "A machine file is not valid; the message names the key and what may stand there."
    advice = (
        "Start from a file that is: `attnc new-machine NAME -o FILE` writes one with every key explained, and "
        "`attnc machines FILE` checks it."
    )

    def __init__(self, machine: str, key: str, reason: str) -> None:
        self.machine = machine
        self.key = key
        self.reason = reason
        where = f" {key}:" if key else ""
        super().__init__(f"machine {machine}:{where} {reason}")


class ProgramFileError(AttncError):
    """A program file, or its bytes, that is damaged, of another version, or not consistent with itself."""

    code = "E204"
    exit_code = 2
    meaning = (
        "A program file is damaged, was made by another version, or contradicts itself. A program is checked "
        "whole before anything of it runs."
    )
    advice = (
        "Compile the model again with this version. If the program uses instructions of another package, "
        "install that package."
    )

    def __init__(self, subject: str, reason: str) -> None:
        self.subject = subject
        self.reason = reason
        super().__init__(f"{subject}: {reason}")


class OutputError(AttncError):
    """A file that cannot be written; `path` names it."""

    code = "E206"
    exit_code = 2
    meaning = (
        "A file cannot be written: its folder is missing or locked, or the disk is full. What was there "
        "before is untouched."
    )
    advice = "Make room, or name another place."

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: cannot be written: {reason}")


class AssemblyError(AttncError):
    """Assembly text that is not valid; `line` and `column` count from 1."""

    code = "E205"
    exit_code = 2
    meaning = "Assembly text is not valid; line and column count from 1."
    advice = "`attnc disasm` writes text that assembles; the manual of instructions lists every operand and its range."

    def __init__(self, source: str, line: int, column: int, reason: str) -> None:
        self.source = source
        self.line = line
        self.column = column
        self.reason = reason
        super().__init__(f"{source}:{line}:{column}: {reason}")


class ExtensionError(AttncError):
    """What an installed package adds to attnc by an entry point, and is not as it should be."""

    code = "E207"
    exit_code = 2
    meaning = (
        "An installed package extends attnc with a machine, a pass or an instruction, and that is not as it should be."
    )
    advice = (
        "Update or uninstall the package that the message names, or tell its authors. From Python, the "
        "exception behind it is the error's `__cause__`."
    )

    def __init__(self, package: str, name: str, reason: str) -> None:
        self.package = package
        self.name = name
        self.reason = reason
        super().__init__(f"extension {name!r} of package {package}: {reason}")


@frozen
class Blocking:
    """One node that cannot be compiled: which (`node`, `operator`), why, and what would help."""

    node: str
    operator: str
    reason: str
    remedy: str = ""

    def __str__(self) -> str:
        help_text = f" ({self.remedy})" if self.remedy else ""
        return f"{self.operator} {self.node!r}: {self.reason}{help_text}"


class UnsupportedError(AttncError):
    """A model that cannot be compiled; `blocking` has every node that stands in the way."""

    code = "E101"
    exit_code = 1
    meaning = (
        "The model has nodes that the accelerator cannot run. All of them are listed, with a reason each, and "
        "nothing falls back to the host."
    )
    advice = (
        "Follow the remedy in brackets, export that part differently, or run it outside of the accelerator. "
        "`attnc check` lists the same without compiling."
    )

    def __init__(self, blocking: Iterable[Blocking]) -> None:
        self.blocking = tuple(blocking)
        count = len(self.blocking)
        lines = [f"{count} unsupported node{'' if count == 1 else 's'}:"]
        lines.extend(f"  {item}" for item in self.blocking)
        super().__init__("\n".join(lines))


class CapacityError(AttncError):
    """Something does not fit: `need` and `limit` in bytes, `parts` of the need, `levers` that would help."""

    code = "E102"
    exit_code = 1
    meaning = (
        "Something does not fit into a memory of the machine; the message says into which, how much is "
        "needed, and by what."
    )
    advice = "Use one of the levers in the message: a shorter sequence, a narrower format, a machine with more memory."

    def __init__(
        self,
        what: str,
        need: int,
        limit: int,
        parts: Iterable[tuple[str, int]] = (),
        levers: Iterable[str] = (),
    ) -> None:
        self.what = what
        self.need = need
        self.limit = limit
        self.parts = tuple(parts)
        self.levers = tuple(levers)
        message = f"{what}: {need} bytes needed, {limit} available"
        if self.parts:
            message += ": " + " + ".join(f"{name} {size}" for name, size in self.parts)
        if self.levers:
            message += "; " + ", or ".join(self.levers)
        super().__init__(message)


class Fault(AttncError):  # noqa: N818 - what a machine does; the word of the manual
    """The machine stopped: why, and where known the `row` (file order), `instruction` text and `node`."""

    code = "E103"
    exit_code = 1
    meaning = (
        "The machine stopped: a value outside its valid range (an id beyond a table, the zero of Sign where "
        "one bit takes it), a damaged instruction, or a read of memory that was never written. The message "
        "names the instruction and its node."
    )
    advice = (
        "Look at the input values first. For a program written by hand, `attnc run --check --log` shows the "
        "instructions up to the fault."
    )

    def __init__(
        self, reason: str, row: int | None = None, instruction: str | None = None, node: str | None = None
    ) -> None:
        self.reason = reason
        self.row = row
        self.instruction = instruction
        self.node = node
        where = [] if row is None else [f"instruction {row}"]
        if instruction:
            where.append(f"`{instruction}`")
        if node:
            where.append(f"of node {node!r}")
        super().__init__(f"{' '.join(where)}: {reason}" if where else reason)

    def at(self, row: int, instruction: str | None = None, node: str | None = None) -> Fault:
        """The same fault with the place where it happened."""
        return Fault(self.reason, row, instruction or self.instruction, node or self.node)


@frozen
class Party:
    """One of the two instructions of a race: its row, assembly text, node, and whether it reads or writes."""

    row: int
    instruction: str
    node: str
    access: str

    def __str__(self) -> str:
        return f"instruction {self.row} `{self.instruction}` of node {self.node!r} ({self.access})"

    def renamed(self, node: str) -> Party:
        """The same party under another node name."""
        return replace(self, node=node)


class RaceError(AttncError):
    """Two instructions touch the same memory line, one of them writes, and nothing orders them."""

    code = "E104"
    exit_code = 1
    meaning = (
        "Two instructions touch the same memory, one of them writes, and nothing orders them: their result "
        "would depend on timing."
    )
    advice = (
        "In a program written by hand, add the missing wait (`@QUEUE:COUNT`). In a compiled one it is an "
        "error in attnc: report it with the model."
    )

    def __init__(self, first: Party, second: Party, place: str) -> None:
        self.first = first
        self.second = second
        self.place = place
        super().__init__(f"race on {place}: {first} and {second} are not ordered; a wait is missing")


def error_kinds() -> tuple[type[AttncError], ...]:
    """Every kind of error, by code."""
    return tuple(sorted(AttncError.__subclasses__(), key=lambda kind: kind.code))
