"""Reading a program file: every field, range and table is checked before a Program is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, cast

import numpy as np

from .analysis import Analysis
from .blocks import Space
from .columns import Int64Array
from .container import read_container
from .errors import Fault, MachineError, ProgramFileError, UsageError
from .formats import Array, Format
from .instructions import FURTHER, ISA_HASH
from .machine import Machine, machine_from_dict
from .occupancy import ChipBuffer, Occupancy
from .program import (
    FORMAT_VERSION,
    SEGMENT_PREFIX,
    MemoryEntry,
    Node,
    Note,
    Program,
    Segment,
    Signature,
)
from .record import WORD_BYTES
from .table import Table

_KEYS = {
    "digest": str,
    "format_version": int,
    "isa": str,
    "further_instructions": dict,
    "machine": dict,
    "dram_bytes": int,
    "inputs": list,
    "outputs": list,
    "weights": dict,
    "nodes": list,
    "memory_map": list,
    "buffers": list,
    "recipe": dict,
    "model": dict,
    "unlowered": list,
    "folded": list,
    "batchable": bool,
}
_TABLES = ("source_offsets", "source_nodes", "occupancy", "words")
_SPACES = {space.text: space for space in (Space.DRAM, Space.SRAM, Space.ACC)}


def read_program(content: bytes | bytearray, subject: str) -> Program:
    """The program of a file's bytes; ProgramFileError names `subject` and the first thing that is wrong."""
    metadata, tensors = read_container(content, subject)
    return _Reader(subject, metadata, tensors).program()


