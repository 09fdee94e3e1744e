"""The instruction table: final order and addresses, waits in the words, `sync` where a word cannot hold them
all."""

from __future__ import annotations

import numpy as np

from ...isa.fields import ABSENT
from ...isa.frozen import frozen
from ...isa.instructions.control import SYNC_WAITS, Sync
from ...isa.record import HEADER_WAITS
from ...isa.table import Group as TableGroup
from ...isa.table import Table
from .accesses import placed_columns
from .dependence import Order
from .footprint import Ints, numbers
from .stream import Stream
from .waits import Waits


@frozen
class Linked:
    """The table, and for each of its rows the stream's row that it comes from (a `sync`: the row that it is
    for)."""

    table: Table
    source: Ints


def link(stream: Stream, order: Order, waits: Waits, address: Ints, spaces: Ints) -> Linked:
    """The table of a stream in file order with its waits; instance i lies at byte `address[i]` of
    `spaces[i]`."""
    crowded = np.flatnonzero(np.bincount(waits.row, minlength=1) > HEADER_WAITS)
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
    if len(crowded):
        rows = np.sort(final[crowded] - 1)
        opcode[rows] = Sync.opcode
        owner = source[rows + 1]
        queue[rows], source[rows] = stream.queue[owner], owner
        _add_syncs(groups, rows)
    none = np.full((total, HEADER_WAITS), ABSENT, dtype=np.int64)
    table = Table(opcode, queue, none, none.copy(), groups)
    _write_waits(table, order, final, waits)
    return Linked(table, source)


def _syncs_before(order: Order, crowded: Ints) -> Ints:
    """For each row, how many `sync` stand before it once one is put ahead of each of the crowded rows."""
    ahead = np.zeros(len(order.position) + 1, dtype=np.int64)
    ahead[order.position[crowded]] = 1
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
    if not len(waits):
        return
    retired = table.queue_index() + 1
    count = np.zeros(len(waits), dtype=np.int64)
    for queue in range(order.queues):
        # A wait names the n-th of the rows that were in a queue before `sync` rows came between them.
        chosen = np.flatnonzero(waits.queue == queue)
        members = retired[np.sort(final[order.queue == queue])]
        count[chosen] = members[waits.number[chosen] - 1]
    # Waits of a row stand in the order of their queues.
    by_row = np.lexsort((waits.queue, waits.row))
    row, queue, count = waits.row[by_row], waits.queue[by_row], count[by_row]
    first = np.flatnonzero(np.append(True, row[1:] != row[:-1]))
    sizes = np.diff(np.append(first, len(row)))
    place = np.arange(len(row)) - np.repeat(first, sizes)
    fits = np.repeat(sizes <= HEADER_WAITS, sizes)
    table.wait_queue[final[row[fits]], place[fits]] = queue[fits]
    table.wait_count[final[row[fits]], place[fits]] = count[fits]
    for start, size in zip(first.tolist(), sizes.tolist(), strict=True):
        if size > HEADER_WAITS:
            named = zip(numbers(queue[start : start + size]), numbers(count[start : start + size]), strict=True)
            table.set_waits(int(final[row[start]]) - 1, list(named))
