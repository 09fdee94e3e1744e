"""The directives of assembly text: data from a program file, or given in the text itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path

import numpy as np

from .blocks import Space
from .errors import InputError, UsageError
from .fields import DramAddress, OnChip, on_chip_offset, on_chip_space, parse_integer
from .formats import Array, Format
from .machine import Machine, load_machine
from .place_names import PlaceNames
from .program import MemoryEntry, Program, Segment, Signature
from .table import Table

Operands = Mapping[str, str | None]

DIRECTIVES: dict[str, str] = {
    ".data": '`.data "p.attn" digest=HEX`: all but the instructions comes from this program file',
    ".machine": '`.machine "edge"`: name or file of the machine',
    ".dram": "`.dram bytes=65536`: size of DRAM; without it, as much as weights, inputs and outputs reach",
    ".weight": '`.weight "w" at=dram+0 format=f32 shape=4x4 npy="w.npy"`, or `bytes=0011AAFF`: a constant',
    ".input": '`.input "x" type=float format=f32 shape=1x16 at=dram+0 low=0 high=9 binary`: an input',
    ".output": '`.output "y" type=float format=f32 shape=1x16 at=dram+64`: an output',
    ".label": '`.label "scores" at=sram+64 bytes=128`: a name for a place',
}
"""Every directive and what it says."""


def read_data_file(name: str, operands: Operands, folder: Path) -> Program:
    """The program file of a `.data` line; UsageError when its digest is another one."""
    _known(operands, ("digest",))
    program = Program.load(_locate(name, folder))
    digest = operands.get("digest")
    if digest is None:
        raise UsageError(".data needs digest=", f"{name} has {program.digest}")
    if digest != program.digest:
        raise UsageError(f"{name} has digest {program.digest}, the text was written for {digest}")
    return program


class StandaloneData:
    """What directives have given so far for a program without a data file."""

    def __init__(self) -> None:
        self.machine: Machine | None = None
        self.dram_bytes: int | None = None
        self.segments: list[Segment] = []
        self.inputs: list[Signature] = []
        self.outputs: list[Signature] = []
        self.memory_map: list[MemoryEntry] = []

    def directive(self, word: str, subject: str, operands: Operands, folder: Path) -> None:
        """Take one directive; UsageError for what is wrong with it."""
        if word == ".machine":
            _known(operands, ())
            file = Path(folder) / subject
            self.machine = load_machine(file if file.is_file() else subject)
        elif word == ".dram":
            _known(operands, ("bytes",))
            self.dram_bytes = parse_integer(_needed(operands, "bytes"))
        elif word == ".weight":
            _known(operands, ("at", "format", "shape", "npy", "bytes"))
            self._weight(subject, operands, folder)
        elif word == ".label":
            _known(operands, ("at", "bytes"))
            space, address = self._place(_needed(operands, "at"))
            size = parse_integer(operands.get("bytes") or "1")
            self.memory_map.append(MemoryEntry(subject, space, address, size, "buffer"))
        else:
            _known(operands, ("at", "type", "format", "shape", "low", "high", "binary"))
            signature = self._signature(subject, operands)
            (self.inputs if word == ".input" else self.outputs).append(signature)
            self._remember(subject, signature.address, signature.bytes, word[1:])

    def _remember(self, name: str, address: int, size: int, role: str) -> None:
        self.memory_map.append(MemoryEntry(name, Space.DRAM, address, size, role))

    def _place(self, text: str) -> tuple[Space, int]:
        names = PlaceNames(self.memory_map)
        try:
            return Space.DRAM, DramAddress().parse(text, names)
        except UsageError:
            address = OnChip().parse(text, names)
            return Space(on_chip_space(address)), on_chip_offset(address)

    def _dram_place(self, operands: Operands) -> int:
        return DramAddress().parse(_needed(operands, "at"), PlaceNames(self.memory_map))

    def _weight(self, name: str, operands: Operands, folder: Path) -> None:
        number = Format.parse(_needed(operands, "format"))
        shape = _shape(_needed(operands, "shape"))
        array = _array(operands, number, shape, folder)
        address = self._dram_place(operands)
        self.segments.append(Segment(name, address, array))
        self._remember(name, address, array.nbytes, "weight")

    def _signature(self, name: str, operands: Operands) -> Signature:
        return Signature(
            name=name,
            element_type=_needed(operands, "type"),
            format=Format.parse(_needed(operands, "format")),
            shape=_shape(_needed(operands, "shape")),
            address=self._dram_place(operands),
            low=_bound(operands, "low"),
            high=_bound(operands, "high"),
            binary="binary" in operands,
        )

    def program(self, machine: Machine, table: Table) -> Program:
        """The program of these data and `table`; UsageError when something lies outside DRAM."""
        ends = [item.address + item.array.nbytes for item in self.segments]
        ends.extend(item.address + item.bytes for item in (*self.inputs, *self.outputs))
        reach = max(ends, default=0)
        size = reach if self.dram_bytes is None else self.dram_bytes
        if reach > size or size > machine.dram.bytes:
            raise UsageError(f"data reach to byte {reach} of {size} bytes of DRAM ({machine.dram.bytes} there are)")
        return Program(
            machine=machine,
            table=table,
            segments=tuple(sorted(self.segments, key=lambda item: (item.address, item.name))),
            inputs=tuple(self.inputs),
            outputs=tuple(self.outputs),
            dram_bytes=size,
            memory_map=tuple(self.memory_map),
        )


def _known(operands: Operands, known: tuple[str, ...]) -> None:
    for name in operands:
        if name not in known:
            raise UsageError(f"{name} is not known here", f"known are {', '.join(known) or 'none'}")


def _needed(operands: Operands, name: str) -> str:
    value = operands.get(name)
    if value is None:
        raise UsageError(f"{name}= is needed")
    return value


def _bound(operands: Operands, name: str) -> float | int | None:
    text = operands.get(name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{name}={text} is no number") from None


def _shape(text: str) -> tuple[int, ...]:
    if text == "scalar":
        return ()
    sizes = tuple(parse_integer(word) for word in text.split("x"))
    if any(size < 0 for size in sizes):
        raise UsageError(f"shape {text} has a negative size")
    return sizes


def _locate(name: str, folder: Path) -> Path:
    beside = folder / name
    return beside if beside.is_file() else Path(name)


def _array(operands: Operands, number: Format, shape: tuple[int, ...], folder: Path) -> Array:
    text = operands.get("bytes")
    if text is not None:
        try:
            data = np.frombuffer(bytes.fromhex(text), dtype=np.uint8)
        except ValueError:
            raise UsageError("bytes= takes hexadecimal digits, two a byte") from None
        size = prod(shape) * number.bytes
        if len(data) != size:
            raise UsageError(f"{len(data)} bytes are given, {number} of this shape has {size}")
        return data.view(number.dtype).reshape(shape)
    quoted = _needed(operands, "npy")
    name = str(json.loads(quoted)) if quoted.startswith('"') else quoted
    path = _locate(name, folder)
    try:
        array: Array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(str(path), f"is no readable .npy file: {error}") from None
    if array.shape != shape or array.dtype.itemsize != number.bytes:
        raise UsageError(f"{name} holds {array.dtype} {array.shape}, {number} {shape} is needed")
    return np.ascontiguousarray(array).view(number.dtype)
