"""What is known of a table without running it: costs, memory accesses, and whether a machine can run it.

Extents in registers count with the maximum that the latest earlier `set.extent` or `load.extent` declared,
and vector passes with the lane program that the latest earlier `vx.program` wrote to their slot.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .blocks import Block, Space
from .columns import Column, Int64Array
from .errors import Fault
from .fields import EXTENT_REGISTERS
from .frozen import frozen
from .instructions import VectorPass, VectorProgram
from .lanes import LaneProgram
from .machine import Machine
from .record import Instruction
from .table import Table


@frozen
class Costs:
    """The cost of every row: int64 vectors as in `Cost`; `events` by action, those that happen at all."""

    busy: Int64Array
    latency: Int64Array
    fill: Int64Array
    dram_read_bytes: Int64Array
    dram_write_bytes: Int64Array
    channel_cycles: Int64Array
    events: Mapping[str, Int64Array]


@frozen
class Access:
    """One operand of all rows of an instruction kind: block columns that belong to `rows`."""

    rows: Int64Array
    block: Block
    write: bool


class Analysis:
    """Static facts of `table`; Fault when a register or slot is used that nothing set before."""

    def __init__(self, table: Table) -> None:
        self.table = table

    @cached_property
    def programs(self) -> tuple[LaneProgram, ...]:
        """The lane programs of the `vx.program` rows in file order."""
        group = self.table.groups.get("vx.program")
        if group is None:
            return ()
        return tuple(VectorProgram.decoded(self.table.values(row)) for row in group.rows.tolist())

    @cached_property
    def pass_programs(self) -> Int64Array:
        """For each `vx.pass` row, the index in `programs` of its slot's program; Fault if there is none."""
        passes, writes = self.table.groups.get("vx.pass"), self.table.groups.get("vx.program")
        if passes is None:
            return np.zeros(0, dtype=np.int64)
        result = np.full(len(passes.rows), -1, dtype=np.int64)
        if writes is not None:
            keys = self.table.queue[passes.rows] * 32 + passes.columns["slot"]
            written = self.table.queue[writes.rows] * 32 + writes.columns["slot"]
            for key in np.unique(keys).tolist():
                users, makers = np.flatnonzero(keys == key), np.flatnonzero(written == key)
                place = np.searchsorted(writes.rows[makers], passes.rows[users]) - 1
                result[users] = np.where(place >= 0, makers[place] if len(makers) else -1, -1)
        if (result < 0).any():
            place = int(np.flatnonzero(result < 0)[0])
            raise Fault(f"vector slot {int(passes.columns['slot'][place])} holds no program", int(passes.rows[place]))
        return result

    @cached_property
    def _maxima(self) -> tuple[tuple[Int64Array, Int64Array], ...]:
        # For each register: rows that set it, ascending, and the maximum that each declares.
        rows: list[Int64Array] = []
        registers: list[Int64Array] = []
        maxima: list[Int64Array] = []
        for mnemonic in ("set.extent", "load.extent"):
            group = self.table.groups.get(mnemonic)
            if group is not None:
                rows.append(group.rows)
                registers.append(group.columns["register"])
                maxima.append(group.columns["maximum"])
        if not rows:
            none = np.zeros(0, dtype=np.int64)
            return ((none, none),) * EXTENT_REGISTERS
        all_rows, all_registers, all_maxima = (
            np.concatenate(rows),
            np.concatenate(registers),
            np.concatenate(maxima),
        )
        order = np.argsort(all_rows)
        result: list[tuple[Int64Array, Int64Array]] = []
        for register in range(EXTENT_REGISTERS):
            chosen = order[all_registers[order] == register]
            result.append((all_rows[chosen], all_maxima[chosen]))
        return tuple(result)

    def _static_extent(self, rows: Int64Array, column: Int64Array) -> Int64Array:
        if (column >= 0).all():
            return column
        result = column.copy()
        for place in np.flatnonzero(column < 0).tolist():
            register = -1 - int(column[place])
            setters, maxima = self._maxima[register]
            latest = int(np.searchsorted(setters, int(rows[place]))) - 1
            if latest < 0:
                raise Fault(f"extent register e{register} is used before it is set", int(rows[place]))
            result[place] = maxima[latest]
        return result

    @cached_property
    def instances(self) -> Mapping[str, Instruction]:
        """For each mnemonic, one instruction whose fields are columns over its rows, all known statically."""
        result: dict[str, Instruction] = {}
        for mnemonic, group in self.table.groups.items():
            columns: dict[str, Column] = dict(group.columns)
            for name in group.record.extents:
                columns[name] = self._static_extent(group.rows, group.columns[name])
            if mnemonic == "vx.pass":
                programs = self.programs
                heavy = np.array([program.transcendentals for program in programs], dtype=np.int64)
                light = np.array([len(program.operations) for program in programs], dtype=np.int64) - heavy
                columns["operations"] = light[self.pass_programs]
                columns["transcendentals"] = heavy[self.pass_programs]
            result[mnemonic] = group.record(**columns, queue=self.table.queue[group.rows])
        return result

    def costs(self, machine: Machine) -> Costs:
        """The cost of every row on `machine`."""
        length = len(self.table)
        names = ("busy", "latency", "fill", "dram_read_bytes", "dram_write_bytes", "channel_cycles")
        totals = {name: np.zeros(length, dtype=np.int64) for name in names}
        events: dict[str, Int64Array] = {}
        for mnemonic, instance in self.instances.items():
            rows = self.table.groups[mnemonic].rows
            cost = instance.cost(machine)
            for name, total in totals.items():
                total[rows] = getattr(cost, name)
            for action, count in cost.events.items():
                if np.any(count):
                    events.setdefault(action, np.zeros(length, dtype=np.int64))[rows] += count
        return Costs(**totals, events=events)

    @cached_property
    def accesses(self) -> tuple[Access, ...]:
        """Every operand of every instruction kind, extent registers included; blocks may be empty."""
        result: list[Access] = []
        for mnemonic, instance in self.instances.items():
            group = self.table.groups[mnemonic]
            result.extend(Access(group.rows, block, False) for block in instance.reads())
            result.extend(Access(group.rows, block, True) for block in instance.writes())
            for name in group.record.extents:
                column = group.columns[name]
                if (column < 0).any():
                    address = np.where(column < 0, (-1 - column) * 4, 0)
                    run = np.where(column < 0, 4, 0)
                    result.append(Access(group.rows, Block(Space.REGISTER, address, (), (), run), False))
        return tuple(result)

    def check(self, machine: Machine, dram_bytes: int) -> None:
        """Fault with the row when `machine`, with `dram_bytes` of the program's DRAM, cannot run the table:
        queues that it lacks, an instruction in another engine's queue, what records call faults, accesses
        outside a memory, passes that do not fit their lane program."""
        self._check_queues(machine)
        for mnemonic, instance in self.instances.items():
            rows = self.table.groups[mnemonic].rows
            for wrong, reason in instance.faults(machine):
                _raise_first(rows, wrong, f"{mnemonic}: {reason}")
        limits = {
            Space.DRAM: dram_bytes,
            Space.SRAM: machine.sram.bytes,
            Space.ACC: machine.acc.bytes,
            Space.REGISTER: machine.memory_bytes(Space.REGISTER),
        }
        for access in self.accesses:
            low, high = access.block.bounds()
            for space, limit in limits.items():
                wrong = (access.block.space == space) & ((low < 0) | (high > limit))
                way = "writes" if access.write else "reads"
                _raise_first(access.rows, wrong, f"{way} outside the {limit} bytes of {space.text}")
        self._check_passes()

    def _check_queues(self, machine: Machine) -> None:
        rows = np.arange(len(self.table))
        count = len(machine.queues)
        _raise_first(rows, self.table.queue >= count, f"its queue is none of the machine's {count}")
        for mnemonic, group in self.table.groups.items():
            engine = group.record.engine
            if engine is not None:
                allowed = [queue.index for queue in machine.queues if queue.engine is engine]
                wrong = ~np.isin(self.table.queue[group.rows], allowed)
                _raise_first(group.rows, wrong, f"{mnemonic} stands in a queue that is no {engine} engine's")

    def _check_passes(self) -> None:
        group = self.table.groups.get("vx.pass")
        if group is None:
            return
        names = (
            *(f"{name}_format" for name in (*VectorPass.STREAMS, "out", *VectorPass.BROADCASTS)),
            *(f"{name}_direction" for name in VectorPass.REDUCED),
            "accumulate",
        )
        keys = np.stack([self.pass_programs, *(group.columns[name] for name in names)], axis=1)
        _, first = np.unique(keys, axis=0, return_index=True)
        for place in first.tolist():
            row = int(group.rows[place])
            instruction = self.table.instruction(row)
            assert isinstance(instruction, VectorPass)
            reason = instruction.program_fault(self.programs[int(self.pass_programs[place])])
            if reason is not None:
                raise Fault(f"vx.pass: {reason}", row)


def _raise_first(rows: Int64Array, wrong: Column | NDArray[np.bool_], reason: str) -> None:
    where = np.broadcast_to(np.asarray(wrong), rows.shape)
    if where.any():
        raise Fault(reason, int(rows[np.flatnonzero(where)[0]]))
