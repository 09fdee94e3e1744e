"""A measured run as a Perfetto trace: engines as tracks, instructions as slices, DRAM and memories as counters.

It opens in ui.perfetto.dev. Time is in cycles: one nanosecond of the trace is one cycle of the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..isa.files import write_beside
from .courses import courses
from .measure import Measurement

if TYPE_CHECKING:
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TrackEvent

MACHINE, ENGINES, COUNTERS = 1, 100, 200
"""Identifiers of tracks: the machine, its engines from there on, the counters from there on."""

SEQUENCE = 1


def write_trace(measurement: Measurement, path: str | Path) -> None:
    """Write the trace of one inference to a file, whole or not at all."""
    write_beside(Path(path), trace_bytes(measurement))


def trace_bytes(measurement: Measurement) -> bytes:
    """The serialized trace.

    A slice has the instruction's mnemonic, and notes: its row, text and ONNX nodes, DRAM bytes, useful
    multiply-accumulates, energy in pJ, and for how long and on what its engine waited for it.
    """
    from perfetto.trace_builder.proto_builder import TraceProtoBuilder

    builder = TraceProtoBuilder()
    _describe(builder, measurement)
    for time, event in sorted((*_slices(measurement), *_counters(measurement)), key=lambda item: item[0]):
        packet = builder.add_packet()
        packet.timestamp = time
        packet.trusted_packet_sequence_id = SEQUENCE
        packet.track_event.CopyFrom(event)
    return builder.serialize()


def _describe(builder: Any, measurement: Measurement) -> None:
    """Name the tracks."""
    machine = measurement.machine

    def track(uuid: int, name: str, unit: str | None = None) -> None:
        descriptor = builder.add_packet().track_descriptor
        descriptor.uuid, descriptor.name = uuid, name
        if uuid != MACHINE:
            descriptor.parent_uuid = MACHINE
        if unit is not None:
            descriptor.counter.unit_name = unit

    track(MACHINE, f"{machine.name} (1 ns is 1 cycle)")
    for queue in machine.queues:
        track(ENGINES + queue.index, queue.name)
    for number, course in enumerate(courses(measurement)):
        track(COUNTERS + number, course.name, course.unit)


def _slices(measurement: Measurement) -> Iterator[tuple[int, TrackEvent]]:
    """The begin and the end of every instruction that takes time, with its notes."""
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TrackEvent

    table, timeline, costs = measurement.program.table, measurement.timeline, measurement.costs
    names = [queue.name for queue in measurement.machine.queues]
    columns: list[list[int]] = [
        column.tolist()
        for column in (
            table.queue,
            timeline.free,
            timeline.issue,
            timeline.start,
            timeline.end,
            timeline.waited_on,
            costs.dram_read + costs.dram_write,
            costs.macs,
        )
    ]
    energy: list[float] = measurement.row_energy_pj.tolist()
    for row, (queue, free, issue, start, end, waited_on, moved, macs) in enumerate(zip(*columns, strict=True)):
        if end == start:
            continue
        begin = TrackEvent(
            type=TrackEvent.TYPE_SLICE_BEGIN, track_uuid=ENGINES + queue, name=table.record(row).mnemonic
        )
        notes: dict[str, int | float | str] = {
            "row": row,
            "text": measurement.facts.text(row),
            "nodes": ", ".join(measurement.program.row_nodes(row)),
            "dram_bytes": moved,
            "macs": macs,
            "energy_pj": energy[row],
            "waited_cycles": issue - free,
            "waited_on": names[waited_on] if issue > free and waited_on >= 0 else "",
            "channel_or_fill_cycles": start - issue,
        }
        for name, value in notes.items():
            if not value and name != "row":
                continue
            note = begin.debug_annotations.add()
            note.name = name
            if isinstance(value, str):
                note.string_value = value
            elif isinstance(value, float):
                note.double_value = value
            else:
                note.int_value = value
        yield start, begin
        yield end, TrackEvent(type=TrackEvent.TYPE_SLICE_END, track_uuid=ENGINES + queue)


def _counters(measurement: Measurement) -> Iterator[tuple[int, TrackEvent]]:
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TrackEvent

    for number, course in enumerate(courses(measurement)):
        for time, value in zip(course.times.tolist(), course.values.tolist(), strict=True):
            counter = TrackEvent(type=TrackEvent.TYPE_COUNTER, track_uuid=COUNTERS + number)
            counter.double_counter_value = value
            yield time, counter
