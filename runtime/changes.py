"""What would make a run faster: one thing is changed, and the same instructions are placed in time again.

Rates and latencies change in the machine's description, so that the records' own cost functions answer; what is no
figure of the machine changes the schedule's costs. Instructions, tiles and their order stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np

from ..isa.machine import Machine, Transfer
from .measure import Measurement, measure
from .report import Change
from .timing import Schedule, simulate
from .waits import Waits

_FLOATS = ("f32", "f16", "bf16")


def changes(measurement: Measurement) -> tuple[Change, ...]:
    """Every change that saves cycles, the greatest saving first."""
    found = [
        Change(subject, lever, cycles, measurement.cycles - cycles)
        for subject, lever, cycles in (*_of_machine(measurement), *_of_schedule(measurement))
        if cycles < measurement.cycles
    ]
    return tuple(sorted(found, key=lambda change: change.cycles))


_Found = tuple[str, str, int]
"""Subject, lever, and cycles with the change."""


def _of_machine(measurement: Measurement) -> Iterator[_Found]:
    """Runs on machines that differ in one figure."""
    machine, performance = measurement.machine, measurement.performance
    dram, matrix, vector = machine.dram, machine.matrix, machine.vector

    def cycles(other: Machine) -> int:
        return measure(measurement.facts, other, measurement.observed).cycles

    if performance.dram_read_bytes or performance.dram_write_bytes:
        faster = replace(dram, bytes_per_cycle=2 * dram.bytes_per_cycle)
        port = Transfer(2 * machine.transfer.access_bytes)
        yield (
            f"DRAM and its port on chip at {faster.bytes_per_cycle} bytes a cycle, for {dram.bytes_per_cycle}",
            f"dram.bytes_per_cycle = {faster.bytes_per_cycle} and transfer.access_bytes = {port.access_bytes}"
            " in the machine file",
            cycles(replace(machine, dram=faster, transfer=port)),
        )
        sooner = replace(dram, latency_cycles=dram.latency_cycles // 2)
        yield (
            f"DRAM latency of {sooner.latency_cycles} cycles, for {dram.latency_cycles}",
            f"dram.latency_cycles = {sooner.latency_cycles} in the machine file",
            cycles(replace(machine, dram=sooner)),
        )
    if performance.macs:
        rates = {name: 2 * rate for name, rate in matrix.rates.items()}
        yield (
            "a matrix engine of twice the rate",
            "twice the matrix.rates in the machine file",
            cycles(replace(machine, matrix=replace(matrix, rates=rates))),
        )
        unfilled = replace(matrix, fill_cycles=0, drain_cycles=0)
        yield (
            "an array that needs no fill and drain",
            "matrix.fill_cycles = 0 and matrix.drain_cycles = 0 in the machine file",
            cycles(replace(machine, matrix=unfilled)),
        )
        int8 = matrix.rates.get("i8", Fraction(0))
        rates = {name: max(rate, int8) if name in _FLOATS else rate for name, rate in matrix.rates.items()}
        yield (
            "float products at the rate of int8",
            "compile with --precision int8, whose weights are smaller too",
            cycles(replace(machine, matrix=replace(matrix, rates=rates))),
        )
    if measurement.costs.elements.any():
        lanes = replace(vector, lanes=2 * vector.lanes)
        yield (
            f"{lanes.lanes} vector lanes, for {vector.lanes}",
            f"vector.lanes = {lanes.lanes} in the machine file",
            cycles(replace(machine, vector=lanes)),
        )


def _of_schedule(measurement: Measurement) -> Iterator[_Found]:
    """Runs whose instructions cost less, or wait for nothing."""
    schedule, performance = measurement.schedule, measurement.performance

    def cycles(other: Schedule) -> int:
        return simulate(other).cycles

    product = measurement.costs.mode >= 0
    useful = np.where(product, np.ceil(measurement.useful).astype(np.int64), schedule.busy)
    yield (
        "products that fill the array, without padding",
        "more rows a product (a larger batch, more tokens), or an array of fewer rows",
        cycles(replace(schedule, busy=np.minimum(schedule.busy, useful))),
    )
    moved = performance.dram_read_bytes + performance.dram_write_bytes
    if performance.dram_compulsory_bytes < moved:
        share = performance.dram_compulsory_bytes / moved
        channel = np.ceil(schedule.channel * share).astype(np.int64)
        busy = np.where(schedule.channel > 0, np.ceil(schedule.busy * share).astype(np.int64), schedule.busy)
        yield (
            f"no byte moved twice between DRAM and chip (now {moved / performance.dram_compulsory_bytes:.2f}x)",
            "more SRAM (sram.bytes in the machine file), or a recipe whose tiles keep more on chip",
            cycles(replace(schedule, channel=channel, busy=busy)),
        )
    nothing = np.zeros(0, dtype=np.int64)
    yield (
        "no instruction waiting for another engine",
        "another order or tiling (recipe): no order of these instructions can save more than this",
        cycles(replace(schedule, waits=Waits(np.zeros(len(schedule) + 1, dtype=np.int64), nothing))),
    )
