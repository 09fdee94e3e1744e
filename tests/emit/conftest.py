"""Tile programs as text, compiled to tables and run on a machine's state."""

import heapq
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from xdsl.dialects.builtin import Builtin, ModuleOp
from xdsl.dialects.func import Func
from xdsl.parser import Parser

from attnc.dialects.context import CompilerContext
from attnc.dialects.isa import load_isa
from attnc.dialects.tile import Tile
from attnc.isa.machine import Machine, load_machine
from attnc.isa.state import State
from attnc.isa.table import Table
from attnc.passes.emit.assemble import Assembled, assemble
from attnc.passes.schedule.lower_tile import LowerTile
from attnc.passes.schedule_options import EVERYTHING, ScheduleOptions

Arrays = Mapping[str, np.ndarray]


@dataclass
class Emission:
    """Compiles tile programs and runs their tables."""

    machine: Machine
    context: CompilerContext

    def parse(self, text: str) -> ModuleOp:
        module = Parser(self.context, text).parse_module()
        module.verify()
        return module

    def table(self, module: ModuleOp, options: ScheduleOptions = EVERYTHING) -> Assembled:
        """Schedule (in place) and emit."""
        LowerTile().apply(self.context, module)
        module.verify()
        return assemble(module, self.machine, options)

    def run(self, assembled: Assembled, tensors: Arrays, order: list[int] | None = None) -> dict[str, np.ndarray]:
        """The outputs after executing the rows in `order` (file order unless given); `tensors` by their
        labels."""
        stream = assembled.stream
        dram = np.zeros(assembled.dram.bytes, dtype=np.uint8)
        for number, buffer in enumerate(stream.buffers):
            if buffer.role in ("input", "weight"):
                raw = np.ascontiguousarray(tensors[buffer.label]).reshape(-1).view(np.uint8)
                start = int(assembled.dram.address[number])
                dram[start : start + len(raw)] = raw
        # Memory starts full of bytes that are NaN in every float format: who relies on it shows.
        state = State(self.machine, dram, fill=0xFF)
        table = assembled.table
        for row in range(len(table)) if order is None else order:
            table.instruction(row).perform(state)
        result: dict[str, np.ndarray] = {}
        for number, buffer in enumerate(stream.buffers):
            if buffer.role == "output":
                start = int(assembled.dram.address[number])
                raw = dram[start : start + buffer.bytes]
                result[buffer.label] = raw.view(buffer.format.dtype).reshape(buffer.shape)
        return result


def any_order(table: Table, seed: int) -> list[int]:
    """A random order of the rows that queues and waits allow."""
    ahead: list[set[int]] = [set() for _ in range(len(table))]
    rows_of_queue = [np.flatnonzero(table.queue == queue).tolist() for queue in range(8)]
    for rows in rows_of_queue:
        for before, row in pairwise(rows):
            ahead[row].add(before)
    for row, queue, count in zip(*table.waits(), strict=True):
        ahead[int(row)].add(rows_of_queue[int(queue)][int(count) - 1])
    behind: dict[int, list[int]] = {}
    for row, rows in enumerate(ahead):
        for before in rows:
            behind.setdefault(before, []).append(row)
    chance = random.Random(seed)
    # A queue may run far ahead: ready rows are drawn with a preference that stays with their queue for a
    # while.
    favour = [chance.random() for _ in range(8)]
    ready = [(favour[int(table.queue[row])], row) for row, rows in enumerate(ahead) if not rows]
    heapq.heapify(ready)
    result: list[int] = []
    while ready:
        _, row = heapq.heappop(ready)
        result.append(row)
        if chance.random() < 0.1:
            favour = [chance.random() for _ in range(8)]
        for follower in behind.get(row, ()):
            ahead[follower].discard(row)
            if not ahead[follower]:
                heapq.heappush(ready, (favour[int(table.queue[follower])], follower))
    assert len(result) == len(table)
    return result


@pytest.fixture(scope="session")
def emission() -> Callable[[str], Emission]:
    context = CompilerContext()
    for dialect in (Builtin, Func, Tile, load_isa()):
        context.load_dialect(dialect)
    return lambda machine: Emission(load_machine(machine), context)


@pytest.fixture(scope="session")
def shuffled() -> Callable[[Table, int], list[int]]:
    return any_order
