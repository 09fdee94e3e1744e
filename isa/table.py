"""The instruction table: a program as columns, a row an instruction, in file order.

`opcode`, `queue`, `wait_queue` and `wait_count` have one entry a row. The fields of each instruction kind
stand in a `Group`: int64 columns with the row numbers they belong to. Wait counts are absolute (how many
instructions of that queue must have retired); words keep them modulo 2^16.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .columns import Column, Int64Array, common_length
from .errors import Fault
from .fields import ABSENT, NO_NAMES, WAIT_WINDOW, AddressNames
from .instructions import RECORDS, RECORDS_BY_OPCODE
from .instructions.control import SYNC_WAITS
from .record import HEADER_WAITS, WORD_BYTES, Instruction
from .words import Words, check_fields, decode_header, decode_rows, encode_rows


@dataclass
class Group:
    """All rows of one instruction kind: `rows` ascending, `columns` by field name, as fields hold them."""

    record: type[Instruction]
    rows: Int64Array
    columns: dict[str, Int64Array]

    def instance(self, queue: Int64Array) -> Instruction:
        """One instruction that holds all rows as columns (extent registers unresolved)."""
        return self.record(**self.columns, queue=queue[self.rows])


class Table:
    """A program's instructions. See the module for the columns; `groups` are by mnemonic."""

    def __init__(
        self,
        opcode: NDArray[np.uint8],
        queue: Int64Array,
        wait_queue: Int64Array,
        wait_count: Int64Array,
        groups: Mapping[str, Group],
    ) -> None:
        self.opcode = opcode
        self.queue = queue
        self.wait_queue = wait_queue
        self.wait_count = wait_count
        self.groups = dict(groups)
        self.position = np.zeros(len(opcode), dtype=np.int64)
        for group in self.groups.values():
            self.position[group.rows] = np.arange(len(group.rows))

    def __len__(self) -> int:
        return len(self.opcode)

    def record(self, row: int) -> type[Instruction]:
        """The record of a row."""
        return RECORDS_BY_OPCODE[int(self.opcode[row])]

    def values(self, row: int) -> dict[str, int]:
        """Field values of a row, with its queue."""
        group = self.groups[self.record(row).mnemonic]
        place = int(self.position[row])
        values = {name: int(column[place]) for name, column in group.columns.items()}
        values["queue"] = int(self.queue[row])
        return values

    def instruction(self, row: int) -> Instruction:
        """A row as an instruction of its own."""
        return self.record(row)(**self.values(row))

    def text(self, row: int, names: AddressNames = NO_NAMES) -> str:
        """A row as assembly text without queue and waits."""
        return self.instruction(row).text(names)

    def walk(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Instruction]]:
        """(row, instruction) in file order from `start`. One instance a record is moved over the rows, so an
        instruction is valid until the next step; `instruction.perform(state)` executes it."""
        stop = len(self) if stop is None else min(stop, len(self))
        reused = {group.record.opcode: group.record() for group in self.groups.values()}
        pending: dict[int, Iterator[dict[str, int]]] = {}
        for group in self.groups.values():
            low, high = np.searchsorted(group.rows, [start, stop])
            columns = {name: column[low:high].tolist() for name, column in group.columns.items()}
            columns["queue"] = self.queue[group.rows[low:high]].tolist()
            pending[group.record.opcode] = _by_row(columns)
        for row, opcode in enumerate(self.opcode[start:stop].tolist(), start):
            instruction = reused[opcode]
            instruction.bind(next(pending[opcode]))
            yield row, instruction

    def queue_index(self) -> Int64Array:
        """For each row, how many rows of its queue stand before it: row's retire count is this plus 1."""
        result = np.zeros(len(self), dtype=np.int64)
        for queue in np.flatnonzero(np.bincount(self.queue)):
            rows = np.flatnonzero(self.queue == queue)
            result[rows] = np.arange(len(rows))
        return result

    def waits(self) -> tuple[Int64Array, Int64Array, Int64Array]:
        """Every wait, those of `sync` included, as (row, queue, absolute count), ascending by row."""
        present = self.wait_queue >= 0
        rows, _ = np.nonzero(present)
        queues, counts = self.wait_queue[present], self.wait_count[present]
        parts = [(rows.astype(np.int64), queues, counts)]
        sync = self.groups.get("sync")
        if sync is not None:
            for name in SYNC_WAITS:
                column = sync.columns[name]
                used = column >= 0
                parts.append((sync.rows[used], column[used] & 7, column[used] >> 3))
        row, queue, count = (np.concatenate([part[i] for part in parts]) for i in range(3))
        order = np.argsort(row, kind="stable")
        return row[order], queue[order], count[order]

    def set_waits(self, row: int, waits: Sequence[tuple[int, int]]) -> None:
        """Give a row its waits, (queue, absolute count) each; more than three only where it is a `sync`."""
        self.wait_queue[row] = ABSENT
        self.wait_count[row] = ABSENT
        for place, (queue, count) in enumerate(waits[:HEADER_WAITS]):
            self.wait_queue[row, place] = queue
            self.wait_count[row, place] = count
        rest = waits[HEADER_WAITS:]
        is_sync = self.record(row).mnemonic == "sync"
        if len(rest) > (len(SYNC_WAITS) if is_sync else 0):
            raise Fault(f"{len(waits)} waits are more than {self.record(row).mnemonic} carries", row)
        if is_sync:
            columns = self.groups["sync"].columns
            for place, name in enumerate(SYNC_WAITS):
                value = rest[place][1] * 8 + rest[place][0] if place < len(rest) else ABSENT
                columns[name][self.position[row]] = value

    def row_waits(self, row: int) -> list[tuple[int, int]]:
        """The waits of a row, (queue, absolute count) each."""
        result = [
            (int(queue), int(count))
            for queue, count in zip(self.wait_queue[row], self.wait_count[row], strict=True)
            if queue >= 0
        ]
        if self.record(row).mnemonic == "sync":
            columns, place = self.groups["sync"].columns, self.position[row]
            further = [int(columns[name][place]) for name in SYNC_WAITS]
            result.extend((value & 7, value >> 3) for value in further if value >= 0)
        return result

    def reordered(self, order: Int64Array) -> Table:
        """The rows in another order: new row i is old row `order[i]`. Waits go with their rows unchanged."""
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        groups: dict[str, Group] = {}
        for mnemonic, group in self.groups.items():
            rows = place[group.rows]
            inner = np.argsort(rows)
            columns = {name: column[inner] for name, column in group.columns.items()}
            groups[mnemonic] = Group(group.record, rows[inner], columns)
        return Table(self.opcode[order], self.queue[order], self.wait_queue[order], self.wait_count[order], groups)

    def encode(self) -> Words:
        """The instruction words, uint8 [rows, 64]. Fault for a field value or a wait that has no encoding."""
        self.check_waits()
        words = np.zeros((len(self), WORD_BYTES), dtype=np.uint8)
        packed = np.where(self.wait_queue >= 0, self.wait_count * 8 + self.wait_queue, ABSENT)
        for group in self.groups.values():
            check_fields(group.record, group.rows, group.columns)
            rows = group.rows
            words[rows] = encode_rows(group.record, self.queue[rows], packed[rows], group.columns)
        return words

    @staticmethod
    def decode(words: Words) -> Table:
        """The table of instruction words, uint8 [rows, 64]. Fault with the row for words that are no program:
        opcodes, reserved bits, field values, and waits for instructions that are not earlier."""
        opcode, queue, packed = decode_header(words)
        unknown = ~np.isin(opcode, list(RECORDS_BY_OPCODE))
        if unknown.any():
            row = int(np.flatnonzero(unknown)[0])
            raise Fault(f"{int(opcode[row]):#x} is no opcode", row)
        groups: dict[str, Group] = {}
        for mnemonic, record in RECORDS.items():
            rows = np.flatnonzero(opcode == record.opcode)
            if len(rows):
                groups[mnemonic] = Group(record, rows, decode_rows(record, rows, words[rows]))
                _check_structure(groups[mnemonic])
        if (packed < ABSENT).any():
            row = int(np.flatnonzero((packed < ABSENT).any(axis=1))[0])
            raise Fault("a wait has bits under a clear valid bit", row)
        present = packed >= 0
        wait_queue = np.where(present, packed & 7, ABSENT)
        wait_count = np.where(present, packed >> 3, ABSENT)
        table = Table(opcode.astype(np.uint8), queue, wait_queue, wait_count, groups)
        table._restore_counts()
        table.check_waits()
        return table

    def _earlier(self) -> dict[int, Int64Array]:
        """For each queue, how many of its rows stand before each row (length rows + 1)."""
        result: dict[int, Int64Array] = {}
        for queue in np.flatnonzero(np.bincount(self.queue)).tolist():
            counts = np.zeros(len(self) + 1, dtype=np.int64)
            np.cumsum(self.queue == queue, out=counts[1:])
            result[queue] = counts
        return result

    def _restore_counts(self) -> None:
        earlier = self._earlier()

        def whole(rows: Int64Array, queues: Int64Array, counts: Int64Array) -> Int64Array:
            before = _look_up(earlier, queues, rows)
            return before - (before - counts) % WAIT_WINDOW

        for place in range(HEADER_WAITS):
            rows = np.flatnonzero(self.wait_queue[:, place] >= 0)
            queues, counts = self.wait_queue[rows, place], self.wait_count[rows, place]
            self.wait_count[rows, place] = whole(rows, queues, counts)
        sync = self.groups.get("sync")
        if sync is not None:
            for name in SYNC_WAITS:
                column = sync.columns[name]
                used = np.flatnonzero(column >= 0)
                counts = whole(sync.rows[used], column[used] & 7, column[used] >> 3)
                # A count below one is found by check_waits; keep it apart from the mark of an absent wait.
                wrong = np.flatnonzero(counts < 1)
                if len(wrong):
                    raise Fault("a wait names no earlier instruction", int(sync.rows[used[wrong[0]]]))
                column[used] = counts * 8 + (column[used] & 7)

    def check_waits(self) -> None:
        """Fault where a wait names no earlier instruction, is out of the window, or leaves a gap."""
        rows, queues, counts = self.waits()
        if len(rows):
            before = _look_up(self._earlier(), queues, rows)
            for wrong, reason in (
                ((counts < 1) | (counts > before), "a wait names no earlier instruction"),
                (
                    before - counts >= WAIT_WINDOW,
                    f"a wait reaches further back than {WAIT_WINDOW} instructions",
                ),
            ):
                if wrong.any():
                    raise Fault(reason, int(rows[np.flatnonzero(wrong)[0]]))
        present = self.wait_queue >= 0
        gaps: NDArray[np.bool_] = np.any(present[:, 1:] & ~present[:, :-1], axis=1)
        sync = self.groups.get("sync")
        if sync is not None:
            used = np.stack([present[sync.rows, -1], *(sync.columns[name] >= 0 for name in SYNC_WAITS)], axis=1)
            gaps[sync.rows] |= (used[:, 1:] & ~used[:, :-1]).any(axis=1)
        if gaps.any():
            raise Fault("a wait stands behind an empty place for one", int(np.flatnonzero(gaps)[0]))


