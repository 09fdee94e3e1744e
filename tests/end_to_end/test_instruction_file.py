"""Bounds recomputed from `--instructions` alone: reported cycles never lie below them."""

import csv
import math
import runpy
from collections import defaultdict
from pathlib import Path

import onnx
import pytest

import attnc
from attnc.compiler.command_line.main import main
from attnc.isa.machine import load_machine

RATES = {"f32": 1 / 8, "f16": 1 / 2, "bf16": 1 / 2, "i8": 1}


ROOT = Path(__file__).parents[2]

SMALL_ENCODERS = {
    "post-norm": {"layers": 2, "width": 64, "heads": 2, "tokens": 48, "hidden": 256},
    "pre-norm": {"layers": 2, "width": 96, "heads": 3, "tokens": 37, "hidden": 192, "pre_norm": True},
}


def small_encoder(name: str) -> onnx.ModelProto:
    """An encoder of the benchmarks, at a size for tests."""
    made = runpy.run_path(str(ROOT / "benchmarks" / "encoders.py"))
    return made["build"](made["Encoder"](**SMALL_ENCODERS[name]))


@pytest.fixture(
    scope="module",
    params=[(name, precision) for name in ("digits", *SMALL_ENCODERS) for precision in ("model", "int8")],
    ids="-".join,
)
def rows(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """Every instruction of the digits Transformer, or of a small encoder, as the file has it."""
    folder = tmp_path_factory.mktemp("instructions")
    name, precision = request.param
    model = ROOT / "examples" / "digits_vit" / "model.onnx"
    if name in SMALL_ENCODERS:
        model = folder / "model.onnx"
        onnx.save(small_encoder(name), model)
    attnc.compile(model, precision=precision).save(folder / "p.attn")
    written = str(folder / "all.csv")
    assert main(["run", str(folder / "p.attn"), "--mode", "timing", "--instructions", written, "--quiet"]) == 0
    with Path(written).open() as file:
        return list(csv.DictReader(file))


def last_end(rows: list[dict[str, str]]) -> int:
    return max(int(row["end_cycle"]) for row in rows)


def test_array_time_is_a_lower_bound(rows: list[dict[str, str]]) -> None:
    machine = load_machine("edge").matrix
    cycles = 0
    for row in rows:
        if row["mnemonic"] == "mx.product":
            m, n, k = (int(row[name]) for name in ("m", "n", "k"))
            depth = machine.rows * RATES[row["mode"]]
            cycles += math.ceil(k / depth) * math.ceil(n / machine.columns) * max(m, machine.rows)
    assert 0 < cycles <= last_end(rows)


def test_vector_time_is_a_lower_bound(rows: list[dict[str, str]]) -> None:
    machine = load_machine("edge").vector
    passes = [row for row in rows if row["mnemonic"] == "vx.pass"]
    cycles = sum(
        machine.start_cycles + math.ceil(int(row["rows"]) * int(row["columns"]) / machine.lanes) for row in passes
    )
    assert 0 < cycles <= last_end(rows)


def test_dram_time_is_a_lower_bound(rows: list[dict[str, str]]) -> None:
    moved = sum(int(row["dram_read_bytes"]) + int(row["dram_write_bytes"]) for row in rows)
    assert 0 < moved / load_machine("edge").dram.bytes_per_cycle <= last_end(rows)


def test_each_engine_does_one_instruction_at_a_time_in_order(rows: list[dict[str, str]]) -> None:
    starts: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        starts[row["engine"]].append(int(row["start_cycle"]))
    assert all(times == sorted(times) for times in starts.values())
