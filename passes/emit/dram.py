"""Where tensors lie in DRAM: weights (equal keys once), inputs, outputs, then temporaries, which share by
liveness."""

from __future__ import annotations

import numpy as np

from ...isa.blocks import Space
from ...isa.errors import CapacityError
from ...isa.frozen import frozen
from ...isa.machine import Machine
from .allocate import Demand, aligned, place_lowest
from .footprint import Ints, numbers
from .stream import Stream

SECTIONS = ("weight", "input", "output", "temporary")
"""The order of the parts of DRAM, by role."""


UNITS = 16384
"""Temporaries are placed in units of so many at most."""


@frozen
class DramLayout:
    """First byte of each buffer (0 for those on chip and those that nothing uses), and the bytes that all
    take."""

    address: Ints
    used: tuple[bool, ...]
    bytes: int


def place_in_dram(stream: Stream, machine: Machine, first: Ints, last: Ints) -> DramLayout:
    """Addresses of the DRAM tensors; `first` and `last` are the positions at which each instance is used.

    A weight that no instruction names gets no place. Raises CapacityError where DRAM is too small.
    """
    named = np.zeros(len(stream.buffers), dtype=bool)
    for group in stream.groups:
        for instance in group.instances.values():
            named[stream.instance_buffer[instance[instance >= 0]]] = True
    address = np.zeros(len(stream.buffers), dtype=np.int64)
    used = [False] * len(stream.buffers)
    parts: list[tuple[str, int]] = []
    end = 0
    keys: dict[str, int] = {}
    for role in SECTIONS[:-1]:
        begin = end
        for number, buffer in enumerate(stream.buffers):
            if buffer.role != role or (role == "weight" and not named[number]):
                continue
            used[number] = True
            if buffer.key and buffer.key in keys:
                address[number] = keys[buffer.key]
                continue
            address[number] = end
            if buffer.key:
                keys[buffer.key] = end
            end += aligned(buffer.bytes)
        parts.append((f"{role}s", end - begin))

    temporaries = np.array(
        [n for n, buffer in enumerate(stream.buffers) if buffer.role == "temporary" and named[n]],
        dtype=np.int64,
    )
    if len(temporaries):
        instance = np.searchsorted(stream.instance_buffer, temporaries)
        size = np.array([aligned(stream.buffers[n].bytes) for n in numbers(temporaries)], dtype=np.int64)
        # In units of which all together are few, since places are looked for bit by bit.
        unit = aligned(-(-int(size.sum()) // UNITS))
        places = place_lowest(Demand(-(-size // unit), first[instance], last[instance])) * unit
        address[temporaries] = end + places
        begin, end = end, end + int((places + size).max())
        parts.append(("temporaries", end - begin))
        for number in numbers(temporaries):
            used[number] = True
    if end > machine.memory_bytes(Space.DRAM):
        raise CapacityError(
            f"DRAM of machine {machine.name}",
            end,
            machine.memory_bytes(Space.DRAM),
            parts,
            ("use a smaller model", "use fewer bits per weight"),
        )
    return DramLayout(address, tuple(used), end)
