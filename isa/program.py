"""A compiled program: instructions, weights, signatures and the tables that say where everything came from.

`Program.save` and `Program.load` are the program file. Loading trusts nothing: digest, version, ISA, shapes
and every range are checked, and a wrong file is one ProgramFileError.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np

from .analysis import Analysis
from .blocks import Space
from .columns import Int64Array
from .container import container_parts, stored_digest
from .errors import Fault, ProgramFileError
from .files import write_beside
from .formats import Array, Format
from .frozen import frozen
from .instructions import FURTHER, ISA_HASH
from .machine import Machine
from .occupancy import Occupancy
from .table import Table

FORMAT_VERSION = 3
"""Version of the program file's layout."""

SEGMENT_PREFIX = "weight:"
"""Weights stand in the file as tensors named so plus their own name."""


@frozen
class Signature:
    """An input or output of a program.

    element_type: the model's ONNX element type ("float", "int64", ...). format: as it stands in DRAM at
    `address`, dense and row-major. low, high: the range of valid values, None where any will do. binary: a
    mask, of which only 0 and 1 are valid unless there is a range: then every other value of it counts as 1.
    """

    name: str
    element_type: str
    format: Format
    shape: tuple[int, ...]
    address: int
    low: float | int | None = None
    high: float | int | None = None
    binary: bool = False

    @property
    def only_bits(self) -> bool:
        """Whether no other values than 0 and 1 are valid."""
        return self.binary and self.low is None and self.high is None

    @property
    def bytes(self) -> int:
        """Bytes in DRAM."""
        return prod(self.shape) * self.format.bytes


@frozen
class Segment:
    """Constant bytes in DRAM at `address`: an array in its stored format, dense."""

    name: str
    address: int
    array: Array


@frozen
class Node:
    """An ONNX node of the model: name, operator, structural path, and the form it was given (attention)."""

    name: str
    operator: str
    path: str = ""
    form: str = ""


@frozen
class MemoryEntry:
    """A named place: role is weight, input, output, temporary, resident or buffer."""

    name: str
    space: Space
    address: int
    bytes: int
    role: str


@frozen
class Note:
    """A node that was not lowered to its engine, or that folding removed: which, by what, and why."""

    node: str
    subject: str
    reason: str


