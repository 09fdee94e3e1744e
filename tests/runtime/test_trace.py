"""The Perfetto trace, read back."""

import itertools

import pytest
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

from attnc.runtime.session import Session
from attnc.runtime.trace import trace_bytes


@pytest.fixture
def measurement(linear):
    return Session(linear).run(mode="timing").measurement


@pytest.fixture
def trace(measurement):
    return Trace.FromString(trace_bytes(measurement))


def tracks(trace):
    described = [packet.track_descriptor for packet in trace.packet if packet.HasField("track_descriptor")]
    return {item.uuid: item for item in described}


def events(trace, kind):
    found = [packet for packet in trace.packet if packet.HasField("track_event") and packet.track_event.type == kind]
    return [(packet.timestamp, packet.track_event) for packet in found]


def test_every_instruction_is_a_slice_of_its_engine_at_its_time(trace, measurement):
    named = tracks(trace)
    slices = [
        (named[event.track_uuid].name, event.name, time) for time, event in events(trace, TrackEvent.TYPE_SLICE_BEGIN)
    ]
    table = measurement.program.table
    queues = [queue.name for queue in measurement.machine.queues]
    starts = measurement.timeline.start.tolist()
    wanted = [(queues[table.queue[row]], table.record(row).mnemonic, starts[row]) for row in range(len(table))]
    assert sorted(slices) == sorted(wanted)
    ends = [time for time, _ in events(trace, TrackEvent.TYPE_SLICE_END)]
    assert sorted(ends) == sorted(measurement.timeline.end.tolist())


def test_slices_tell_nodes_bytes_and_what_was_waited_for(trace):
    notes = {}
    for _, event in events(trace, TrackEvent.TYPE_SLICE_BEGIN):
        notes[event.name] = {item.name: item for item in event.debug_annotations}
    product = notes["mx.product"]
    assert product["nodes"].string_value == "n0, n1"
    assert product["macs"].int_value == 32 * 32 * 64
    assert product["waited_on"].string_value == "ld"
    assert product["waited_cycles"].int_value > 0
    assert notes["st.block"]["dram_bytes"].int_value == 4096
    assert notes["vx.pass"]["text"].string_value.startswith("vx.pass slot=0, rows=32")


def test_counters_give_bandwidth_and_memory_in_use(trace, measurement):
    named = tracks(trace)
    courses = {}
    for time, event in events(trace, TrackEvent.TYPE_COUNTER):
        courses.setdefault(named[event.track_uuid].name, []).append((time, event.double_counter_value))
    bandwidth = courses["DRAM bandwidth"]
    assert max(value for _, value in bandwidth) <= measurement.machine.dram.bytes_per_cycle
    moved = sum(value * (later - time) for (time, value), (later, _) in itertools.pairwise(bandwidth))
    assert moved == pytest.approx(4096 + 4096)
    assert {track.counter.unit_name for track in named.values() if track.HasField("counter")} == {"B/cycle", "B"}


def test_times_do_not_decrease(trace):
    times = [packet.timestamp for packet in trace.packet if packet.HasField("track_event")]
    assert times == sorted(times)
