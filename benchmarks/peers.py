"""What other tools take for the encoders on a machine of the size of `edge`: ZigZag's estimate, and Vela's.

    python benchmarks/peers.py bert-tiny

Each runs where its package is installed (the extra `benchmarks`); otherwise its published figure is told. The machine:
1,024 int8 multiply-accumulates a cycle, 256 KiB on chip, 16 bytes of DRAM a cycle.
"""

from __future__ import annotations

import csv
import logging
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from encoders import ENCODERS, Encoder, Product

PUBLISHED = {
    "zigzag": {"bert-tiny": 84_124, "deit-tiny": 1_523_409, "bert-base": 11_808_864},
    "vela": {"bert-tiny": 642_331, "deit-tiny": 10_942_868, "bert-base": 55_226_819},
}
"""Cycles that ZigZag 3.9.1 and Vela 5.2 (ethos-u85-1024) gave on a machine of this size."""


@dataclass(frozen=True)
class Peer:
    """A tool's figure for an encoder: `counts` says of what, `source` is `measured` or `published`; None where neither
    is to be had."""

    name: str
    tool: str
    cycles: int | None
    counts: str
    source: str


def zigzag(name: str, size: Encoder) -> Peer:
    """ZigZag's best mapping of every matrix product, each from a cold start; nothing else is counted."""
    return _peer("zigzag", "zigzag-dse", name, "matrix products", lambda folder: _zigzag_cycles(size, folder))


def vela(name: str, size: Encoder) -> Peer:
    """Vela's estimate of the whole encoder on ethos-u85-1024."""
    return _peer("vela", "ethos-u-vela", name, "everything", lambda folder: _vela_cycles(size, folder))


def _peer(name: str, package: str, encoder: str, counts: str, cycles: Any) -> Peer:
    try:
        tool = f"{package} {version(package)}"
    except PackageNotFoundError:
        return Peer(name, package, PUBLISHED[name].get(encoder), counts, "published")
    with tempfile.TemporaryDirectory() as folder:
        return Peer(name, tool, cycles(Path(folder)), counts, "measured")


def _port(number: int, kind: str, least: int, most: int, *allocation: str) -> dict[str, Any]:
    spelled = {"r": "read", "w": "write", "rw": "read_write"}[kind]
    name = f"{kind}_port_{number}"
    return {"name": name, "type": spelled, "bandwidth_min": least, "bandwidth_max": most, "allocation": [*allocation]}


def _memory(bits: int, operands: list[str], served: list[str], *ports: dict[str, Any]) -> dict[str, Any]:
    costs = {"r_cost": 1.0, "w_cost": 1.0, "area": 0, "latency": 1}
    return {"size": bits, "operands": operands, "ports": [*ports], "served_dimensions": served, **costs}


_ALL = ["I1", "I2", "O"]
_BOTH_WAYS = [f"{operand}, {way}" for operand in _ALL for way in ("fh", "tl")]
_ZIGZAG_MACHINE = {
    "name": "edge",
    # From the array outwards; sizes and bandwidths in bits.
    "memories": {
        "weights": _memory(16, ["I2"], [], _port(1, "r", 8, 8, "I2, tl"), _port(1, "w", 8, 8, "I2, fh")),
        "accumulators": _memory(
            64 * 1024 * 8 // 32,
            ["O"],
            ["D1"],
            _port(1, "r", 32, 32, "O, tl"),
            _port(2, "r", 32, 32, "O, th"),
            _port(1, "w", 32, 32, "O, fh"),
            _port(2, "w", 32, 32, "O, fl"),
        ),
        "sram": _memory(
            256 * 1024 * 8,
            _ALL,
            ["D1", "D2"],
            _port(1, "r", 64, 512, "I1, tl"),
            _port(2, "r", 64, 512, "I2, tl"),
            _port(3, "r", 64, 1024, "O, tl", "O, th"),
            _port(1, "w", 64, 1024, "O, fl", "O, fh"),
            _port(2, "w", 64, 512, "I1, fh", "I2, fh"),
        ),
        "dram": _memory(
            10**10,
            _ALL,
            ["D1", "D2"],
            _port(1, "rw", 128, 128, *_BOTH_WAYS, "O, fl", "O, th"),
        ),
    },
    "operational_array": {
        "input_precision": [8, 8],
        "unit_energy": 0.3,
        "unit_area": 1,
        "dimensions": ["D1", "D2"],
        "sizes": [32, 32],
    },
}
_ZIGZAG_MAPPING = [
    {
        "name": "default",
        "spatial_mapping": {"D1": ["C, 32"], "D2": ["K, 32"]},
        "memory_operand_links": {"O": "O", "W": "I2", "I": "I1"},
    }
]


