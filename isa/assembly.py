"""Assembly text: `disassemble` writes a program's instructions, `assemble` reads them back to the same bytes.

A line is a queue, a mnemonic, operands by name, waits (`@ld:3`: three instructions of queue ld have retired)
and a comment. Directives say where the rest comes from: `.data "p.attn" digest=...` takes weights,
signatures and tables from a program file; without it `.machine`, `.dram`, `.weight`, `.input`, `.output` and
`.label` make a program that stands alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .assembly_data import DIRECTIVES, StandaloneData, read_data_file
from .errors import AssemblyError, AttncError, Fault, UsageError
from .instructions import RECORDS
from .machine import Machine
from .occupancy import Occupancy
from .place_names import PlaceNames
from .program import Program
from .record import Instruction
from .table import Table, TableBuilder

if TYPE_CHECKING:
    from lark import Lark, Token


def disassemble(program: Program, file: str | None = None) -> str:
    """The instructions of `program` as text; `file` names the program file that holds its data.

    Without `file` the data line is a comment: such text is for reading.
    """
    return "\n".join(disassembled_lines(program, file)) + "\n"


def disassembled_lines(program: Program, file: str | None = None) -> Iterator[str]:
    """`disassemble` line by line."""
    mark = "# " if file is None else ""
    yield f"{mark}.data {json.dumps(file or 'program')} digest={program.digest}"
    names = PlaceNames(program.memory_map)
    queues = [queue.name for queue in program.machine.queues]
    for row, instruction in program.table.walk():
        waits = "".join(f" @{queues[queue]}:{count}" for queue, count in program.table.row_waits(row))
        nodes = ", ".join(json.dumps(name)[1:-1] for name in program.row_nodes(row))
        comment = f"  # {nodes}" if nodes else ""
        yield f"{queues[instruction.queue]:4}{instruction.text(names)}{waits}{comment}"


def instruction_text(program: Program, row: int, names: PlaceNames | None = None) -> str:
    """One row as text, without waits and comment."""
    return program.table.text(row, names or PlaceNames(program.memory_map))


def assemble(text: str, source: str = "assembly", folder: str | Path = ".") -> Program:
    """The program that `text` writes; files it names are sought in `folder`, then where the process runs.

    AssemblyError with line and column for what is wrong; Fault for instructions that the machine cannot run.
    """
    return _Assembler(source, Path(folder)).assemble(text)


@lru_cache(maxsize=1)
def _parser() -> Lark:
    from lark import Lark

    grammar = (Path(__file__).parent / "assembly.lark").read_text(encoding="utf-8")
    mnemonics = " | ".join(json.dumps(mnemonic) for mnemonic in sorted(RECORDS))
    return Lark(f"{grammar}\nMNEMONIC: {mnemonics}\n", parser="lalr", maybe_placeholders=False)


@dataclass
class _Collected:
    """Rows of one instruction kind as they are read."""

    record: type[Instruction]
    rows: list[int] = field(default_factory=list[int])
    queues: list[int] = field(default_factory=list[int])
    values: list[dict[str, int]] = field(default_factory=list[dict[str, int]])


class _Assembler:
    def __init__(self, source: str, folder: Path) -> None:
        self.source = source
        self.folder = folder
        self.base: Program | None = None
        self.standalone = StandaloneData()
        self.names = PlaceNames(())
        self.queues: dict[str, int] = {}
        self.collected: dict[str, _Collected] = {}
        self.waits: list[list[tuple[int, int]]] = []
        self.lines: list[int] = []

    def error(self, token: Token, reason: str) -> AssemblyError:
        return AssemblyError(self.source, token.line or 0, token.column or 0, reason)

    def assemble(self, text: str) -> Program:
        from lark import Token
        from lark.exceptions import UnexpectedInput

        # Line by line: a program may have a hundred thousand, and one tree of them would fill the memory.
        parser: Any = _parser()
        for number, line in enumerate(text.splitlines(), 1):
            bare = line.strip()
            if not bare or bare.startswith("#"):
                continue
            try:
                tree = parser.parse(line)
            except UnexpectedInput as error:
                column = max(int(getattr(error, "column", 1) or 1), 1)
                raise AssemblyError(self.source, number, column, _unexpected(line, column)) from None
            for part in tree.children:
                tokens = [Token(token.type, str(token), line=number, column=token.column) for token in part.children]
                if part.data == "instruction":
                    self.instruction(tokens)
                else:
                    self.directive(tokens)
        return self.finish()

    def machine(self) -> Machine | None:
        return self.base.machine if self.base is not None else self.standalone.machine

    def directive(self, tokens: list[Token]) -> None:
        word = str(tokens[0])
        if word not in DIRECTIVES:
            raise self.error(tokens[0], f"{word} is no directive; there are {', '.join(DIRECTIVES)}")
        if self.lines:
            raise self.error(tokens[0], f"{word} stands after the first instruction")
        subject = ""
        rest = tokens[1:]
        if rest and rest[0].type == "STRING":
            subject = self.string(rest[0])
            rest = rest[1:]
        operands = self.operands(rest)
        try:
            if word == ".data":
                self.base = read_data_file(subject, operands, self.folder)
                self.names = PlaceNames(self.base.memory_map)
            else:
                self.standalone.directive(word, subject, operands, self.folder)
                self.names = PlaceNames(self.standalone.memory_map)
        except AssemblyError:
            raise
        except AttncError as error:
            raise self.error(tokens[0], str(error)) from None
        machine = self.machine()
        if machine is not None:
            self.queues = {queue.name: queue.index for queue in machine.queues}

    def string(self, token: Token) -> str:
        try:
            value: Any = json.loads(str(token))
        except ValueError:
            raise self.error(token, f"{token} is not a text in quotes") from None
        return str(value)

    def operands(self, tokens: list[Token]) -> dict[str, str | None]:
        result: dict[str, str | None] = {}
        for token in tokens:
            if token.type == "WAIT":
                continue
            name, equals, value = str(token).partition("=")
            if name in result:
                raise self.error(token, f"{name} is given twice")
            result[name] = value if equals else None
        return result

    def instruction(self, tokens: list[Token]) -> None:
        queue_token, mnemonic_token = tokens[:2]
        if self.machine() is None:
            raise self.error(queue_token, "an instruction stands before .data or .machine")
        record = RECORDS[str(mnemonic_token)]
        try:
            values = record.parse_operands(self.operands(tokens[2:]), self.names)
        except UsageError as error:
            raise self.error(mnemonic_token, str(error)) from None
        waits = [self.wait(token) for token in tokens[2:] if token.type == "WAIT"]
        collected = self.collected.setdefault(record.mnemonic, _Collected(record))
        collected.rows.append(len(self.lines))
        collected.queues.append(self.queue(queue_token, str(queue_token)))
        collected.values.append(values)
        self.waits.append(waits)
        self.lines.append(queue_token.line or 0)

    def queue(self, token: Token, name: str) -> int:
        if name not in self.queues:
            raise self.error(token, f"{name} is no queue of the machine; it has {', '.join(self.queues)}")
        return self.queues[name]

    def wait(self, token: Token) -> tuple[int, int]:
        name, _, count = str(token)[1:].partition(":")
        return self.queue(token, name), int(count)

    def table(self) -> Table:
        builder = TableBuilder()
        places: list[int] = []
        for mnemonic, collected in self.collected.items():
            columns = {
                item.name: np.array([values[item.name] for values in collected.values], dtype=np.int64)
                for item in collected.record.fields
            }
            builder.append(mnemonic, np.array(collected.queues, dtype=np.int64), columns)
            places.extend(collected.rows)
        table = builder.build(np.argsort(np.array(places, dtype=np.int64)))
        for row, waits in enumerate(self.waits):
            if waits:
                table.set_waits(row, waits)
        return table

    def finish(self) -> Program:
        machine = self.machine()
        if machine is None:
            raise AssemblyError(self.source, 1, 1, "has neither .data nor .machine")
        try:
            table = self.table()
            table.encode()
            if self.base is None:
                program = self.standalone.program(machine, table)
            else:
                program = _with_table(self.base, table)
            program.analysis.check(machine, program.dram_bytes)
        except Fault as fault:
            if fault.row is None:
                raise
            raise AssemblyError(self.source, self.lines[fault.row], 1, fault.reason) from None
        except UsageError as error:
            raise AssemblyError(self.source, 1, 1, str(error)) from None
        return program


def _with_table(base: Program, table: Table) -> Program:
    if len(table) == len(base.table):
        return replace(base, table=table)
    # Rows were added or taken away: which node a row works for, and what lies where at it, is no longer known.
    none = np.zeros(0, dtype=np.int64)
    return replace(base, table=table, source_offsets=none, source_nodes=none, occupancy=Occupancy())


def _unexpected(line: str, column: int) -> str:
    rest = line[column - 1 :].strip()
    word = rest.split()[0] if rest else ""
    if not word:
        return "the line ends too early"
    form = "QUEUE MNEMONIC OPERANDS @QUEUE:COUNT"
    return f"{word!r} is not understood here; a line is {form}, with one of {', '.join(sorted(RECORDS))}"
