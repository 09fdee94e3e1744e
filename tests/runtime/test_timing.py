"""Times of small cases, computed by hand from the rules of runtime.timing."""

from dataclasses import replace

import numpy as np
import pytest

from attnc.isa.assembly import assemble
from attnc.runtime.session import Session
from attnc.runtime.timing import Schedule, simulate

from .conftest import waits_of

LD, ST, MX, VX = range(4)


def placed(*rows):
    """The timeline of rows (queue, waits, busy, latency, fill, channel)."""
    queue, waits, *costs = zip(*rows, strict=True)
    return simulate(Schedule(4, np.array(queue), waits_of(waits), *map(np.array, costs)))


def spans(timeline):
    return list(zip(timeline.start.tolist(), timeline.end.tolist(), timeline.retire.tolist(), strict=True))


def test_engines_run_side_by_side_and_queues_in_order():
    timeline = placed((VX, (), 10, 0, 0, 0), (MX, (), 30, 0, 0, 0), (VX, (), 10, 0, 0, 0))
    assert spans(timeline) == [(0, 10, 10), (0, 30, 30), (10, 20, 20)]
    assert timeline.cycles == 30


def test_a_wait_is_for_retirement_and_is_accounted_to_its_queue():
    timeline = placed((LD, (), 40, 100, 0, 40), (VX, (0,), 10, 0, 0, 0))
    assert spans(timeline) == [(0, 40, 140), (140, 150, 150)]
    assert timeline.free.tolist() == [0, 0]
    assert timeline.waited_on.tolist() == [-1, LD]


def test_latency_hides_behind_the_next_transfer():
    timeline = placed((LD, (), 40, 100, 0, 40), (LD, (), 40, 100, 0, 40))
    assert spans(timeline) == [(0, 40, 140), (40, 80, 180)]


def test_the_channel_serves_one_transfer_at_a_time_in_order_of_asking():
    # ST asks at 10, LD's second load at 40: the store goes first although it stands later in the file.
    timeline = placed(
        (VX, (), 10, 0, 0, 0), (LD, (), 40, 100, 0, 40), (LD, (), 40, 100, 0, 40), (ST, (0,), 8, 100, 0, 8)
    )
    assert spans(timeline)[1:] == [(0, 40, 140), (48, 88, 188), (40, 48, 148)]
    assert (timeline.start - timeline.issue).tolist() == [0, 0, 8, 30]


def test_at_the_same_cycle_the_lower_queue_has_the_channel_first():
    timeline = placed((ST, (), 8, 100, 0, 8), (LD, (), 40, 100, 0, 40))
    assert spans(timeline) == [(40, 48, 148), (0, 40, 140)]


def test_a_transfer_limited_on_chip_leaves_the_channel_to_others():
    timeline = placed((LD, (), 100, 0, 0, 40), (ST, (), 8, 0, 0, 8), (LD, (), 5, 0, 0, 5))
    assert spans(timeline) == [(0, 100, 100), (40, 48, 48), (100, 105, 105)]


def test_fill_is_paid_once_for_back_to_back_products_and_again_after_a_gap():
    timeline = placed((MX, (), 32, 0, 64, 0), (MX, (), 32, 0, 64, 0), (VX, (1,), 10, 0, 0, 0), (MX, (2,), 32, 0, 64, 0))
    assert spans(timeline) == [(64, 96, 96), (96, 128, 128), (128, 138, 138), (202, 234, 234)]


def test_an_instruction_that_does_not_wait_leaves_the_array_running():
    timeline = placed((MX, (), 32, 0, 64, 0), (MX, (), 1, 0, 0, 0), (MX, (), 32, 0, 64, 0))
    assert spans(timeline) == [(64, 96, 96), (96, 97, 97), (97, 129, 129)]


def test_instructions_of_a_queue_retire_in_order():
    timeline = placed((LD, (), 40, 100, 0, 40), (LD, (), 1, 0, 0, 0))
    assert spans(timeline) == [(0, 40, 140), (40, 41, 140)]


def test_an_extent_of_zero_retires_at_once():
    assert spans(placed((VX, (), 0, 0, 0, 0), (MX, (0,), 0, 0, 0, 0))) == [(0, 0, 0), (0, 0, 0)]


def test_the_linear_program_takes_what_the_machine_file_says(linear):
    # Two loads of 2048 B at 16 B/cycle: 128 each, the second retires at 256 + 100. The product: fill 64, then
    # 2 tiles of K x 32 cycles. The pass: 16 + 1024 / 32. The store: 4096 B in 256 cycles, then the latency.
    measurement = Session(linear).measure()
    assert spans(measurement.timeline) == [
        (0, 128, 228), (128, 256, 356), (420, 484, 484), (0, 8, 8), (484, 532, 532), (532, 788, 888),
    ]  # fmt: skip
    engines = {row.engine: row for row in measurement.engines}
    assert (engines["mx"].busy_cycles, engines["mx"].fill_cycles, engines["mx"].dependency_cycles) == (
        64,
        64,
        356,
    )
    stalls = {(row.engine, row.cause, row.on): row.cycles for row in measurement.stall_rows}
    assert stalls["mx", "dependency", "ld"] == 356
    assert stalls["vx", "dependency", "mx"] == 476
    assert stalls["st", "dependency", "vx"] == 532


