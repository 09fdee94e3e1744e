"""Pinned cycles and energy of the digits Transformer: a change of either needs a reason in its commit.

python tests/end_to_end/test_golden.py      # writes golden.json anew
"""

import json
from pathlib import Path

import pytest

import attnc

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("golden.json")
CASES = [f"{machine}/{precision}" for machine in ("edge", "tiny", "server") for precision in ("model", "bf16", "int8")]


def figures(case: str) -> dict[str, float]:
    """Cycles, energy and DRAM traffic of one inference."""
    machine, precision = case.split("/")
    model = ROOT / "examples" / "digits_vit" / "model.onnx"
    program = attnc.compile(model, machine=machine, precision=precision).program
    performance = attnc.Session(program).run(mode="timing").report.performance
    return {
        "cycles": performance.cycles,
        "energy_nj": round(performance.energy_pj / 1000, 1),
        "dram_bytes": performance.dram_read_bytes + performance.dram_write_bytes,
        "instructions": performance.instructions,
    }


@pytest.mark.parametrize("case", CASES)
def test_figures_are_the_pinned_ones(case: str) -> None:
    assert figures(case) == json.loads(GOLDEN.read_text())[case]


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({case: figures(case) for case in CASES}, indent=2) + "\n")
