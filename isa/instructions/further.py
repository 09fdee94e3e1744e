"""Instruction records of packages that extend attnc."""

from __future__ import annotations

from collections.abc import Mapping

from ..extensions import INSTRUCTIONS, extensions
from ..frozen import frozen
from ..record import OPCODE_BITS, Instruction, describe_encoding

FURTHER_OPCODES = range(0xC0, 1 << OPCODE_BITS)
"""The opcodes that attnc leaves to other packages."""


@frozen
class Further:
    """A record, the package that brought it, and the hash of its encoding and semantics version."""

    record: type[Instruction]
    package: str
    hash: str


def further_records(own: Mapping[str, type[Instruction]]) -> Mapping[str, Further]:
    """The records that installed packages bring, by mnemonic. Raises ExtensionError for one that cannot stand beside
    `own` and the others."""
    found: dict[str, Further] = {}
    taken: dict[int, str] = {}
    for extension in extensions(INSTRUCTIONS):
        record = extension.load()
        if not (isinstance(record, type) and issubclass(record, Instruction)) or not record.mnemonic:
            raise extension.wrong("is not an instruction record")
        if record.mnemonic != extension.name:
            raise extension.wrong(f"is the record of {record.mnemonic!r}: name the entry point so")
        if record.mnemonic in own:
            raise extension.wrong("attnc has an instruction of that name")
        if record.opcode not in FURTHER_OPCODES:
            first, last = FURTHER_OPCODES[0], FURTHER_OPCODES[-1]
            raise extension.wrong(f"opcode {record.opcode:#x} is attnc's; packages have {first:#x} to {last:#x}")
        if record.opcode in taken:
            raise extension.wrong(f"opcode {record.opcode:#x} is that of {taken[record.opcode]} too")
        taken[record.opcode] = f"{record.mnemonic} of package {extension.package}"
        found[record.mnemonic] = Further(record, extension.package, describe_encoding({record.mnemonic: record}, {}))
    return found
