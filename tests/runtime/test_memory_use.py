"""The memories on chip over time, against a count of every cycle."""

import json
from dataclasses import replace

import numpy as np
import pytest

from attnc.isa.blocks import Space
from attnc.isa.occupancy import ChipBuffer, Occupancy
from attnc.runtime.session import Session
from attnc.runtime.summary import summary_text

BUFFERS = (
    ChipBuffer("x", Space.SRAM, 2048, resident=False),
    ChipBuffer("w", Space.SRAM, 2048, resident=True),
    ChipBuffer("y", Space.SRAM, 4096, resident=False),
    ChipBuffer("sums", Space.ACC, 4096, resident=False),
)


@pytest.fixture
def mapped(linear):
    """The linear program and where its buffers lie: x and w until the product, sums until the pass, y to the end."""
    address, first, last = (np.array(column) for column in ([0, 2048, 8192, 0], [0, 1, 4, 2], [2, 2, 5, 4]))
    return replace(linear, occupancy=Occupancy(BUFFERS, np.arange(4), address, first, last))


def test_memory_use_is_what_a_count_of_every_cycle_gives(mapped):
    # y takes over half of w while the pass still runs.
    stays = replace(mapped.occupancy, address=np.array([0, 2048, 3072, 0]), last=np.array([2, 4, 5, 4]))
    measurement = Session(replace(mapped, occupancy=stays)).measure()
    times = measurement.timeline
    for row, space in zip(measurement.memories, (Space.SRAM, Space.ACC), strict=True):
        taken = np.zeros((row.bytes // 1024, measurement.cycles), dtype=bool)
        for number in stays.within(space).tolist():
            low, high = stays.address[number], stays.address[number] + stays.bytes[number]
            span = slice(times.start[stays.first[number]], times.retire[stays.last[number]])
            taken[low // 1024 : high // 1024, span] = True
        used = 1024 * taken.sum(axis=0)
        assert (row.peak_bytes, row.peak_cycle) == (used.max(), used.argmax())
        assert row.mean_bytes == pytest.approx(used.mean())
        assert sum(row.interval_mean_bytes) * row.interval_cycles == pytest.approx(used.sum())
        assert sum(item.bytes for item in row.occupants) >= row.peak_bytes


def test_the_peak_names_its_buffers_and_its_holes(mapped):
    sram, acc = Session(mapped).measure().memories
    assert [(item.name, item.address) for item in sram.occupants] == [("x", 0), ("w", 2048)]
    assert (sram.peak_bytes, sram.fragmentation) == (4096, 0)
    assert [item.name for item in acc.occupants] == ["sums"]
    holed = replace(mapped, occupancy=replace(mapped.occupancy, address=np.array([0, 4096, 8192, 0])))
    assert Session(holed).measure().memories[0].fragmentation == 2048 / sram.bytes


def test_the_report_has_the_memories(mapped, linear, x):
    report = Session(mapped).run({"x": x}).report
    assert "x 2,048, w 2,048" in summary_text(report)
    content = json.loads(json.dumps(report.to_dict()))
    assert [row["memory"] for row in content["memories"]] == ["sram", "acc"]
    assert Session(linear).run({"x": x}).report.memories == ()
