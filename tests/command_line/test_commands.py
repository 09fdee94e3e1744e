"""What every command does when all is well."""

import json
import shlex
from argparse import ArgumentParser
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from attnc.compiler.command_line.main import COMMANDS, main

from .conftest import SHAPE, listing


def test_compile_writes_a_program_and_says_so(attnc, folder: Path) -> None:
    found = attnc("compile", "model.onnx", "-o", "new.attn", *SHAPE)
    assert found.status == 0
    assert found.out.startswith("new.attn: program for edge: ")
    assert (folder / "new.attn").read_bytes() == (folder / "model.attn").read_bytes()


def test_compile_for_another_machine_and_precision(attnc, folder: Path) -> None:
    words = ("--machine", "tiny", "--precision", "int8", "--calibrate", "samples.npz")
    assert attnc("compile", "model.onnx", "-o", "new.attn", *SHAPE, *words).status == 0
    described = json.loads(attnc("inspect", "new.attn", "--json").out)
    assert described["machine"]["name"] == "tiny"
    assert described["recipe"] == {"precision": "int8"}


def test_compile_without_an_output_writes_nothing(attnc, folder: Path) -> None:
    before = listing(folder)
    found = attnc("compile", "model.onnx", *SHAPE)
    assert found.status == 0
    assert "nothing written" in found.out
    assert listing(folder) == before


def test_stop_after_prints_ir_or_writes_it(attnc, folder: Path) -> None:
    printed = attnc("compile", "model.onnx", "--stop-after", "graph", *SHAPE)
    assert printed.out.startswith("builtin.module")
    assert "sattn.attention" in printed.out
    written = attnc("compile", "model.onnx", "--stop-after", "graph", "-o", "graph.mlir", *SHAPE)
    assert written.out == ""
    assert (folder / "graph.mlir").read_text() == printed.out


def test_dump_and_start_from(attnc, folder: Path) -> None:
    assert attnc("compile", "model.onnx", "--dump-ir", "phases", *SHAPE).status == 0
    assert (folder / "phases" / "04-tile.mlir").is_file()
    assert attnc("compile", "phases", "-o", "again.attn", "--start-from", "tile").status == 0
    assert (folder / "again.attn").read_bytes() == (folder / "model.attn").read_bytes()


def test_time_passes_goes_to_stderr(attnc, folder: Path) -> None:
    found = attnc("compile", "model.onnx", "--stop-after", "graph", "--time-passes", "-o", "g.mlir", *SHAPE)
    assert found.out == ""
    assert " s  graph/recognize-attention" in found.err


def test_run_answers_and_summarizes(attnc, folder: Path) -> None:
    found = attnc("run", "model.attn", "--input", "inputs.npz")
    assert found.status == 0
    assert found.out.startswith("y: float32 1x6x16 [")
    for words in ("latency, cold", "steady", "energy", "bound that holds", "DRAM moved"):
        assert words in found.out
    assert found.err == ""


def test_run_writes_outputs_report_and_instructions(attnc, folder: Path) -> None:
    words = ("--output", "out.npz", "--json", "report.json", "--instructions", "rows.csv", "--check")
    assert attnc("run", "model.attn", "--input", "inputs.npz", *words).status == 0
    assert np.load(folder / "out.npz")["y"].shape == (1, 6, 16)
    report = json.loads((folder / "report.json").read_text())
    assert report["summary"]["inferences"] == 1
    rows = (folder / "rows.csv").read_text().splitlines()
    assert len(rows) == 1 + json.loads(attnc("inspect", "model.attn", "--json").out)["instructions"]


def test_json_to_stdout_is_json_alone(attnc, folder: Path) -> None:
    found = attnc("run", "model.attn", "--random", "0", "--json", "-", "--output", "out.npz")
    assert json.loads(found.out)["schema_version"] == 1
    assert found.err == ""
    assert (folder / "out.npz").is_file()
    for words in (("check", "model.onnx", *SHAPE), ("compare", "model.onnx", *SHAPE), ("inspect", "model.attn")):
        found = attnc(*words, "--json")
        assert json.loads(found.out)
        assert found.err == ""


def test_inputs_bound_to_constants_are_inputs_no_more(attnc, folder: Path) -> None:
    data = dict(np.load("inputs.npz"))
    name, *rest = data
    np.savez("bound.npz", **{name: data[name]})
    assert attnc("check", "model.onnx", *SHAPE, "--constants", "bound.npz").status == 0
    assert attnc("compile", "model.onnx", *SHAPE, "--constants", "bound.npz", "-o", "bound.attn").status == 0
    assert [item["name"] for item in json.loads(attnc("inspect", "bound.attn", "--json").out)["inputs"]] == rest
    np.savez("other.npz", nobody=data[name])
    assert attnc("check", "model.onnx", *SHAPE, "--constants", "other.npz").status == 2


def test_random_inputs_are_the_same_for_a_seed(attnc, folder: Path) -> None:
    for name in ("a.npz", "b.npz"):
        assert attnc("run", "model.attn", "--random", "7", "--output", name).status == 0
    np.testing.assert_array_equal(np.load(folder / "a.npz")["y"], np.load(folder / "b.npz")["y"])


def test_values_and_timing_alone(attnc, folder: Path) -> None:
    values = attnc("run", "model.attn", "--input", "inputs.npz", "--mode", "values")
    assert values.out.startswith("y: ")
    assert "latency" not in values.out
    timing = attnc("run", "model.attn", "--mode", "timing")
    assert "latency" in timing.out
    assert "y: float32" not in timing.out


