"""Cycles, energy and bounds of a program on a machine: everything of the report that needs no values."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..isa.analysis import Analysis
from ..isa.columns import as_vector
from ..isa.engines import Engine
from ..isa.frozen import frozen
from ..isa.instructions import Gather, LoadBlock, Product
from ..isa.machine import Machine
from ..isa.place_names import PlaceNames
from ..isa.program import Program
from ..isa.record import Instruction
from .accesses import Accesses
from .bounds import bound_cycles, limited_by, useful_cycles
from .compulsory import compulsory_bytes, gathered_at_most, intervals_of
from .costs import ProgramCosts, program_costs
from .critical_path import CriticalPath, critical_path
from .energy import energy_by_part_pj
from .extents import resolved
from .kernels import kernel_rows
from .memory_use import memory_rows
from .nodes import ProductExtents, node_rows
from .report import CriticalRow, EngineRow, KernelRow, MemoryRow, NodeRow, Performance, StallRow
from .schedule import build_schedule
from .stalls import RowStalls, engine_times, row_stalls
from .steady import steady_cycles
from .timing import Schedule, Timeline, simulate
from .values import Observed
from .waits import Waits, waited_rows


@frozen
class StaticFacts:
    """What is known of a program without running it, kept for all its runs."""

    program: Program

    @cached_property
    def analysis(self) -> Analysis:
        """Costs and ranges by column, extents in registers at their maxima."""
        return self.program.analysis

    @cached_property
    def accesses(self) -> Accesses:
        """What each row reads and writes."""
        return Accesses(self.analysis)

    @cached_property
    def waits(self) -> Waits:
        """For each row the rows that its waits name."""
        return waited_rows(self.program.table)

    @cached_property
    def names(self) -> PlaceNames:
        """Names of places, for text."""
        return PlaceNames(self.program.memory_map)

    def text(self, row: int) -> str:
        """A row as assembly text, without waits."""
        return self.program.table.text(row, self.names)


@frozen
class Measurement:
    """One inference of `program` on `machine` in time. Arrays have an entry a row of the program's table."""

    facts: StaticFacts
    machine: Machine
    observed: Observed
    instances: Mapping[str, Instruction]
    costs: ProgramCosts
    schedule: Schedule
    timeline: Timeline

    @property
    def program(self) -> Program:
        """What was measured."""
        return self.facts.program

    @property
    def cycles(self) -> int:
        """Latency of one inference on an idle machine."""
        return self.timeline.cycles

    @cached_property
    def row_energy_pj(self) -> NDArray[np.float64]:
        """Energy of each row, without leakage."""
        return self.costs.energy_pj(self.machine)

    @cached_property
    def useful_share(self) -> float:
        """The share of all multiply-accumulates that the model asks for; the rest a schedule makes again."""
        asked, made = self.program.model.get("macs"), int(self.costs.products.sum())
        return asked / made if isinstance(asked, int) and asked < made else 1.0

    @cached_property
    def useful(self) -> NDArray[np.float64]:
        """Cycles of each row's useful work at peak rates."""
        return useful_cycles(self.costs, self.machine, self.useful_share)

    @cached_property
    def stalls(self) -> RowStalls:
        """Cycles for which each row kept its engine waiting."""
        return row_stalls(self.schedule, self.timeline)

    @cached_property
    def critical_path(self) -> CriticalPath:
        """The chain of instructions that the latency consists of."""
        return critical_path(self.schedule, self.timeline)

    @cached_property
    def steady_cycles(self) -> int:
        """Cycles that one more inference adds, issued right behind."""
        buffers = [(item.address, item.address + item.bytes) for item in (*self.program.inputs, *self.program.outputs)]
        return steady_cycles(self.schedule, self.timeline.begun, self.facts.accesses, buffers)

    @cached_property
    def compulsory_bytes(self) -> int:
        """The least DRAM traffic of this run."""
        gathers = (
            intervals_of(self.observed.gathered)
            if self.observed.gathered
            else gathered_at_most(self.instances.get(Gather.mnemonic))
        )
        return compulsory_bytes(self.program, self.instances.get(LoadBlock.mnemonic), gathers)

    @cached_property
    def performance(self) -> Performance:
        """The figures of the summary."""
        machine, cycles = self.machine, self.cycles
        seconds, steady = (count / (machine.clock_ghz * 1e9) for count in (cycles, self.steady_cycles))
        parts = energy_by_part_pj(self.costs, machine, cycles)
        energy = sum(parts.values())
        performed = int(self.costs.macs.sum())
        macs = round(performed * self.useful_share)
        bounds = bound_cycles(self.costs, machine, self.useful_share)
        bound = max(bounds, key=lambda name: bounds[name])
        return Performance(
            cycles=cycles,
            seconds=seconds,
            steady_cycles=self.steady_cycles,
            steady_seconds=steady,
            inferences_per_second=1 / steady if steady else 0.0,
            macs=macs,
            recomputed_macs=performed - macs,
            tops=2e-12 * macs / seconds if seconds else 0.0,
            # Operations per joule are operations a second per watt.
            tops_per_watt=2 * macs / energy if energy else 0.0,
            energy_pj=energy,
            energy_by_part_pj=parts,
            average_power_watts=energy * 1e-12 / seconds if seconds else 0.0,
            dram_read_bytes=int(self.costs.dram_read.sum()),
            dram_write_bytes=int(self.costs.dram_write.sum()),
            dram_compulsory_bytes=self.compulsory_bytes,
            instruction_bytes=self.program.instruction_bytes,
            instructions=len(self.program.table),
            utilization={name: count / cycles if cycles else 0.0 for name, count in bounds.items()},
            bound_cycles=bounds,
            bound=bound,
            bound_ratio=cycles / bounds[bound] if bounds[bound] else 0.0,
            limited_by=limited_by(self.schedule, machine, cycles),
        )

    @cached_property
    def engines(self) -> tuple[EngineRow, ...]:
        """Where each engine's time went; engines of kind sx only if the program uses them."""
        times = engine_times(self.schedule, self.timeline)
        rows: list[EngineRow] = []
        for queue, time in zip(self.machine.queues, times, strict=True):
            if not time.instructions and queue.engine is Engine.SX:
                continue
            own = self.program.table.queue == queue.index
            rows.append(
                EngineRow(
                    engine=queue.name,
                    kind=queue.engine.value,
                    instructions=time.instructions,
                    busy_cycles=time.busy,
                    fill_cycles=time.fill,
                    dependency_cycles=time.dependency,
                    channel_cycles=time.channel,
                    finished_cycles=time.finished,
                    utilization=float(self.useful[own].sum()) / self.cycles if self.cycles else 0.0,
                    energy_pj=float(self.row_energy_pj[own].sum()),
                )
            )
        return tuple(rows)

    @cached_property
    def stall_rows(self) -> tuple[StallRow, ...]:
        """Every engine's stalls by cause."""
        names = [queue.name for queue in self.machine.queues]
        times = engine_times(self.schedule, self.timeline)
        rows = [
            row for name, time in zip(names, times, strict=True) if time.instructions for row in time.rows(name, names)
        ]
        return tuple(rows)

    @cached_property
    def critical_rows(self) -> tuple[CriticalRow, ...]:
        """The critical path by engine and part, those of no cycles left out."""
        found = (
            CriticalRow(queue.name, part, int(getattr(self.critical_path, part)[own].sum()))
            for queue in self.machine.queues
            for own in (self.program.table.queue == queue.index,)
            for part in ("busy", "fill", "latency")
        )
        return tuple(row for row in found if row.cycles)

    @cached_property
    def memories(self) -> tuple[MemoryRow, ...]:
        """The memories on chip over time."""
        return memory_rows(self.program.occupancy, self.timeline, self.machine)

    @cached_property
    def nodes(self) -> tuple[NodeRow, ...]:
        """What each node of the model took."""
        return node_rows(
            self.program,
            self.costs,
            self.stalls,
            self.critical_path.cycles,
            self.row_energy_pj,
            self._product_extents(),
            self.machine,
        )

    @cached_property
    def kernels(self) -> tuple[KernelRow, ...]:
        """What the instructions of each set of nodes took."""
        return kernel_rows(self.program, self.costs, self.timeline, self.row_energy_pj)

    def _product_extents(self) -> ProductExtents:
        product = self.instances.get(Product.mnemonic)
        if product is None:
            return np.zeros(0, dtype=np.int64), np.zeros((0, 3), dtype=np.int64)
        rows = self.program.table.groups[Product.mnemonic].rows
        columns = vars(product)
        return rows, np.column_stack([as_vector(columns[name], len(rows)) for name in ("m", "n", "k")])


def measure(facts: StaticFacts, machine: Machine, observed: Observed) -> Measurement:
    """Place the program in time on `machine`, with the extents that a run has `observed` (or their
    maxima)."""
    table = facts.program.table
    instances = resolved(facts.analysis, observed.loaded)
    costs = program_costs(table, instances, machine)
    schedule = build_schedule(table, instances, costs, facts.waits, machine)
    return Measurement(facts, machine, observed, instances, costs, schedule, simulate(schedule))
