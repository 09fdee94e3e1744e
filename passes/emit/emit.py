"""Emission as a whole: instruction templates, and what is known of the model, become a program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

import numpy as np
from xdsl.dialects.builtin import ModuleOp

from ...dialects.constants import ConstantStore
from ...dialects.context import CompilerContext
from ...dialects.provenance import folded_nodes, module_nodes
from ...isa.blocks import Space
from ...isa.formats import Array, Format
from ...isa.frozen import frozen
from ...isa.occupancy import ChipBuffer, Occupancy
from ...isa.program import MemoryEntry, Node, Note, Program, Segment, Signature
from ..schedule_options import EVERYTHING, ScheduleOptions
from .assemble import Assembled, assemble
from .footprint import Ints, distinct, numbers
from .stream import Buffer

PHASE = "emit"


@frozen
class ModelFacts:
    """What a program tells of its model beyond the module itself.

    By input and output name: `element_types` the model's ONNX element types ("float", "int64"), `ranges` the
    valid values (None where any will do), `binary` those whose values are 0 and 1 only. By node name: `paths`
    the structural path and `forms` the attention form; a node without an entry has the path of its first
    kernel. `model` holds facts of the source file, `unlowered` what did not get to its engine, `batchable`
    whether a run may repeat over a longer first axis.
    """

    element_types: Mapping[str, str] = field(default_factory=dict[str, str])
    ranges: Mapping[str, tuple[float | int | None, float | int | None]] = field(default_factory=dict[str, Any])
    binary: frozenset[str] = frozenset()
    paths: Mapping[str, str] = field(default_factory=dict[str, str])
    forms: Mapping[str, str] = field(default_factory=dict[str, str])
    model: Mapping[str, Any] = field(default_factory=dict[str, Any])
    unlowered: tuple[Note, ...] = ()
    batchable: bool = False


def emit(
    module: ModuleOp,
    context: CompilerContext,
    facts: ModelFacts | None = None,
    options: ScheduleOptions = EVERYTHING,
) -> Program:
    """The program of a module whose functions hold instruction templates, loops and buffers only.

    Raises CapacityError where the machine's memories are too small.
    """
    facts = facts or ModelFacts()
    assembled = assemble(module, context.target, options)
    nodes, offsets, source_nodes = _source_map(module, assembled, facts)
    mapped = {nodes[index].name for index in numbers(distinct(source_nodes))}
    folded = [Note(node.name, node.phase, node.reason) for node in folded_nodes(module)]
    folded += [Note(node.name, PHASE, "needs no instruction") for node in nodes if node.name not in mapped]
    return Program(
        machine=context.target,
        table=assembled.table,
        segments=tuple(_segments(assembled, context.store)),
        inputs=_signatures(assembled, "input", facts),
        outputs=_signatures(assembled, "output", facts),
        dram_bytes=assembled.dram.bytes,
        nodes=nodes,
        source_offsets=offsets,
        source_nodes=source_nodes,
        memory_map=tuple(_memory_map(assembled)),
        occupancy=_occupancy(assembled),
        recipe=context.recipe,
        model=facts.model,
        unlowered=facts.unlowered,
        folded=tuple(folded),
        batchable=facts.batchable,
    )


def _source_map(module: ModuleOp, assembled: Assembled, facts: ModelFacts) -> tuple[tuple[Node, ...], Ints, Ints]:
    """The nodes of the module, and the nodes of each row as (offsets, concatenated node numbers)."""
    origins = assembled.stream.origins
    paths: dict[str, str] = {}
    for origin in origins:
        for node in origin.nodes:
            paths.setdefault(node.name, origin.path)
    paths |= facts.paths
    nodes = tuple(
        Node(node.name, node.operator, paths.get(node.name, ""), facts.forms.get(node.name, ""))
        for node in module_nodes(module)
    )
    number = {node.name: place for place, node in enumerate(nodes)}
    lists = [[number[node.name] for node in origin.nodes] for origin in origins]
    lengths = np.array([len(members) for members in lists], dtype=np.int64)
    starts = np.cumsum(lengths) - lengths
    flat = np.array([place for members in lists for place in members], dtype=np.int64)
    origin = assembled.stream.origin[assembled.source]
    counts = lengths[origin] if len(origins) else np.zeros(0, dtype=np.int64)
    offsets = np.zeros(len(origin) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    inside = np.arange(int(offsets[-1])) - np.repeat(offsets[:-1], counts)
    return nodes, offsets, flat[np.repeat(starts[origin], counts) + inside] if len(flat) else flat


def _segments(assembled: Assembled, store: ConstantStore) -> list[Segment]:
    """The weights, each key once, in order of address."""
    found: dict[int, Segment] = {}
    for number, buffer in enumerate(assembled.stream.buffers):
        if buffer.role == "weight" and assembled.dram.used[number] and buffer.bytes:
            address = int(assembled.dram.address[number])
            if address not in found:
                found[address] = Segment(buffer.key, address, _stored(store.get(buffer.key), buffer))
    return [found[address] for address in sorted(found)]


def _stored(array: Array, buffer: Buffer) -> Array:
    """A constant as it lies in DRAM. Raises TypeError where it is not what the buffer says."""
    if array.nbytes != buffer.bytes or array.dtype != buffer.format.dtype:
        raise TypeError(
            f"constant {buffer.key!r} is {array.dtype} {array.shape}, "
            f"tensor {buffer.label!r} holds {buffer.format} {buffer.shape}"
        )
    return np.ascontiguousarray(array) if buffer.format.packed else np.ascontiguousarray(array).reshape(buffer.shape)


def _signatures(assembled: Assembled, role: str, facts: ModelFacts) -> tuple[Signature, ...]:
    result: list[Signature] = []
    for number, buffer in enumerate(assembled.stream.buffers):
        if buffer.role != role:
            continue
        low, high = facts.ranges.get(buffer.label, (None, None))
        result.append(
            Signature(
                name=buffer.label,
                element_type=facts.element_types.get(buffer.label, ONNX_TYPES[buffer.format]),
                format=buffer.format,
                shape=buffer.shape,
                address=int(assembled.dram.address[number]),
                low=low,
                high=high,
                binary=buffer.label in facts.binary,
            )
        )
    return tuple(result)


ONNX_TYPES: dict[Format, str] = {
    Format.F32: "float",
    Format.F16: "float16",
    Format.BF16: "bfloat16",
    Format.I32: "int32",
    Format.I8: "int8",
    Format.U8: "uint8",
    Format.BOOL: "bool",
}
"""The ONNX element type that each format stores as it is."""


def _memory_map(assembled: Assembled) -> list[MemoryEntry]:
    """Tensors in DRAM and buffers that stay on chip for the whole program; buffers of kernels come and go."""
    entries: dict[tuple[Space, int, str], MemoryEntry] = {}
    instance = np.searchsorted(assembled.stream.instance_buffer, np.arange(len(assembled.stream.buffers)))
    for number, buffer in enumerate(assembled.stream.buffers):
        if buffer.space == Space.DRAM:
            if not assembled.dram.used[number]:
                continue
            entry = MemoryEntry(
                buffer.key or buffer.label,
                buffer.space,
                int(assembled.dram.address[number]),
                buffer.bytes,
                buffer.role,
            )
        elif buffer.resident and assembled.last[instance[number]] >= 0:
            address = int(assembled.address[instance[number]])
            entry = MemoryEntry(buffer.label, buffer.space, address, buffer.bytes, "resident")
        else:
            continue
        entries.setdefault((entry.space, entry.address, entry.name), entry)
    return list(entries.values())


def _occupancy(assembled: Assembled) -> Occupancy:
    """Every instance on chip that an instruction touches, with its rows."""
    stream = assembled.stream
    on_chip = np.array([buffer.space != Space.DRAM for buffer in stream.buffers], dtype=bool)
    stays = np.flatnonzero(on_chip[stream.instance_buffer] & (assembled.last >= 0))
    stays = stays[np.argsort(assembled.first[stays], kind="stable")]
    used, buffer = np.unique(stream.instance_buffer[stays], return_inverse=True)
    named = [stream.buffers[number] for number in numbers(used)]
    buffers = tuple(ChipBuffer(item.label, item.space, item.bytes, item.resident) for item in named)
    columns = (assembled.address[stays], assembled.first[stays], assembled.last[stays])
    return Occupancy(buffers, buffer.astype(np.int64), *columns)