def _by_row(columns: Mapping[str, list[int]]) -> Iterator[dict[str, int]]:
    names = tuple(columns)
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(names, values, strict=True))


def _look_up(earlier: Mapping[int, Int64Array], queues: Int64Array, rows: Int64Array) -> Int64Array:
    result = np.zeros(len(rows), dtype=np.int64)
    for queue, counts in earlier.items():
        chosen = queues == queue
        result[chosen] = counts[rows[chosen]]
    return result


def _check_structure(group: Group) -> None:
    if not group.record.structured:
        return
    names = tuple(group.columns)
    rows = zip(*(group.columns[name].tolist() for name in names), strict=True)
    for row, values in zip(group.rows.tolist(), rows, strict=True):
        reason = group.record.structure_fault(dict(zip(names, values, strict=True)))
        if reason is not None:
            raise Fault(reason, row)


class TableBuilder:
    """Collects rows a column group at a time; `build` gives the table in the order of appending."""

    def __init__(self) -> None:
        self._parts: dict[str, list[tuple[Int64Array, dict[str, Int64Array]]]] = {}
        self._queues: list[Int64Array] = []
        self._opcodes: list[NDArray[np.uint8]] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, mnemonic: str, queue: Column, columns: Mapping[str, Column]) -> Int64Array:
        """Append rows of one instruction; a number stands for every row. Gives the new rows' numbers.

        Fields with a default may be left out. Fault for an unknown or missing field.
        """
        record = RECORDS[mnemonic]
        names = {item.name for item in record.fields}
        unknown = set(columns) - names
        if unknown:
            raise Fault(f"{mnemonic} has no field {', '.join(sorted(unknown))}")
        count = common_length(queue, *columns.values())
        count = 1 if count is None else count
        rows = np.arange(self._length, self._length + count)
        full: dict[str, Int64Array] = {}
        for item in record.fields:
            value = columns.get(item.name, item.default)
            if value is None:
                raise Fault(f"{mnemonic} needs {item.name}")
            full[item.name] = np.array(np.broadcast_to(np.asarray(value, dtype=np.int64), (count,)))
        self._parts.setdefault(mnemonic, []).append((rows, full))
        self._queues.append(np.array(np.broadcast_to(np.asarray(queue, dtype=np.int64), (count,))))
        self._opcodes.append(np.full(count, record.opcode, dtype=np.uint8))
        self._length += count
        return rows

    def build(self, order: Int64Array | None = None) -> Table:
        """The table, in the order of appending or with new row i being appended row `order[i]`; no waits."""
        groups: dict[str, Group] = {}
        for mnemonic, parts in self._parts.items():
            record = RECORDS[mnemonic]
            columns = {item.name: np.concatenate([part[item.name] for _, part in parts]) for item in record.fields}
            groups[mnemonic] = Group(record, np.concatenate([rows for rows, _ in parts]), columns)
        none = np.full((self._length, HEADER_WAITS), ABSENT, dtype=np.int64)
        opcode = np.concatenate(self._opcodes) if self._opcodes else np.zeros(0, dtype=np.uint8)
        queue = np.concatenate(self._queues) if self._queues else np.zeros(0, dtype=np.int64)
        table = Table(opcode, queue, none, none.copy(), groups)
        return table if order is None else table.reordered(order)
