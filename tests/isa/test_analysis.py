import numpy as np
import pytest

from attnc.isa.analysis import Analysis
from attnc.isa.blocks import Space
from attnc.isa.errors import Fault
from attnc.isa.fields import extent_register
from attnc.isa.instructions import RECORDS, VectorProgram
from attnc.isa.lanes import LaneProgram
from attnc.isa.table import TableBuilder

COPY = {"element": 2, "dram": 0, "chip": 0, "dram_stride3": 4, "chip_stride3": 4}


def with_register(maximum):
    builder = TableBuilder()
    builder.append("set.extent", 0, {"register": 3, "value": 1, "maximum": 8})
    builder.append("set.extent", 0, {"register": 3, "value": 1, "maximum": maximum})
    builder.append("ld.block", 0, {**COPY, "n3": extent_register(3)})
    builder.append("set.extent", 0, {"register": 3, "value": 1, "maximum": 9999})
    return Analysis(builder.build())


def test_extents_in_registers_count_with_the_declared_maximum(edge):
    analysis = with_register(64)
    assert analysis.costs(edge).dram_read_bytes.tolist() == [0, 0, 256, 0]
    analysis.check(edge, 256)
    with pytest.raises(Fault, match="instruction 2: reads outside the 252 bytes of dram"):
        analysis.check(edge, 252)


def test_registers_are_accessed_like_memory():
    accesses = [a for a in with_register(64).accesses if (np.asarray(a.block.space) == Space.REGISTER).all()]
    found = {(int(row), access.write) for access in accesses for row in access.rows}
    assert found == {(0, True), (1, True), (2, False), (3, True)}
    assert {int(a) for access in accesses for a in np.atleast_1d(access.block.address)} == {12}


def test_a_value_above_its_maximum_is_refused(edge):
    builder = TableBuilder()
    builder.append("set.extent", 0, {"register": 0, "value": 9, "maximum": 8})
    with pytest.raises(Fault, match="above its declared maximum"):
        Analysis(builder.build()).check(edge, 0)


def test_passes_count_with_the_program_of_their_slot(edge):
    builder = TableBuilder()
    texts = ["r0 = add(a, 1.0); out r0", "r0 = mul(a, 2.0); r1 = exp(r0); r2 = add(r1, 1.0); out r2"]
    one_pass = {
        "slot": 1,
        "rows": 2,
        "columns": 8,
        "a_format": 0,
        "a_stride": 32,
        "out": 64,
        "out_stride": 32,
        "out_format": 0,
    }
    for text in texts:
        builder.append("vx.program", 3, VectorProgram.encoded(1, LaneProgram.parse(text)))
        builder.append("vx.pass", 3, one_pass)
    analysis = Analysis(builder.build())
    events = analysis.costs(edge).events
    assert events["vector.operation"].tolist() == [0, 16, 0, 32]
    assert events["vector.transcendental"].tolist() == [0, 0, 0, 16]
    analysis.check(edge, 0)


def test_a_pass_that_does_not_fit_its_program_is_refused(edge):
    builder = TableBuilder()
    builder.append("vx.program", 3, VectorProgram.encoded(1, LaneProgram.parse("r0 = and(a, b); out r0")))
    one_pass = {
        "slot": 1,
        "rows": 2,
        "columns": 8,
        "a_format": 0,
        "b_format": 0,
        "a_stride": 32,
        "b_stride": 32,
    }
    builder.append("vx.pass", 3, {**one_pass, "out": 64, "out_stride": 32, "out_format": 0})
    with pytest.raises(Fault, match=r"instruction 1: vx\.pass: and has no form"):
        Analysis(builder.build()).check(edge, 0)


@pytest.mark.parametrize("mnemonic", sorted(set(RECORDS) - {"vx.program"}))
def test_columns_and_numbers_cost_the_same(mnemonic, edge):
    """Costs, reads and writes of many rows at once are those of each row alone."""
    record = RECORDS[mnemonic]
    rng = np.random.default_rng(3)
    columns = {}
    for item in (*record.fields, *record.derived_fields):
        if item.name.endswith("format"):
            values = rng.choice([0, 1, 3, 4, 15], 50)
        elif item.name == "mode":
            values = rng.integers(0, 4, 50)
        elif item.kind.bits <= 5:
            values = rng.integers(0, 1 << min(item.kind.bits, 1), 50)
        else:
            values = rng.integers(0, 300, 50)
            if item.kind.label == "on-chip address":
                values = values | (rng.integers(0, 2, 50) << 31)
        columns[item.name] = values.astype(np.int64)
    whole = record(**columns)
    cost = whole.cost(edge)
    for row in range(50):
        alone = record(**{name: int(column[row]) for name, column in columns.items()})
        single = alone.cost(edge)
        for name in ("busy", "latency", "fill", "dram_read_bytes", "dram_write_bytes", "channel_cycles"):
            assert np.broadcast_to(getattr(cost, name), (50,))[row] == getattr(single, name), name
        for action, count in cost.events.items():
            assert np.broadcast_to(count, (50,))[row] == single.events[action], action
        for many, one in zip((*whole.reads(), *whole.writes()), (*alone.reads(), *alone.writes()), strict=True):
            assert many.at(row) == one.at(0)