class _Reader:
    def __init__(self, subject: str, metadata: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
        self.subject = subject
        self.metadata = metadata
        self.tensors = tensors

    def wrong(self, reason: str) -> ProgramFileError:
        return ProgramFileError(self.subject, reason)

    def program(self) -> Program:
        self.versions()
        self.keys()
        self.further_instructions()
        machine = self.machine()
        dram_bytes = self.whole(self.metadata["dram_bytes"], "dram_bytes")
        if dram_bytes > machine.dram.bytes:
            raise self.wrong(f"needs {dram_bytes} bytes of DRAM, its machine has {machine.dram.bytes}")
        analysis = self.analysis(machine, dram_bytes)
        table = analysis.table
        segments = self.segments(dram_bytes)
        inputs = self.signatures("inputs", dram_bytes)
        nodes = tuple(Node(*self.texts(entry, 4, "nodes")) for entry in self.metadata["nodes"])
        offsets, sources = self.source_map(len(table), len(nodes))
        program = Program(
            machine=machine,
            table=table,
            segments=segments,
            inputs=inputs,
            outputs=self.signatures("outputs", dram_bytes),
            dram_bytes=dram_bytes,
            nodes=nodes,
            source_offsets=offsets,
            source_nodes=sources,
            memory_map=tuple(self.memory_entry(entry, machine, dram_bytes) for entry in self.metadata["memory_map"]),
            occupancy=self.occupancy(machine, len(table)),
            recipe=self.metadata["recipe"],
            model=self.metadata["model"],
            unlowered=tuple(Note(*self.texts(entry, 3, "unlowered")) for entry in self.metadata["unlowered"]),
            folded=tuple(Note(*self.texts(entry, 3, "folded")) for entry in self.metadata["folded"]),
            batchable=self.metadata["batchable"],
        )
        if program.further_instructions != self.metadata["further_instructions"]:
            raise self.wrong("holds other instructions than it says of other packages")
        # What checking found out the program need not find out again.
        vars(program)["analysis"] = analysis
        self.disjoint(segments, inputs)
        return program

    def versions(self) -> None:
        version = self.metadata.get("format_version")
        if version != FORMAT_VERSION:
            raise self.wrong(f"has format version {version}, this attnc reads version {FORMAT_VERSION}")
        isa = self.metadata.get("isa")
        if isa != ISA_HASH:
            raise self.wrong(f"was compiled for instruction set {isa}, this attnc has {ISA_HASH}; compile it again")

    def keys(self) -> None:
        if set(self.metadata) != set(_KEYS):
            odd = sorted(set(self.metadata) ^ set(_KEYS))
            raise self.wrong(f"has missing or unknown metadata: {', '.join(odd)}")
        for key, kind in _KEYS.items():
            if type(self.metadata[key]) is not kind:
                raise self.wrong(f"has {key} that is no {kind.__name__}")
        for name in _TABLES:
            if name not in self.tensors:
                raise self.wrong(f"lacks tensor {name!r}")

    def further_instructions(self) -> None:
        for mnemonic, entry in cast(dict[str, Any], self.metadata["further_instructions"]).items():
            package, stamp = self.texts(entry, 2, "further_instructions")
            if mnemonic not in FURTHER:
                raise self.wrong(f"uses the instruction {mnemonic} of package {package}, which is not installed here")
            if FURTHER[mnemonic].hash != stamp:
                raise self.wrong(
                    f"was compiled for another {mnemonic} than package {FURTHER[mnemonic].package} has here;"
                    " compile it again"
                )

    def whole(self, value: Any, what: str) -> int:
        if type(value) is not int or value < 0:
            raise self.wrong(f"has {what} {value!r}, a whole number from 0 up is needed")
        return value

    def texts(self, entry: Any, count: int, what: str) -> list[str]:
        if not isinstance(entry, list) or len(cast(list[Any], entry)) != count:
            raise self.wrong(f"has an entry of {what} without its {count} parts")
        parts = cast(list[Any], entry)
        if not all(isinstance(part, str) for part in parts):
            raise self.wrong(f"has an entry of {what} that is no text: {parts!r}")
        return cast(list[str], parts)

    def machine(self) -> Machine:
        try:
            return machine_from_dict(self.metadata["machine"])
        except MachineError as error:
            raise self.wrong(f"holds a machine that is not valid: {error}") from None

    def analysis(self, machine: Machine, dram_bytes: int) -> Analysis:
        words = self.tensors["words"]
        if words.dtype != np.uint8 or words.ndim != 2 or words.shape[1] != WORD_BYTES:
            raise self.wrong(f"has instruction words of shape {words.shape} {words.dtype}")
        try:
            analysis = Analysis(Table.decode(words))
            analysis.check(machine, dram_bytes)
        except Fault as fault:
            raise self.wrong(f"holds an instruction that is not valid: {fault}") from None
        return analysis

    def segments(self, dram_bytes: int) -> tuple[Segment, ...]:
        addresses = cast(dict[str, Any], self.metadata["weights"])
        stored = [name for name in self.tensors if name not in _TABLES]
        if sorted(stored) != sorted(SEGMENT_PREFIX + name for name in addresses):
            raise self.wrong("has weights without an address or addresses without a weight")
        result: list[Segment] = []
        for name in addresses:
            address = self.whole(addresses[name], f"the address of weight {name!r}")
            array = self.tensors[SEGMENT_PREFIX + name]
            if address + array.nbytes > dram_bytes:
                raise self.wrong(f"has weight {name!r} past the end of its {dram_bytes} bytes of DRAM")
            result.append(Segment(name, address, array))
        return tuple(sorted(result, key=lambda item: (item.address, item.name)))

    def signatures(self, key: str, dram_bytes: int) -> tuple[Signature, ...]:
        result: list[Signature] = []
        for entry in self.metadata[key]:
            known = {"name", "element_type", "format", "shape", "address", "low", "high", "binary"}
            if not isinstance(entry, dict) or set(cast(dict[str, Any], entry)) != known:
                raise self.wrong(f"has an entry of {key} without its parts")
            result.append(self.signature(cast(dict[str, Any], entry), key, dram_bytes))
        if len({item.name for item in result}) != len(result):
            raise self.wrong(f"has {key} of equal names")
        return tuple(result)

    def signature(self, entry: dict[str, Any], key: str, dram_bytes: int) -> Signature:
        name, element_type, label = self.texts([entry["name"], entry["element_type"], entry["format"]], 3, key)
        if not isinstance(entry["shape"], list):
            raise self.wrong(f"has {key} {name!r} without a shape")
        shape = tuple(self.whole(size, f"a size of {name!r}") for size in cast(list[Any], entry["shape"]))
        for bound in ("low", "high"):
            if entry[bound] is not None and type(entry[bound]) not in (int, float):
                raise self.wrong(f"has {key} {name!r} with {bound} {entry[bound]!r}")
        if type(entry["binary"]) is not bool:
            raise self.wrong(f"has {key} {name!r} with binary {entry['binary']!r}")
        try:
            number = Format.parse(label)
        except UsageError as error:
            raise self.wrong(f"has {key} {name!r} with {error}") from None
        address = self.whole(entry["address"], f"the address of {name!r}")
        result = Signature(name, element_type, number, shape, address, entry["low"], entry["high"], entry["binary"])
        if address + result.bytes > dram_bytes:
            raise self.wrong(f"has {key} {name!r} past the end of its {dram_bytes} bytes of DRAM")
        return result

    def source_map(self, rows: int, nodes: int) -> tuple[Int64Array, Int64Array]:
        offsets, sources = self.tensors["source_offsets"], self.tensors["source_nodes"]
        good = (
            offsets.dtype == np.int64
            and sources.dtype == np.int64
            and offsets.shape == (rows + 1,)
            and sources.ndim == 1
            and offsets[0] == 0
            and offsets[-1] == len(sources)
            and bool((np.diff(offsets) >= 0).all())
            and bool(((sources >= 0) & (sources < nodes)).all())
        )
        if not good:
            raise self.wrong("has a source map that does not fit its instructions and nodes")
        return offsets, sources

    def memory_entry(self, entry: Any, machine: Machine, dram_bytes: int) -> MemoryEntry:
        if not isinstance(entry, list) or len(cast(list[Any], entry)) != 5:
            raise self.wrong("has an entry of memory_map without its 5 parts")
        name, space, address, size, role = cast(list[Any], entry)
        name, space, role = self.texts([name, space, role], 3, "memory_map")
        if space not in _SPACES:
            raise self.wrong(f"has {name!r} in the unknown memory {space!r}")
        address, size = (
            self.whole(address, f"the address of {name!r}"),
            self.whole(size, f"the size of {name!r}"),
        )
        limit = dram_bytes if space == Space.DRAM.text else machine.memory_bytes(_SPACES[space])
        if address + size > limit:
            raise self.wrong(f"has {name!r} past the end of {space}")
        return MemoryEntry(name, _SPACES[space], address, size, role)

    def occupancy(self, machine: Machine, rows: int) -> Occupancy:
        buffers = tuple(self.chip_buffer(entry) for entry in self.metadata["buffers"])
        stays = self.tensors["occupancy"]
        if stays.dtype != np.int32 or stays.ndim != 2 or len(stays) != 4:
            raise self.wrong(f"has an occupancy of shape {stays.shape} {stays.dtype}")
        buffer, address, first, last = stays.astype(np.int64)
        if ((buffer < 0) | (buffer >= len(buffers))).any():
            raise self.wrong("has an occupancy that does not fit its buffers")
        found = Occupancy(buffers, buffer, address, first, last)
        limits = np.array([machine.memory_bytes(item.space) for item in buffers], dtype=np.int64)[buffer]
        if ((address < 0) | (address + found.bytes > limits)).any():
            raise self.wrong("has an occupancy past the end of a memory")
        if ((first < 0) | (first > last) | (last >= rows)).any() or (np.diff(first) < 0).any():
            raise self.wrong("has an occupancy that does not fit its instructions")
        for space in (Space.SRAM, Space.ACC):
            if found.live_bytes(space, rows).max(initial=0) > machine.memory_bytes(space):
                raise self.wrong(f"has an occupancy that puts more into {space.text} than it holds")
        return found

    def chip_buffer(self, entry: Any) -> ChipBuffer:
        if not isinstance(entry, list) or len(cast(list[Any], entry)) != 4:
            raise self.wrong("has an entry of buffers without its 4 parts")
        name, space, size, resident = cast(list[Any], entry)
        name, space = self.texts([name, space], 2, "buffers")
        if space not in (Space.SRAM.text, Space.ACC.text):
            raise self.wrong(f"has {name!r} on chip in the memory {space!r}")
        if type(resident) is not bool:
            raise self.wrong(f"has {name!r} with resident {resident!r}")
        return ChipBuffer(name, _SPACES[space], self.whole(size, f"the size of {name!r}"), resident)

    def disjoint(self, segments: tuple[Segment, ...], inputs: tuple[Signature, ...]) -> None:
        """Weights and inputs may not lie on one another."""
        places = [(item.address, item.address + item.array.nbytes, item.name) for item in segments]
        places.extend((item.address, item.address + item.bytes, item.name) for item in inputs)
        places = sorted(place for place in places if place[0] < place[1])
        for (_, stop, first), (start, _, second) in pairwise(places):
            if start < stop:
                raise self.wrong(f"has {first!r} and {second!r} on the same bytes of DRAM")