@frozen
class Program:
    """A program for one machine; see the module. Row numbers are places in `table`.

    source_offsets, source_nodes: nodes of row r are source_nodes[source_offsets[r]:source_offsets[r + 1]],
    indices into `nodes`. dram_bytes: DRAM that a run needs. memory_map: places by name. occupancy: the memories on
    chip over time (nothing in a program written by hand). recipe: what the compiler was asked for.
    unlowered, folded: nodes with the reason. batchable: a run may repeat over a longer first axis. model:
    facts of the source model.
    """

    machine: Machine
    table: Table
    segments: tuple[Segment, ...]
    inputs: tuple[Signature, ...]
    outputs: tuple[Signature, ...]
    dram_bytes: int
    nodes: tuple[Node, ...] = ()
    source_offsets: Int64Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    source_nodes: Int64Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    memory_map: tuple[MemoryEntry, ...] = ()
    occupancy: Occupancy = field(default_factory=Occupancy)
    recipe: Mapping[str, Any] = field(default_factory=dict[str, Any])
    model: Mapping[str, Any] = field(default_factory=dict[str, Any])
    unlowered: tuple[Note, ...] = ()
    folded: tuple[Note, ...] = ()
    batchable: bool = False

    @cached_property
    def analysis(self) -> Analysis:
        """Costs and ranges by column, extents in registers at their maxima; known without running the program."""
        return Analysis(self.table)

    @property
    def instruction_bytes(self) -> int:
        """Bytes of all instruction words."""
        return len(self.table) * 64

    @property
    def further_instructions(self) -> dict[str, list[str]]:
        """The instructions that other packages brought: by mnemonic, the package and the encoding's hash."""
        used = sorted(set(self.table.groups) & set(FURTHER))
        return {mnemonic: [FURTHER[mnemonic].package, FURTHER[mnemonic].hash] for mnemonic in used}

    @property
    def weight_bytes(self) -> int:
        """Bytes of all constants in their stored formats."""
        return sum(segment.array.nbytes for segment in self.segments)

    def row_nodes(self, row: int) -> tuple[str, ...]:
        """Names of the ONNX nodes that a row works for."""
        if len(self.source_offsets) == 0:
            return ()
        start, stop = self.source_offsets[row], self.source_offsets[row + 1]
        places: list[int] = self.source_nodes[start:stop].tolist()
        return tuple(self.nodes[place].name for place in places)

    def initial_dram(self) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
        """DRAM with every constant in place and zeros elsewhere, uint8 [dram_bytes]."""
        dram = np.zeros(self.dram_bytes, dtype=np.uint8)
        for segment in self.segments:
            data = np.ascontiguousarray(segment.array).reshape(-1).view(np.uint8)
            dram[segment.address : segment.address + len(data)] = data
        return dram

    @property
    def digest(self) -> str:
        """The digest that the program file carries, 64 hex characters."""
        return stored_digest(self._parts[0])

    def describe(self) -> str:
        """One line: machine, instructions, weights and their structures, DRAM, formats without training."""
        untrained = f"; {', '.join(self.untrained)} without training: accuracy unknown" if self.untrained else ""
        return (
            f"program for {self.machine.name}: {len(self.table):,} instructions,"
            f" {self.weight_bytes:,} bytes of weights, {self.dram_bytes:,} bytes of DRAM{self._structures}{untrained}"
        )

    @property
    def _structures(self) -> str:
        """What was found where weights were looked at for their structure."""
        found = self.model.get("structures")
        if found is None:
            return ""
        counts = cast("Mapping[str, int]", found)
        told = ", ".join(f"{count} of {structure}" for structure, count in counts.items())
        return f"; structured weights: {told or 'none'}"

    @property
    def untrained(self) -> tuple[str, ...]:
        """Formats of few bits that the weights and activations were rounded to without training."""
        return tuple(map(str, self.model.get("untrained", ())))

    def to_dict(self) -> dict[str, Any]:
        """All but the weights and the instructions, as JSON-ready values."""
        return {"digest": self.digest, "instructions": len(self.table), **self._metadata()}

    def to_bytes(self) -> bytes:
        """The bytes of the program file; equal programs give equal bytes."""
        return b"".join(self._parts)

    @cached_property
    def _parts(self) -> list[memoryview]:
        """The program file as a header and the memory of the tensors, which stay where they are."""
        try:
            words = self.table.encode()
        except Fault as fault:
            raise ProgramFileError("program", f"cannot be encoded: {fault}") from fault
        offsets, nodes = self.source_offsets, self.source_nodes
        if len(offsets) == 0:
            offsets = np.zeros(len(self.table) + 1, dtype=np.int64)
        tensors: dict[str, Array] = {
            "source_offsets": offsets.astype("<i8"),
            "source_nodes": nodes.astype("<i8"),
            "occupancy": self.occupancy.table().astype("<i4"),
            "words": words,
        }
        for segment in sorted(self.segments, key=lambda item: (item.address, item.name)):
            if SEGMENT_PREFIX + segment.name in tensors:
                raise ProgramFileError("program", f"has two weights called {segment.name!r}")
            tensors[SEGMENT_PREFIX + segment.name] = segment.array
        return container_parts(self._metadata(), tensors)

    def _metadata(self) -> dict[str, Any]:
        def signature(item: Signature) -> dict[str, Any]:
            return {
                "name": item.name,
                "element_type": item.element_type,
                "format": item.format.label,
                "shape": list(item.shape),
                "address": item.address,
                "low": item.low,
                "high": item.high,
                "binary": item.binary,
            }

        return {
            "format_version": FORMAT_VERSION,
            "isa": ISA_HASH,
            "further_instructions": self.further_instructions,
            "machine": self.machine.to_dict(),
            "dram_bytes": self.dram_bytes,
            "inputs": [signature(item) for item in self.inputs],
            "outputs": [signature(item) for item in self.outputs],
            "weights": {segment.name: segment.address for segment in self.segments},
            "nodes": [[node.name, node.operator, node.path, node.form] for node in self.nodes],
            "memory_map": [
                [entry.name, entry.space.text, entry.address, entry.bytes, entry.role] for entry in self.memory_map
            ],
            "buffers": [[item.name, item.space.text, item.bytes, item.resident] for item in self.occupancy.buffers],
            "recipe": dict(self.recipe),
            "model": dict(self.model),
            "unlowered": [[note.node, note.subject, note.reason] for note in self.unlowered],
            "folded": [[note.node, note.subject, note.reason] for note in self.folded],
            "batchable": self.batchable,
        }

    def save(self, path: str | Path) -> None:
        """Write the program file, whole or not at all. Raises OutputError when it cannot be written."""
        write_beside(Path(path), *self._parts)

    @staticmethod
    def load(path: str | Path) -> Program:
        """Read a program file; ProgramFileError when it is not readable, damaged, or not for this attnc."""
        from .program_file import read_program

        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise ProgramFileError(str(path), f"cannot be read: {error.strerror}") from None
        return read_program(content, str(path))

    @staticmethod
    def from_bytes(content: bytes | bytearray, subject: str = "program") -> Program:
        """The program of a program file's bytes; ProgramFileError names `subject`."""
        from .program_file import read_program

        return read_program(content, subject)
