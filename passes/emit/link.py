"""The instruction table: final order and addresses, waits in the words, `sync` where a word cannot hold them
all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...isa.fields import ABSENT
from ...isa.instructions.control import SYNC_WAITS, Sync
from ...isa.record import HEADER_WAITS
from ...isa.table import Group as TableGroup
from ...isa.table import Table
from .accesses import placed_columns
from .dependence import Order
from .footprint import Ints
from .stream import Stream
from .waits import Waits


@dataclass(frozen=True)
class Linked:
    """The table, and for each of its rows the stream's row that it comes from (a `sync`: the row that it is
    for)."""

    table: Table
    source: Ints


def link(stream: Stream, order: Order, waits: Waits, address: Ints, spaces: Ints) -> Linked:
    """The table of a stream in file order with its waits; instance i lies at byte `address[i]` of
    `spaces[i]`."""
    crowded = {row for row, targets in waits if len(targets) > HEADER_WAITS}
    before = _syncs_before(order, crowded)
    final = order.position + before
    total = stream.rows + len(crowded)
    opcode = np.zeros(total, dtype=np.uint8)
    queue = np.zeros(total, dtype=np.int64)
    source = np.zeros(total, dtype=np.int64)
    queue[final] = stream.queue
    source[final] = np.arange(stream.rows)
    groups: dict[str, TableGroup] = {}
    for group in stream.groups:
        rows = final[group.rows]
        opcode[rows] = group.record.opcode
        inner = np.argsort(rows)
        columns = placed_columns(group, address, spaces)
        kept = {name: column[inner] for name, column in columns.items()}
        groups[group.record.mnemonic] = TableGroup(group.record, rows[inner], kept)
    if crowded:
        for_rows = np.array(sorted(crowded), dtype=np.int64)
        rows = np.sort(final[for_rows] - 1)
        opcode[rows] = Sync.opcode
        owner = source[rows + 1]
        queue[rows], source[rows] = stream.queue[owner], owner
        _add_syncs(groups, rows)
    none = np.full((total, HEADER_WAITS), ABSENT, dtype=np.int64)
    table = Table(opcode, queue, none, none.copy(), groups)
    _write_waits(table, order, final, waits)
    return Linked(table, source)


def _syncs_before(order: Order, crowded: set[int]) -> Ints:
    """For each row, how many `sync` stand before it once one is put ahead of each of the crowded rows."""
    ahead = np.zeros(len(order.position) + 1, dtype=np.int64)
    for row in crowded:
        ahead[order.position[row]] += 1
    return np.cumsum(ahead)[order.position]


def _add_syncs(groups: dict[str, TableGroup], rows: Ints) -> None:
    """Join rows of `sync` with those that the stream may have."""
    columns = {name: np.full(len(rows), ABSENT, dtype=np.int64) for name in SYNC_WAITS}
    present = groups.get(Sync.mnemonic)
    if present is not None:
        rows = np.concatenate([present.rows, rows])
        columns = {name: np.concatenate([present.columns[name], column]) for name, column in columns.items()}
        inner = np.argsort(rows)
        rows, columns = rows[inner], {name: column[inner] for name, column in columns.items()}
    groups[Sync.mnemonic] = TableGroup(Sync, rows, columns)


def _write_waits(table: Table, order: Order, final: Ints, waits: Waits) -> None:
    retired = table.queue_index() + 1
    # A wait names the n-th of the rows that were in a queue before `sync` rows came between them.
    counts = [retired[np.sort(final[order.queue == queue])] for queue in range(order.queues)]
    single: list[tuple[int, int, int, int]] = []
    for row, targets in waits:
        named = [(queue, int(counts[queue][number - 1])) for queue, number in targets]
        if len(named) > HEADER_WAITS:
            table.set_waits(int(final[row]) - 1, named)
            continue
        single.extend((row, place, queue, count) for place, (queue, count) in enumerate(named))
    if single:
        rows, places, queues, numbers = (
            np.array(column, dtype=np.int64) for column in zip(*single, strict=True)
        )
        table.wait_queue[final[rows], places] = queues
        table.wait_count[final[rows], places] = numbers


def origins_of(stream: Stream, linked: Linked) -> NDArray[np.int64]:
    """The stream's origin number of each row of the table."""
    return stream.origin[linked.source]
