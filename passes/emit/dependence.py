"""Which earlier instructions of other queues each instruction must come after: exact on memory lines.

Two accesses conflict when they touch the same line of a memory and one of them writes. For every instruction
and queue only the last conflicting instruction of that queue matters, since a queue retires in order.
"""

from __future__ import annotations

from copy import copy

import numpy as np
from numpy.typing import NDArray

from ...isa.frozen import frozen
from .footprint import Atoms, Ints, ranges
from .inheritance import Placed, inherited


@frozen
class Accesses:
    """Every access of every instruction, by column: `row` does it, to `instance`, through `footprint`; or
    writes."""

    row: Ints
    instance: Ints
    footprint: Ints
    write: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.row)


@frozen
class Instances:
    """The buffers as they exist while the program runs: one per loop iteration of an allocation.

    `buffer` is the static buffer that an instance is one of, `space` its memory, `lines` its size.
    """

    buffer: Ints
    space: Ints
    lines: Ints

    def __len__(self) -> int:
        return len(self.buffer)


@frozen
class Order:
    """A file order of the rows: `position[row]`, each row's `queue` and its `number` there, from 1."""

    position: Ints
    queue: Ints
    number: Ints
    queues: int

    @staticmethod
    def of(rows_in_order: Ints, queue: Ints, queues: int) -> Order:
        """The order in which `rows_in_order` lists the rows."""
        position = np.empty(len(rows_in_order), dtype=np.int64)
        position[rows_in_order] = np.arange(len(rows_in_order))
        number = np.zeros(len(rows_in_order), dtype=np.int64)
        queue_in_order = queue[rows_in_order]
        for one in range(queues):
            mine = rows_in_order[queue_in_order == one]
            number[mine] = np.arange(1, len(mine) + 1)
        return Order(position, queue, number, queues)


class AtomEvents:
    """Accesses spread over the atoms that they touch; made once, asked for several orders and placements."""

    def __init__(self, accesses: Accesses, instances: Instances, atoms: Atoms) -> None:
        self.instances = instances
        self.atoms = atoms
        counts = np.diff(atoms.first)[instances.buffer]
        self.first_atom = np.zeros(len(instances) + 1, dtype=np.int64)
        np.cumsum(counts, out=self.first_atom[1:])
        touched = np.diff(atoms.start)[accesses.footprint]
        source = np.repeat(np.arange(len(accesses)), touched)
        local = atoms.touched[ranges(atoms.start[accesses.footprint], touched)]
        instance = accesses.instance[source]
        self.atom = local - atoms.first[instances.buffer[instance]] + self.first_atom[instance]
        self.instance = instance
        self.row = accesses.row[source]
        self.write = accesses.write[source]

    def renumbered(self, row: Ints) -> AtomEvents:
        """The same events with row r as number `row[r]`."""
        result = copy(self)
        result.row = row[self.row]
        return result

    def conflicts(self, order: Order, addresses: Ints | None = None) -> Ints:
        """`[row, queue]`: the number of the queue's last instruction that `row` conflicts with; 0 for none.

        With `addresses` (first line of each instance in its memory) also conflicts with earlier users of the
        same lines; without, only those within an instance. An instruction's own queue is left out: it runs in
        order.
        """
        sequence = np.lexsort((order.position[self.row], self.atom))
        atom, row, write = self.atom[sequence], self.row[sequence], self.write[sequence]
        queue, number = order.queue[row], order.number[row]
        # Restart the running maxima at every atom: numbers below are lifted by atom * step.
        step = int(order.number.max(initial=0)) + 1
        lift = atom * step
        writes = np.empty((order.queues, len(atom)), dtype=np.int64)
        reads = np.empty((order.queues, len(atom)), dtype=np.int64)
        for one in range(order.queues):
            mine = queue == one
            writes[one] = np.maximum.accumulate(np.where(mine & write, number, 0) + lift) - lift
            reads[one] = np.maximum.accumulate(np.where(mine & ~write, number, 0) + lift) - lift
        result = np.zeros((len(order.position), order.queues), dtype=np.int64)
        taken_over = None if addresses is None else self._inherited(order, addresses, atom, writes, reads)
        for one in range(order.queues):
            if taken_over is not None:
                np.maximum(writes[one], taken_over[0, one, atom], out=writes[one])
                np.maximum(reads[one], taken_over[1, one, atom], out=reads[one])
            # A read conflicts with writers, a write with readers too.
            last = np.maximum(writes[one], np.where(write, reads[one], 0))
            np.maximum.at(result[:, one], row, last)
            result[order.queue == one, one] = 0
        return result

    def lifetimes(self, order: Order) -> tuple[Ints, Ints]:
        """First and last position at which each instance is touched; (0, -1) for one that never is."""
        instance, position = self.instance, order.position[self.row]
        first = np.full(len(self.instances), len(order.position), dtype=np.int64)
        last = np.full(len(self.instances), -1, dtype=np.int64)
        np.minimum.at(first, instance, position)
        np.maximum.at(last, instance, position)
        first[last < 0] = 0
        return first, last

    def _inherited(self, order: Order, addresses: Ints, atom: Ints, writes: Ints, reads: Ints) -> Ints:
        """`[writer or reader, queue, atom]`: the last users of an atom's lines before its instance's time."""
        queues = order.queues
        final = np.zeros((int(self.first_atom[-1]), 2 * queues), dtype=np.int64)
        ends = np.flatnonzero(np.append(atom[1:] != atom[:-1], True)) if len(atom) else atom
        final[atom[ends], :queues] = writes[:, ends].T
        final[atom[ends], queues:] = reads[:, ends].T
        first, last = self.lifetimes(order)
        births = np.flatnonzero(last >= 0)
        births = births[np.argsort(first[births], kind="stable")]
        found = self.instances
        placed = Placed(self.atoms, self.first_atom, found.buffer, found.space, addresses, found.lines)
        return np.ascontiguousarray(inherited(placed, births, final).T).reshape(2, queues, -1)


def conflicts_beyond_queue(order: Order, conflicts: Ints) -> NDArray[np.bool_]:
    """`[row, queue]`: which conflicts go beyond all those of earlier instructions of the row's own queue.

    The others are no news: the queue has waited for as much already.
    """
    fresh = np.zeros((len(order.position), order.queues), dtype=np.bool_)
    in_order = np.argsort(order.position)
    for one in range(order.queues):
        mine = in_order[order.queue[in_order] == one]
        wanted = conflicts[mine]
        before = np.zeros_like(wanted)
        before[1:] = np.maximum.accumulate(wanted, axis=0)[:-1]
        fresh[mine] = wanted > before
    return fresh
