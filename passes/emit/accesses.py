"""What every instruction reads and writes, as the records say it, in terms of buffer instances and
footprints.

Records speak of addresses, which are not assigned yet. So each address field is given a place of its own, far
from every other field's: the blocks that a record then names tell by their address which field, hence which
instance, they belong to, and the offset within it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...isa.blocks import Block, Space
from ...isa.fields import DramAddress, on_chip
from ...isa.frozen import frozen
from ...isa.machine import Machine
from ...isa.record import Instruction
from .dependence import Accesses, Instances
from .footprint import Atoms, Footprints, Ints, random_numbers, split_into_atoms
from .stream import Group, Stream

CHIP_FIELD_BITS = 26
"""Each on-chip address field has 2^26 bytes of its own; nine fit below the bit that selects the memory."""

DRAM_FIELD_BITS = 40
"""Likewise for DRAM addresses, which columns hold as int64."""

REGISTER_BYTES = 4

REGISTER_FIELD, MAXIMUM_FIELD = "register", "maximum"
"""The fields by which records say that they set an extent register, and how high."""


@frozen
class Touched:
    """All accesses of a stream that can matter for order, and the atoms they touch.

    `instances` has one more instance than the stream, the last: the extent registers. DRAM tensors that no
    instruction writes (weights, inputs) are left out, since nothing ever conflicts there.
    """

    accesses: Accesses
    instances: Instances
    atoms: Atoms


@frozen
class _Event:
    """The accesses of one block of one group: by column, empty ones left out."""

    row: Ints
    instance: Ints
    write: bool
    block: Ints
    """[access, offset, run, extents..., strides...]."""


DIMENSIONS = 4


def touched(stream: Stream, machine: Machine) -> Touched:
    """The accesses of a stream, with everything in range. Raises ValueError where an access leaves its
    buffer."""
    registers = len(stream.instance_buffer)
    maxima = RegisterMaxima(stream)
    events = [event for group in stream.groups for event in _events(group, stream, registers, maxima)]
    row = _joined([event.row for event in events])
    instance = _joined([event.instance for event in events])
    write = np.repeat(
        np.array([event.write for event in events], dtype=np.bool_),
        np.array([len(event.row) for event in events], dtype=np.int64),
    )
    block = np.concatenate([np.zeros((0, 2 + 2 * DIMENSIONS), np.int64), *(event.block for event in events)])

    spaces = np.array([buffer.space for buffer in stream.buffers] + [Space.REGISTER], dtype=np.int64)
    instance_buffer = np.append(stream.instance_buffer, len(stream.buffers))
    written = np.zeros(len(spaces), dtype=bool)
    written[instance_buffer[instance[write]]] = True
    buffer = instance_buffer[instance]
    matters = written[buffer] | (spaces[buffer] != Space.DRAM)
    _check_bounds(stream, row, buffer, block)
    row, instance, block, buffer = row[matters], instance[matters], block[matters], buffer[matters]

    footprint, first = _distinct(np.concatenate([buffer[:, None], block], axis=1))
    footprints = Footprints(
        buffer=buffer[first],
        offset=block[first, 0],
        run=block[first, 1],
        extents=block[first, 2 : 2 + DIMENSIONS],
        strides=block[first, 2 + DIMENSIONS :],
    )
    sizes = np.array(
        [buffer.bytes for buffer in stream.buffers] + [machine.memory_bytes(Space.REGISTER)], dtype=np.int64
    )
    line_bytes = np.array([machine.hazard_line_bytes(Space(space)) for space in spaces.tolist()], dtype=np.int64)
    lines = -(-sizes // line_bytes)
    return Touched(
        Accesses(row, instance, footprint, write[matters]),
        Instances(instance_buffer, spaces[instance_buffer], lines[instance_buffer]),
        split_into_atoms(footprints, lines, line_bytes),
    )


def placed_columns(group: Group, base: Ints, spaces: Ints) -> dict[str, Ints]:
    """The columns of a group with instance i at byte `base[i]` of memory `spaces[i]`; absent addresses are
    zero."""
    columns = dict(group.columns)
    for name, instance in group.instances.items():
        used = instance >= 0
        address = columns[name] + base[instance]
        in_acc = spaces[instance] == Space.ACC
        columns[name] = np.where(used, np.where(in_acc, on_chip(Space.ACC, address), address), 0)
    return columns


class RegisterMaxima:
    """The declared maximum of every extent register at every row: what static ranges count with."""

    def __init__(self, stream: Stream) -> None:
        self._rows: dict[int, Ints] = {}
        self._maxima: dict[int, Ints] = {}
        setters = [group for group in stream.groups if REGISTER_FIELD in group.columns]
        if not setters:
            return
        rows = np.concatenate([group.rows for group in setters])
        order = np.argsort(rows)
        register = np.concatenate([group.columns[REGISTER_FIELD] for group in setters])[order]
        maximum = np.concatenate([group.columns[MAXIMUM_FIELD] for group in setters])[order]
        for number in np.unique(register).tolist():
            self._rows[number] = rows[order][register == number]
            self._maxima[number] = maximum[register == number]

    def columns(self, group: Group) -> dict[str, Ints]:
        """The columns of a group with extent registers replaced by their maxima. ValueError for one never
        set."""
        result = dict(group.columns)
        for name in group.record.extents:
            number = -1 - result[name]
            if not (number >= 0).any():
                continue
            column = result[name].copy()
            for register in np.unique(number[number >= 0]).tolist():
                mine = np.flatnonzero(number == register)
                before = np.searchsorted(self._rows.get(register, np.zeros(0)), group.rows[mine]) - 1
                if register not in self._rows or before.min() < 0:
                    raise ValueError(
                        f"{group.record.mnemonic} names extent register {register}, which is not set before"
                    )
                column[mine] = self._maxima[register][before]
            result[name] = column
        return result


def _events(group: Group, stream: Stream, registers: int, maxima: RegisterMaxima) -> Iterator[_Event]:
    kinds = {item.name: item.kind for item in group.record.fields}
    fields = list(group.instances)
    buffer_spaces = np.array([buffer.space for buffer in stream.buffers] + [Space.SRAM], dtype=np.int64)
    columns = maxima.columns(group)
    for number, name in enumerate(fields, 1):
        bits = DRAM_FIELD_BITS if isinstance(kinds[name], DramAddress) else CHIP_FIELD_BITS
        address = columns[name] + (number << bits)
        in_acc = buffer_spaces[stream.instance_buffer[group.instances[name]]] == Space.ACC
        columns[name] = np.where(in_acc, on_chip(Space.ACC, address), address)
    record: Instruction = group.record(**columns)
    owners = np.stack([np.full(len(group), -1), *group.instances.values()])
    for write, blocks in ((False, record.reads()), (True, record.writes())):
        for block in blocks:
            event = _event(group, block, owners, write, registers)
            if event is not None:
                yield event
    for name in group.record.extents:
        number = -1 - group.columns[name]
        named = np.flatnonzero(number >= 0)
        if len(named):
            block = np.zeros((len(named), 2 + 2 * DIMENSIONS), dtype=np.int64)
            block[:, 0], block[:, 1], block[:, 2 : 2 + DIMENSIONS] = (
                number[named] * REGISTER_BYTES,
                REGISTER_BYTES,
                1,
            )
            yield _Event(group.rows[named], np.full(len(named), registers), False, block)


def _event(group: Group, block: Block, owners: Ints, write: bool, registers: int) -> _Event | None:
    count = len(group)
    empty = np.broadcast_to(np.asarray(block.empty), (count,))
    kept = np.flatnonzero(~empty)
    if not len(kept):
        return None

    def column(value: int | Ints) -> Ints:
        return np.broadcast_to(np.asarray(value, dtype=np.int64), (count,))[kept]

    space, address = column(block.space), column(block.address)
    bits = np.where(space == Space.DRAM, DRAM_FIELD_BITS, CHIP_FIELD_BITS)
    field = address >> bits
    table = np.zeros((len(kept), 2 + 2 * DIMENSIONS), dtype=np.int64)
    table[:, 0] = address - (field << bits)
    table[:, 1] = column(block.run)
    table[:, 2 : 2 + DIMENSIONS] = 1
    for axis, (extent, stride) in enumerate(zip(block.extents, block.strides, strict=True)):
        table[:, 2 + axis] = column(extent)
        table[:, 2 + DIMENSIONS + axis] = np.where(table[:, 2 + axis] == 1, 0, column(stride))
    instance = np.where(space == Space.REGISTER, registers, owners[field, kept])
    return _Event(group.rows[kept], instance, write, table)


def _check_bounds(stream: Stream, row: Ints, buffer: Ints, block: Ints) -> None:
    sizes = np.array([item.bytes for item in stream.buffers] + [1 << 62], dtype=np.int64)
    extents, strides = block[:, 2 : 2 + DIMENSIONS], block[:, 2 + DIMENSIONS :]
    reach = (extents - 1) * strides
    low = block[:, 0] + np.minimum(reach, 0).sum(axis=1)
    high = block[:, 0] + np.maximum(reach, 0).sum(axis=1) + block[:, 1]
    wrong = np.flatnonzero((low < 0) | (high > sizes[buffer]))
    if len(wrong):
        one = int(wrong[0])
        item = stream.buffers[int(buffer[one])]
        kernel = stream.origins[int(stream.origin[row[one]])].kernel
        raise ValueError(
            f"instruction {int(row[one])} of kernel {kernel!r} touches bytes "
            f"{int(low[one])}..{int(high[one]) - 1} of buffer {item.label!r} in {item.space.text}, "
            f"which has {item.bytes}"
        )


def _distinct(table: Ints) -> tuple[Ints, Ints]:
    """Which distinct row each row of a table is, and a row that shows each distinct one."""
    weights = random_numbers(table.shape[1])
    # Rows are told apart by a 64-bit product sum; it is checked that no two different rows share one.
    key: Ints = np.asarray(table @ weights, dtype=np.int64)
    order = np.argsort(key, kind="stable")
    fresh = np.ones(len(order), dtype=np.bool_)
    fresh[1:] = np.diff(key[order]) != 0
    which = np.empty(len(order), dtype=np.int64)
    which[order] = np.cumsum(fresh) - 1
    first = order[fresh]
    if np.array_equal(table[first[which]], table):
        return which, first
    return _distinct_by_content(table)


def _distinct_by_content(table: Ints) -> tuple[Ints, Ints]:
    _, first, which = np.unique(table, axis=0, return_index=True, return_inverse=True)
    return which.reshape(-1), first


def _joined(parts: list[Ints]) -> Ints:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
