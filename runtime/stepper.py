"""Step through a program: one instruction at a time in file order, with memory to look at and breakpoints by
node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..isa.blocks import Space
from ..isa.errors import UsageError
from ..isa.formats import Array, Format
from ..isa.frozen import frozen
from ..isa.program import MemoryEntry
from .inputs import prepare
from .instruction_log import log_line
from .measure import Measurement
from .session import Session
from .values import Executor, Observed


@frozen
class Step:
    """An instruction that was performed: its `row`, `text`, ONNX `nodes`, and where it lies in time
    (cycles)."""

    row: int
    engine: str
    text: str
    nodes: tuple[str, ...]
    start: int
    end: int
    line: str

    def __str__(self) -> str:
        return self.line


class Stepper:
    """A session's program on one set of inputs (of the program's own shapes), performed step by step.

    Instructions go in file order, which is the order of values; cycles are those that they have side by side.
    """

    def __init__(self, session: Session, inputs: Mapping[str, Array]) -> None:
        batches = prepare(session.program, inputs)
        if batches.count != 1:
            raise UsageError("the stepper takes inputs of the program's own shapes", "give one batch")
        self.session = session
        self.program = session.program
        self.row = 0
        self._breakpoints: set[str] = set()
        self._executor = Executor(self.program)
        for item in self.program.inputs:
            self._executor.place(item.address, batches.of(item, 0))
        self._measurement = self._time(batches.arrays)
        self._steps = self._executor.steps()

    def _time(self, arrays: Mapping[str, Array]) -> Measurement:
        """The program in time; where that depends on data, a first run finds out."""
        observed = Observed()
        if "load.extent" in self.program.table.groups:
            scout = Executor(self.program)
            for item in self.program.inputs:
                scout.place(item.address, arrays[item.name])
            observed = scout.run()
        return self.session.measure(observed)

    @property
    def finished(self) -> bool:
        """Whether every instruction was performed."""
        return self.row >= len(self.program.table)

    def step(self) -> Step | None:
        """Perform the next instruction; None when there is none. Fault where it faults."""
        if self.finished:
            return None
        row = next(self._steps)
        self.row = row + 1
        return self._described(row)

    def run(self, until: int | None = None) -> Iterator[Step]:
        """Perform instructions up to row `until` (not included), the end, or before one at a breakpoint.

        A breakpoint that the run starts at does not stop it.
        """
        started = self.row
        while not self.finished and (until is None or self.row < until):
            if self.row > started and self._at_breakpoint():
                return
            step = self.step()
            if step is not None:
                yield step

    def break_at(self, node: str) -> None:
        """Stop `run` where the instructions of an ONNX node begin; UsageError if no instruction belongs to
        it."""
        nodes, used = self.program.nodes, set(self.program.source_nodes.tolist())
        if not any(item.name == node and index in used for index, item in enumerate(nodes)):
            raise UsageError(f"no instruction belongs to a node {node!r}")
        self._breakpoints.add(node)

    def clear(self, node: str) -> None:
        """Take a breakpoint away; nothing happens if there is none."""
        self._breakpoints.discard(node)

    def _at_breakpoint(self) -> bool:
        """Whether the next row begins a node with a breakpoint (the row before does not belong to it)."""
        if not self._breakpoints:
            return False
        here = self._breakpoints.intersection(self.program.row_nodes(self.row))
        return bool(here.difference(self.program.row_nodes(self.row - 1)))

    def read(
        self,
        space: Space,
        address: int,
        shape: Sequence[int],
        stored: Format,
        strides: Sequence[int] | None = None,
    ) -> Array:
        """A copy of an array at byte `address` of a memory; UsageError outside it.

        strides: in elements and not negative, one an axis; row-major without gaps unless given.
        """
        memory = self._executor.state.memory(space)
        steps = _dense(shape) if strides is None else strides
        elements = 1 + sum((size - 1) * step for size, step in zip(shape, steps, strict=True)) if 0 not in shape else 0
        count = elements * stored.bytes
        if not 0 <= address <= address + count <= len(memory):
            raise UsageError(f"bytes {address} to {address + count - 1} are outside the {len(memory)} of {space.text}")
        flat = memory[address : address + count].copy().view(stored.dtype)
        return np.lib.stride_tricks.as_strided(flat, shape, [step * stored.bytes for step in steps]).copy()

    def read_named(self, name: str) -> Array:
        """A copy of an input or output by its name in its shape, or of an entry of the memory map as
        bytes."""
        for item in (*self.program.inputs, *self.program.outputs):
            if item.name == name:
                return self.read(Space.DRAM, item.address, item.shape, item.format)
        entry = self._entry(name)
        return self.read(entry.space, entry.address, (entry.bytes,), Format.U8)

    def _entry(self, name: str) -> MemoryEntry:
        for entry in self.program.memory_map:
            if entry.name == name:
                return entry
        raise UsageError(f"nothing in the memory map is called {name!r}")

    def _described(self, row: int) -> Step:
        measurement = self._measurement
        return Step(
            row=row,
            engine=measurement.machine.queues[int(self.program.table.queue[row])].name,
            text=measurement.facts.text(row),
            nodes=self.program.row_nodes(row),
            start=int(measurement.timeline.start[row]),
            end=int(measurement.timeline.end[row]),
            line=log_line(measurement, row),
        )


def _dense(shape: Sequence[int]) -> list[int]:
    """Row-major strides in elements."""
    return [int(np.prod(shape[axis + 1 :], dtype=np.int64)) for axis in range(len(shape))]
