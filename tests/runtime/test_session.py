"""Sessions: inputs and outputs, batches, modes, other machines."""

import json
from dataclasses import replace

import numpy as np
import pytest

from attnc.isa.errors import Fault, InputError, UsageError
from attnc.isa.machine import load_machine
from attnc.runtime.session import Session, load
from attnc.runtime.summary import summary_text

from .conftest import WEIGHT


def product(x):
    return 0.5 * (x.astype(np.int32) @ WEIGHT.astype(np.int32)).astype(np.float32)


def test_run_gives_the_outputs_by_name_and_a_report(linear, x):
    result = Session(linear).run({"x": x})
    assert list(result.outputs) == ["y"]
    np.testing.assert_array_equal(result.outputs["y"], product(x))
    assert result.outputs["y"].dtype == np.float32
    assert result.report.summary.inferences == 1
    assert result.report.performance.macs == 32 * 32 * 64


def test_a_saved_program_loads_and_runs_the_same(linear, x, tmp_path):
    linear.save(tmp_path / "p.attn")
    result = load(tmp_path / "p.attn").run({"x": x})
    np.testing.assert_array_equal(result.outputs["y"], product(x))
    assert result.report.summary.program == "p.attn"


def test_values_alone_has_no_figures_and_timing_alone_needs_no_inputs(linear, x):
    session = Session(linear)
    values = session.run({"x": x}, "values")
    assert values.report.summary.performance is None
    assert values.measurement is None
    timing = session.run(mode="timing")
    assert timing.outputs == {}
    assert timing.report.performance.cycles == session.run({"x": x}).report.performance.cycles
    assert session._executor is not None
    assert Session(linear).run(mode="timing").report.performance.cycles == timing.report.performance.cycles


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "'x' missing; the program takes 'x' int8 32x64"),
        ({"x": np.zeros((32, 64), np.int8), "z": np.zeros(1)}, "'z' unknown"),
        ({"x": np.zeros((32, 64), np.float32)}, "is float32, the model takes int8"),
        ({"x": np.zeros((64, 32), np.int8)}, "has shape 64x32, the program takes 32x64"),
        ({"x": np.zeros((64, 64), np.int8)}, "cannot be repeated over the first axis"),
    ],
)
def test_inputs_that_do_not_fit_are_one_clear_error(linear, inputs, message):
    with pytest.raises(InputError, match=message):
        Session(linear).run(inputs)


def test_no_inputs_where_values_are_wanted_is_an_error(linear):
    with pytest.raises(InputError, match="none given"):
        Session(linear).run()


def test_a_longer_first_axis_repeats_a_batchable_program(linear, x):
    seen = []

    def progress(repetitions):
        for index in repetitions:
            seen.append(index)
            yield index

    many = np.concatenate([x, x[::-1], -x])
    result = Session(replace(linear, batchable=True)).run({"x": many}, progress=progress)
    np.testing.assert_array_equal(result.outputs["y"], product(many))
    assert seen == [0, 1, 2]
    assert result.report.summary.inferences == 3
    assert result.report.performance.cycles == Session(linear).run({"x": x}).report.performance.cycles


def test_a_first_axis_that_is_no_multiple_is_an_error(linear):
    with pytest.raises(InputError, match="48 is no multiple of 32"):
        Session(replace(linear, batchable=True)).run({"x": np.zeros((48, 64), np.int8)})


def test_int64_inputs_travel_as_int32_and_fault_outside(gather):
    session = Session(gather)
    ids = np.array([7, 0, 3, 3])
    expected = np.arange(512).astype(np.int8).reshape(8, 64)[ids]
    np.testing.assert_array_equal(session.run({"ids": ids}).outputs["rows"], expected)
    with pytest.raises(Fault, match=r"'ids' at \[2\] is 5000000000, valid is 0 to 7"):
        session.run({"ids": np.array([0, 1, 5_000_000_000, 2])})
    anything = replace(gather, inputs=(replace(gather.inputs[0], low=None, high=None),))
    with pytest.raises(Fault, match="valid is -2147483648 to 2147483647"):
        Session(anything).run({"ids": np.array([0, 1, -5_000_000_000, 2])})