def test_log_prints_the_instructions_asked_for(attnc, folder: Path) -> None:
    found = attnc("run", "model.attn", "--random", "0", "--log", "--until", "3")
    lines = found.out.split("y: float32")[0].splitlines()
    assert len(lines) == 3
    assert all(line.split()[0].isdigit() for line in lines)


def test_what_if_on_a_machine_of_other_rates(attnc, folder: Path) -> None:
    (folder / "fast.toml").write_text('extends = "edge"\nname = "fast"\n[dram]\nlatency_cycles = 1\n')
    assert " on fast: " in attnc("run", "model.attn", "--mode", "timing", "--machine", "fast.toml").out
    refused = attnc("run", "model.attn", "--mode", "timing", "--machine", "tiny")
    assert refused.status == 2
    assert "cannot run a program for edge" in refused.err


def test_check_lists_products_by_path(attnc, folder: Path) -> None:
    found = attnc("check", "model.onnx", *SHAPE)
    assert found.status == 0
    assert "encoder.0.ffn.up" in found.out


def test_compare_prints_a_line_a_phase(attnc, folder: Path) -> None:
    found = attnc("compare", "model.onnx", "--input", "inputs.npz")
    assert found.status == 0
    assert [line.split()[0] for line in found.out.splitlines()[1:6]] == [
        "graph",
        "precision",
        "attention",
        "tile",
        "simulator",
    ]
    assert "every value that was compared agrees" in found.out


def test_compare_names_the_first_that_differs(attnc, folder: Path) -> None:
    found = attnc("compare", "model.onnx", "--input", "inputs.npz", "--precision", "int8", "--atol", "1e-6")
    assert found.status == 1
    assert "first that differs: " in found.out
    assert " in precision" in found.out
    for words in ("nodes", "max abs error", "cosine", "outside"):
        assert f"  {words} " in found.out


def test_assembly_round_trip(attnc, folder: Path) -> None:
    assert attnc("disasm", "model.attn", "-o", "model.asm").status == 0
    assert attnc("disasm", "model.attn").out == (folder / "model.asm").read_text()
    assert attnc("asm", "model.asm", "-o", "again.attn").status == 0
    assert (folder / "again.attn").read_bytes() == (folder / "model.attn").read_bytes()


def test_inspect_and_machines(attnc, folder: Path) -> None:
    found = attnc("inspect", "model.attn")
    for words in ("program for edge", "inputs", "outputs", "instructions", "memory", "nodes"):
        assert words in found.out
    listed = attnc("machines").out
    assert {"bat", "edge", "server", "tiny"} <= {line.split()[0] for line in listed.splitlines()}
    assert json.loads(attnc("machines", "edge").out)["name"] == "edge"


def test_evaluate_tells_accuracy_cycles_and_energy(attnc, folder: Path) -> None:
    samples = dict(np.load("samples.npz"))
    assert attnc("run", "model.attn", "--input", "samples.npz", "--output", "out.npz").status == 0
    labels = np.load("out.npz")["y"].argmax(-1)
    labels[0, 0] += 1
    np.savez("labelled.npz", **samples, positions=labels)
    found = attnc("evaluate", "model.attn", "--data", "labelled.npz", "--quiet")
    assert found.status == 0
    accuracy, latency, energy = found.out.splitlines()
    assert accuracy == f"accuracy  {labels.size - 1} of {labels.size}  {1 - 1 / labels.size:.2%}"
    assert latency.endswith(" cycles, cold")
    assert energy.endswith(" uJ")
    written = json.loads(attnc("evaluate", "model.attn", "--data", "labelled.npz", "--json", "-", "--quiet").out)
    assert written["correct"] == labels.size - 1
    assert written["run"]["summary"]["cycles"] > 0


def test_nan_in_inputs_is_one_warning(attnc, folder: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], "relu")], "nan", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), "nan.onnx")
    np.savez("nan.npz", x=np.float32([1, np.nan, -1, np.nan]))
    assert attnc("compile", "nan.onnx", "-o", "nan.attn").status == 0
    found = attnc("run", "nan.attn", "--input", "nan.npz")
    assert found.status == 0
    assert found.err.startswith("warning: inputs hold NaN values: 2 in 'x'")
    assert found.err.count("\n") == 1
    assert attnc("run", "nan.attn", "--input", "nan.npz", "--quiet").err == ""
    strict = attnc("run", "nan.attn", "--input", "nan.npz", "--strict")
    assert strict.status == 2
    assert "hold NaN values" in strict.err


# Help


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_of_the_help_parse(name: str) -> None:
    module = import_module(f"attnc.compiler.command_line.{name.replace('-', '_')}")
    parser = ArgumentParser(prog=f"attnc {name}", exit_on_error=False)
    module.add_arguments(parser)
    # What follows an empty line is no example.
    heading, *examples = (parser.epilog or "").partition("\n\n")[0].splitlines()
    assert heading == "examples:"
    assert examples
    for example in examples:
        program, command, *words = shlex.split(example)
        assert program == "attnc"
        if command == name:
            parser.parse_args(words)
        else:
            assert command in COMMANDS


def test_version_is_that_of_the_distribution(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: f"1.2.3 of {name}")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "attnc 1.2.3 of attnc\n"


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_ends_well(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    captured = capsys.readouterr()
    assert captured.out
    assert captured.err == ""
