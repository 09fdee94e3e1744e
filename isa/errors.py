"""Every error that attnc shows a user, as a typed class whose message is made here from its fields.

`code` names the kind of error in print and in machine-readable output; `exit_code` is what the command line
returns: 1 when the answer is no (unsupported, does not fit, faults, races), 2 when the question was wrong
(usage, unreadable or invalid input).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from .frozen import frozen


class AttncError(Exception):
    """Base of every error that attnc raises on purpose; `str(error)` is one clear message."""

    code: str = "E100"
    exit_code: int = 1


class UsageError(AttncError):
    """A wrong flag, argument or call; `remedy` says what to write instead."""

    code = "E201"
    exit_code = 2

    def __init__(self, reason: str, remedy: str | None = None) -> None:
        self.reason = reason
        self.remedy = remedy
        super().__init__(reason if remedy is None else f"{reason}; {remedy}")


class InputError(AttncError):
    """An input (model, npz, recipe, array) that cannot be read or is not valid; `subject` names it."""

    code = "E202"
    exit_code = 2

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

    def __init__(self, subject: str, reason: str) -> None:
        self.subject = subject
        self.reason = reason
        super().__init__(f"{subject}: {reason}")


class OutputError(AttncError):
    """A file that cannot be written; `path` names it."""

    code = "E206"
    exit_code = 2

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: cannot be written: {reason}")


class AssemblyError(AttncError):
    """Assembly text that is not valid; `line` and `column` count from 1."""

    code = "E205"
    exit_code = 2

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

    def __init__(self, first: Party, second: Party, place: str) -> None:
        self.first = first
        self.second = second
        self.place = place
        super().__init__(f"race on {place}: {first} and {second} are not ordered; a wait is missing")
