"""Stepping through a program, its log and its table of instructions."""

import csv

import numpy as np
import pytest

from attnc.isa.blocks import Space
from attnc.isa.errors import UsageError
from attnc.isa.formats import Format
from attnc.runtime.instruction_log import log_lines, write_instructions
from attnc.runtime.session import Session
from attnc.runtime.stepper import Stepper


def test_step_performs_one_instruction_and_shows_memory(linear, x):
    stepper = Stepper(Session(linear), {"x": x})
    step = stepper.step()
    assert (step.row, step.engine, step.start, step.end, step.nodes) == (0, "ld", 0, 128, ("n0",))
    np.testing.assert_array_equal(stepper.read(Space.SRAM, 0, (32, 64), Format.I8), x)
    assert len(list(stepper.run())) == 5
    assert stepper.finished
    assert stepper.step() is None
    expected = Session(linear).run({"x": x}).outputs["y"]
    np.testing.assert_array_equal(stepper.read_named("y"), expected)


def test_run_stops_before_row_until(linear, x):
    stepper = Stepper(Session(linear), {"x": x})
    assert [step.row for step in stepper.run(until=3)] == [0, 1, 2]
    assert [step.row for step in stepper.run(until=4)] == [3]


def test_a_breakpoint_stops_where_its_node_begins(linear, x):
    stepper = Stepper(Session(linear), {"x": x})
    stepper.break_at("n1")
    assert [step.row for step in stepper.run()] == [0, 1]
    assert [step.row for step in stepper.run()] == [2, 3, 4, 5]
    with pytest.raises(UsageError, match="'n7'"):
        stepper.break_at("n7")


def test_memory_outside_is_an_error(linear, x):
    stepper = Stepper(Session(linear), {"x": x})
    with pytest.raises(UsageError, match="outside"):
        stepper.read(Space.ACC, 65530, (4,), Format.I32)
    with pytest.raises(UsageError, match="nothing in the memory map"):
        stepper.read_named("scores")


def test_a_log_line_has_cycle_engine_text_and_nodes(linear):
    lines = list(log_lines(Session(linear).measure(), until=3))
    assert len(lines) == 3
    assert lines[2].split()[:3] == ["420", "mx", "mx.product"]
    assert lines[2].endswith("; n0, n1")


def test_the_instruction_table_lets_anyone_recompute_the_bounds(linear, tmp_path):
    measurement = Session(linear).measure()
    write_instructions(measurement, tmp_path / "i.csv")
    with (tmp_path / "i.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6
    product = rows[2]
    assert int(product["m"]) * int(product["n"]) * int(product["k"]) == int(product["macs"]) == 65536
    assert (product["mode"], product["waits"], product["start_cycle"], product["end_cycle"]) == (
        "i8", "ld:2", "420", "484",
    )  # fmt: skip
    moved = sum(int(row["dram_read_bytes"]) + int(row["dram_write_bytes"]) for row in rows)
    assert moved == 4096 + 4096
    assert rows[0]["mode"] == ""


def test_a_stepper_knows_extents_that_depend_on_data(extent):
    stepper = Stepper(Session(extent), {"x": np.zeros(256, np.int8), "count": np.array([64], np.int32)})
    steps = list(stepper.run())
    assert steps[2].end - steps[2].start == 4
