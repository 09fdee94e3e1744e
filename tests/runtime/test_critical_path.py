"""The critical path: its cycles are the latency, whatever the program waits for; changes and kernels beside it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc.runtime.changes import changes
from attnc.runtime.critical_path import critical_path
from attnc.runtime.session import Session
from attnc.runtime.timing import Schedule, simulate

from .conftest import waits_of

LD, ST, MX, VX = range(4)


def schedule_of(*rows) -> Schedule:
    """A schedule of rows (queue, waits, busy, latency, fill, channel)."""
    queue, waits, *costs = zip(*rows, strict=True)
    return Schedule(4, np.array(queue), waits_of(waits), *map(np.array, costs))


def path_of(*rows):
    schedule = schedule_of(*rows)
    timeline = simulate(schedule)
    path = critical_path(schedule, timeline)
    assert path.cycles.sum() == timeline.cycles
    return path


def test_a_product_that_waits_for_its_load_has_load_latency_fill_and_product_on_the_path():
    path = path_of((LD, (), 40, 100, 0, 40), (VX, (), 10, 0, 0, 0), (MX, (0,), 64, 0, 32, 0))
    assert path.busy.tolist() == [40, 0, 64]
    assert path.latency.tolist() == [100, 0, 0]
    assert path.fill.tolist() == [0, 0, 32]


def test_a_transfer_that_waits_for_the_channel_puts_the_one_before_on_the_path():
    path = path_of((LD, (), 40, 100, 0, 40), (ST, (), 20, 10, 0, 20))
    assert path.cycles.tolist() == [140, 0]
    path = path_of((LD, (), 40, 0, 0, 40), (ST, (), 20, 10, 0, 20))
    assert path.cycles.tolist() == [40, 30]


def test_a_row_that_retires_behind_the_one_before_is_not_on_the_path():
    path = path_of((LD, (), 40, 100, 0, 40), (LD, (), 10, 0, 0, 10), (VX, (1,), 5, 0, 0, 0))
    assert path.cycles.tolist() == [140, 0, 5]


@st.composite
def schedules(draw) -> Schedule:
    rows = []
    for row in range(draw(st.integers(1, 14))):
        queue = draw(st.integers(0, 3))
        waits = draw(st.sets(st.integers(0, row - 1), max_size=3)) if row else ()
        busy, latency = draw(st.integers(0, 9)), draw(st.integers(0, 9))
        transfer = queue in (LD, ST) and busy
        rows.append((queue, tuple(waits), busy, latency, 5 if queue == MX else 0, busy if transfer else 0))
    return schedule_of(*rows)


@settings(max_examples=200, deadline=None)
@given(schedules())
def test_cycles_on_the_path_are_the_latency(schedule: Schedule) -> None:
    timeline = simulate(schedule)
    path = critical_path(schedule, timeline)
    assert path.cycles.sum() == timeline.cycles
    assert (path.busy <= schedule.busy).all()
    assert (path.latency <= schedule.latency).all()


def test_nodes_share_the_path(linear) -> None:
    report = Session(linear).run(mode="timing").report
    assert sum(row.critical_cycles for row in report.nodes) == pytest.approx(report.performance.cycles)
    assert sum(row.cycles for row in report.critical_path) == report.performance.cycles
    for row in report.nodes:
        assert row.stall_cycles == pytest.approx(row.dependency_cycles + row.channel_cycles + row.fill_cycles)


def test_a_node_tells_its_tile_and_products(linear) -> None:
    product, other = Session(linear).run(mode="timing").report.nodes
    assert (product.tile, product.products) == ("32x32x64", 1)
    assert (other.tile, other.products) == ("", 0)


def test_kernels_sum_to_the_run_and_stay_below_the_rates(linear) -> None:
    report = Session(linear).run(mode="timing").report
    performance, machine = report.performance, linear.machine
    assert sum(row.macs for row in report.kernels) == performance.macs
    assert sum(row.dram_bytes for row in report.kernels) == performance.dram_read_bytes + performance.dram_write_bytes
    for row in report.kernels:
        assert row.dram_bytes <= row.cycles * machine.dram.bytes_per_cycle
        assert row.macs <= row.cycles * machine.matrix.depth("i8") * machine.matrix.columns
        assert row.cycles <= performance.cycles


def test_changes_are_what_another_machine_takes(linear) -> None:
    measurement = Session(linear).measure()
    found = {change.lever: change for change in changes(measurement)}
    own = linear.machine
    slower = replace(own, dram=replace(own.dram, latency_cycles=own.dram.latency_cycles // 2))
    assert found["dram.latency_cycles = 50 in the machine file"].cycles == Session(linear, slower).measure().cycles
    cycles = [change.cycles for change in found.values()]
    assert cycles == sorted(cycles)
    for change in found.values():
        assert change.saved_cycles == measurement.cycles - change.cycles > 0


def test_a_chain_of_single_steps_is_limited_by_dependency(linear) -> None:
    fast = replace(linear.machine.dram, bytes_per_cycle=4096, latency_cycles=100)
    program = replace(linear, machine=replace(linear.machine, dram=fast))
    assert Session(linear).run(mode="timing").report.performance.limited_by == "dram"
    assert Session(program).run(mode="timing").report.performance.limited_by == "dependency"
