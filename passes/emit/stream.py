"""Instructions by column while they are being emitted: what expansion gives and every later step of emission
reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...dialects.provenance import Node
from ...isa.blocks import Space
from ...isa.formats import Format
from ...isa.frozen import frozen
from ...isa.lanes import LaneProgram
from ...isa.record import Instruction
from .footprint import Ints

NO_INSTANCE = -1
"""Stands for the instance of an address field that an instruction does not use."""


@frozen
class Buffer:
    """A `tile.tensor` or `tile.alloc`: its name for people, memory, size and contents.

    `role` is input, output, weight or temporary for tensors in DRAM and empty on chip; `key` names a weight's
    bytes; `resident` marks on-chip buffers that no kernel owns.
    """

    label: str
    space: Space
    bytes: int
    shape: tuple[int, ...]
    format: Format
    role: str = ""
    key: str = ""
    resident: bool = False


@frozen
class Group:
    """All instructions of one record, by column, in the order of the program.

    `rows` are their row numbers in the stream; `columns` holds every field, addresses as byte offsets within
    their instance; `instances[field]` the instance that an address field refers to, NO_INSTANCE where the
    field is unused. `programs` numbers the lane programs of vector passes (None for other records).
    """

    record: type[Instruction]
    rows: Ints
    columns: dict[str, Ints]
    instances: dict[str, Ints]
    programs: Ints | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def renumbered(self, rows: Ints) -> Group:
        """The same instructions under other row numbers."""
        return Group(self.record, rows, self.columns, self.instances, self.programs)

    def sorted(self) -> Group:
        """The same instructions in the order of their rows."""
        order = np.argsort(self.rows, kind="stable")
        return Group(
            self.record,
            self.rows[order],
            {name: column[order] for name, column in self.columns.items()},
            {name: column[order] for name, column in self.instances.items()},
            None if self.programs is None else self.programs[order],
        )


@frozen
class Origin:
    """Where instructions come from: a kernel's name and path, and the ONNX nodes it does."""

    kernel: str
    path: str
    nodes: tuple[Node, ...]


@frozen
class Stream:
    """The instructions of a program in their natural order (as the loops say), before addresses and waits.

    `queue` and `origin` have an entry a row; `instance_buffer[i]` is the buffer that instance i is one of.
    """

    groups: tuple[Group, ...]
    queue: Ints
    origin: NDArray[np.int64]
    origins: tuple[Origin, ...]
    buffers: tuple[Buffer, ...]
    instance_buffer: Ints
    programs: tuple[LaneProgram, ...]

    @property
    def rows(self) -> int:
        """How many instructions there are."""
        return len(self.queue)


def permuted(stream: Stream, rows: Ints) -> Stream:
    """The stream with its rows in another order: row i is what `rows[i]` was."""
    position = np.empty(len(rows), dtype=np.int64)
    position[rows] = np.arange(len(rows))
    groups = tuple(group.renumbered(position[group.rows]).sorted() for group in stream.groups)
    return replace(stream, groups=groups, queue=stream.queue[rows], origin=stream.origin[rows])