def test_an_id_out_of_range_faults_with_the_instruction(gather):
    anything = replace(gather, inputs=(replace(gather.inputs[0], low=None, high=None),))
    with pytest.raises(Fault, match=r"instruction 1 `ld.gather .*id 8 at place 1 is outside 0..7"):
        Session(anything).run({"ids": np.array([0, 8, 1, 1])})


def test_nan_inputs_warn_once_with_a_count_and_strict_refuses(linear):
    floats = replace(linear.inputs[0], element_type="float", format=linear.outputs[0].format, shape=(2, 4))
    session = Session(replace(linear, inputs=(floats,)))
    given = np.full((2, 4), 1.0, np.float32)
    given[0, 1] = given[1, 1] = np.nan
    with pytest.warns(RuntimeWarning, match="2 in 'x'") as caught:
        result = session.run({"x": given})
    assert len(caught) == 1
    assert result.report.summary.nan_inputs == 2
    with pytest.raises(InputError, match="2 in 'x'"):
        session.run({"x": given}, strict=True)


def test_random_inputs_keep_to_the_valid_ranges_and_to_the_seed(gather, linear):
    session = Session(gather)
    ids = session.random_inputs(3)["ids"]
    assert ids.dtype == np.int64
    assert ((ids >= 0) & (ids <= 7)).all()
    np.testing.assert_array_equal(ids, session.random_inputs(3)["ids"])
    mask = replace(gather.inputs[0], shape=(5, 9), binary=True)
    made = Session(replace(gather, inputs=(mask,))).random_inputs(0)["ids"]
    assert (made[:, 0] == 1).all()
    assert (np.diff(made, axis=1) <= 0).all()


def test_another_machine_of_the_same_sizes_answers_what_if(linear, x):
    own = linear.machine
    slower = replace(own, name="half", dram=replace(own.dram, bytes_per_cycle=8))
    fast, slow = (Session(linear, machine).run({"x": x}) for machine in (None, slower))
    np.testing.assert_array_equal(slow.outputs["y"], fast.outputs["y"])
    assert slow.report.performance.cycles == fast.report.performance.cycles + 128 + 128 + 256
    assert slow.report.summary.machine == "half"


def test_a_machine_of_other_sizes_is_refused(linear):
    with pytest.raises(UsageError, match=r"sram.bytes is \d+, not 262144"):
        Session(linear, load_machine("tiny"))


def test_the_report_is_json_with_units_and_a_version(linear, x):
    result = Session(linear).run({"x": x}, check=True)
    content = json.loads(json.dumps(result.to_dict()))
    assert content["schema_version"] == 1
    assert {
        "inferences", "cycles", "seconds", "energy_pj", "dram_read_bytes", "dram_write_bytes",
        "dram_compulsory_bytes", "instruction_bytes", "utilization", "bound_cycles", "wall_seconds",
    } <= set(content["summary"])  # fmt: skip
    assert set(content["summary"]["wall_seconds"]) == {"checks", "values", "timing", "report"}
    assert list(content["nodes"][0]) == [
        "node", "op", "path", "form", "engine", "mode", "tile", "products", "macs", "cycles", "critical_cycles",
        "stall_cycles", "dependency_cycles", "channel_cycles", "fill_cycles", "dram_bytes", "energy_pj",
    ]  # fmt: skip
    assert [engine["engine"] for engine in content["engines"]] == ["ld", "st", "mx", "vx"]
    assert content["stalls"]
    assert content["unlowered"] == []


def test_the_summary_names_latency_bound_engines_and_nodes(linear, x):
    text = summary_text(Session(linear).run({"x": x}).report)
    for part in (
        "latency, cold",
        "steady",
        "TOPS/W",
        "bound that holds",
        "compulsory",
        "mx",
        "n0",
        "leakage",
    ):
        assert part in text