def _zigzag_cycles(size: Encoder, folder: Path) -> int:
    return sum(product.count * _zigzag_product(product, folder) for product in size.products)


def _zigzag_product(product: Product, folder: Path) -> int:
    """The cycles of the best mapping of one matrix product."""
    import yaml
    from zigzag.api import get_hardware_performance_zigzag

    layer = {
        "id": 0,
        "operator_type": "Gemm",
        "equation": "O[b][k]+=I[b][c]*W[c][k]",
        "loop_dims": ["B", "C", "K"],
        "loop_sizes": [product.rows, product.depth, product.columns],
        "operand_precision": {"I": 8, "W": 8, "O": 32, "O_final": 8},
        "operand_source": {"I": 0, "W": 0},
    }
    files = {"machine": _ZIGZAG_MACHINE, "mapping": _ZIGZAG_MAPPING, "workload": [layer]}
    paths = {name: str(folder / f"{name}.yaml") for name in files}
    for name, content in files.items():
        # The order of the memories is that of the hierarchy.
        Path(paths[name]).write_text(yaml.safe_dump(content, sort_keys=False))
    logging.disable(logging.WARNING)
    _, latency, *_ = get_hardware_performance_zigzag(
        paths["workload"],
        paths["machine"],
        paths["mapping"],
        opt="latency",
        dump_folder=str(folder / "out"),
        pickle_filename=str(folder / "found.pickle"),
        loma_show_progress_bar=False,
    )
    logging.disable(logging.NOTSET)
    return int(latency)


_VELA_MACHINE = """\
[System_Config.edge]
core_clock=1e9
axi0_port=Sram
axi1_port=Dram
Sram_clock_scale=1.0
Sram_ports_used=4
Sram_burst_length=64
Sram_read_latency=16
Sram_write_latency=16
Sram_max_reads=16
Sram_max_writes=16
Dram_clock_scale=1.0
Dram_ports_used=1
Dram_burst_length=64
Dram_read_latency=100
Dram_write_latency=100
Dram_max_reads=64
Dram_max_writes=32

[Memory_Mode.edge]
const_mem_area=Axi1
arena_mem_area=Axi1
cache_mem_area=Axi0
arena_cache_size=262144
"""


def _vela_cycles(size: Encoder, folder: Path) -> int:
    from tflite_encoder import build

    machine, model = folder / "edge.ini", folder / "encoder.tflite"
    machine.write_text(_VELA_MACHINE)
    model.write_bytes(build(size))
    command = [sys.executable, "-m", "ethosu.vela", str(model), "--output-dir", str(folder)]
    command += ["--accelerator-config", "ethos-u85-1024", "--config", str(machine)]
    command += ["--system-config", "edge", "--memory-mode", "edge"]
    subprocess.run(command, check=True, capture_output=True)
    with next(folder.glob("*_summary_*.csv")).open(newline="") as file:
        return int(float(next(csv.DictReader(file))["cycles_total"]))


def main() -> None:
    """Print what each tool takes for the named encoders."""
    for name in sys.argv[1:] or PUBLISHED["zigzag"]:
        for peer in (zigzag(name, ENCODERS[name]), vela(name, ENCODERS[name])):
            print(f"{name}: {peer.tool} {peer.cycles:,} cycles, {peer.counts}, {peer.source}")


if __name__ == "__main__":
    main()