def test_the_parts_of_an_engines_time_sum_to_the_latency(linear):
    measurement = Session(linear).measure()
    for row in measurement.engines:
        parts = row.busy_cycles + row.fill_cycles + row.dependency_cycles + row.channel_cycles + row.finished_cycles
        assert parts == measurement.cycles


def test_bounds_are_work_at_peak_rates_and_lie_below_the_cycles(linear):
    performance = Session(linear).measure().performance
    assert performance.bound_cycles == {"mx": 64, "vx": 32, "dram": (4096 + 4096) // 16}
    assert performance.bound == "dram"
    assert performance.cycles >= max(performance.bound_cycles.values())
    assert performance.utilization["mx"] == 64 / 888
    assert performance.bound_ratio == 888 / 512


def test_what_is_made_again_is_no_useful_work(linear):
    half = replace(linear, model={"macs": 32 * 32 * 32})
    performance = Session(half).measure().performance
    assert (performance.macs, performance.recomputed_macs) == (32 * 32 * 32, 32 * 32 * 32)
    assert performance.bound_cycles["mx"] == 32
    assert performance.utilization["mx"] == 32 / performance.cycles
    engines = {row.engine: row for row in Session(half).measure().engines}
    assert engines["mx"].utilization == performance.utilization["mx"]


def test_steady_cycles_are_the_period_of_programs_issued_back_to_back(linear):
    # The next inference's first load may overwrite x when the product has read it: 484 to 612. Meanwhile, at
    # 532, the first inference's store asked for the channel: 612 to 868, retired at 968. The second load
    # follows: 868 to 996, there at 1096; the product until 1096 + 128, the pass until 1272, the store retires
    # at 1272 + 356 = 1628.
    assert Session(linear).measure().steady_cycles == 1628 - 968


def test_a_gather_waits_for_the_ids_of_its_own_queue(gather):
    # The ids: one burst (4 cycles), there after 104. The rows: 4 bursts, 16 accesses on chip and one for the
    # ids.
    assert spans(Session(gather).measure().timeline)[:2] == [(0, 4, 104), (104, 121, 221)]


def test_extents_cost_what_they_were_in_the_run(extent):
    session = Session(extent)
    x = np.arange(256).astype(np.int8)
    given = {"x": x, "count": np.array([64], np.int32)}
    few = session.run(given)
    assert few.outputs["y"][:64].tolist() == x[:64].tolist()
    assert few.outputs["y"][64:].tolist() == [0] * 192
    many = session.run({"x": x, "count": np.array([256], np.int32)})
    none = session.run({"x": x, "count": np.array([0], np.int32)}, "timing")
    read = [result.report.performance.dram_read_bytes for result in (none, few, many)]
    assert read == [64, 128, 320]
    assert none.report.performance.cycles < few.report.performance.cycles < many.report.performance.cycles


def test_an_extent_above_its_maximum_faults(extent):
    with pytest.raises(Exception, match=r"instruction 1 .*e5 would be 257, declared 0..256"):
        Session(extent).run({"x": np.zeros(256, np.int8), "count": np.array([257], np.int32)})


def test_energy_is_counted_actions_times_their_figures(linear):
    performance = Session(linear).measure().performance
    edge = linear.machine
    parts = performance.energy_by_part_pj
    assert parts["matrix"] == pytest.approx(32 * 32 * 64 * edge.energy("mac.i8"))
    assert parts["dram"] == pytest.approx(4096 * edge.energy("dram.read") + 4096 * edge.energy("dram.write"))
    assert parts["leakage"] == pytest.approx(888 * edge.energy("leakage"))
    assert parts["fetch"] == pytest.approx(6 * 64 * edge.energy("fetch"))
    assert performance.energy_pj == pytest.approx(sum(parts.values()))


def test_compulsory_traffic_counts_touched_weights_inputs_and_outputs_once(linear, gather):
    assert Session(linear).measure().compulsory_bytes == 2048 + 2048 + 4096
    # Ids 16 B, rows 256 B out; of the table only the rows that this run asks for, each once.
    run = Session(gather).run({"ids": np.array([1, 1, 5, 1])})
    assert run.report.performance.dram_compulsory_bytes == 16 + 256 + 2 * 64
    assert Session(gather).measure().compulsory_bytes == 16 + 256 + 4 * 64


def test_nodes_share_what_they_can_have_asked_for(linear):
    matmul, mul = Session(linear).measure().nodes
    assert (matmul.op, matmul.engine, matmul.mode, matmul.macs) == ("MatMul", "mx", "i8", 65536)
    assert (mul.engine, mul.macs) == ("vx", 0)
    assert mul.cycles == 4 + 48 + 256  # half of the program's 8 cycles, the pass, the store
    assert matmul.cycles == 128 + 128 + 64 + 4
    assert (matmul.dram_bytes, mul.dram_bytes) == (4096, 4096)


def test_an_empty_program_takes_no_time():
    program = assemble('.machine "edge"\n.dram bytes=64\n')
    result = Session(program).run({}, check=True)
    assert result.report.performance.cycles == 0
