"""Space files: what is open, what it becomes, and what is said of one that is wrong."""

from pathlib import Path

import pytest

from attnc.compiler.explore.space import Space
from attnc.isa.errors import AttncError

GOOD = """
[machine]
extends = "tiny"
sram.bytes = { choice = [32768, 65536] }
matrix.rows = { int = [8, 16], step = 8, name = "array" }
matrix.columns = { same = "array" }
matrix.acc_port_bytes_per_cycle = { same = "array", times = 4 }
[recipe]
precision = { choice = ["bf16", "int8"] }
schedule = { choice = { all = {}, plain = { prefetch = false, reorder = { choice = [true, false] } } } }
[[recipe.layer]]
match = "encoder.0.*"
precision = { choice = ["model", "bf16"], name = "first layer" }
"""


def space(tmp_path: Path, text: str) -> Space:
    path = tmp_path / "space.toml"
    path.write_text(text)
    return Space.read(path)


def test_everything_open_is_a_parameter_and_is_filled_in(tmp_path: Path) -> None:
    found = space(tmp_path, GOOD)
    assert list(found.parameters) == [
        "machine.sram.bytes",
        "array",
        "recipe.precision",
        "recipe.schedule",
        "recipe.schedule.plain.reorder",
        "first layer",
    ]
    chosen = {**found.first, "array": 8, "recipe.schedule": "plain", "recipe.schedule.plain.reorder": False}
    machine, recipe = found.machine_of(chosen), found.recipe_of(chosen)
    assert (machine.matrix.rows, machine.matrix.columns, machine.matrix.acc_port_bytes_per_cycle) == (8, 8, 32)
    assert (machine.sram.bytes, machine.vector.lanes) == (32768, 16)
    assert not recipe.schedule.prefetch
    assert not recipe.schedule.reorder
    assert recipe.layers[0].precision == "model"


def test_a_space_survives_its_tables(tmp_path: Path) -> None:
    found = space(tmp_path, GOOD)
    assert Space.of(found.to_dict(), found.subject) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[machine]\nsram.bytes = 65536", "leaves nothing open"),
        ("[machine]\nsram.size = { choice = [1, 2] }", "sram.size: unknown key"),
        ("[machine]\nsram.bytes = { choice = [65536, 0] }", "no design has machine.sram.bytes = 0"),
        ("[machine]\nextends = 'none'\nsram.bytes = { choice = [1] }", "no machine of this name"),
        ("[recipe]\nprecision = { choice = ['int8', 'int9'] }", "no design has recipe.precision = 'int9'"),
        ("[recipe]\nprecison = { choice = ['int8'] }", "recipe has no key 'precison'"),
        ("[recipe]\nprecision = { choice = [] }", "`choice` is an array of values"),
        ("[recipe]\nprecision = { choice = ['int8', 'int8'] }", "has a value twice"),
        ("[recipe]\nschedule = { choice = [{}, {}] }", "give such options names"),
        ("[recipe]\nprecision = { choice = ['int8'], step = 1 }", "`choice` does not go with 'step'"),
        ("[machine]\nsram.bytes = { int = [4096] }", "`int` is [low, high]"),
        ("[machine]\nsram.bytes = { int = [4096, 1024] }", "is no range"),
        ("[machine]\nsram.bytes = { int = [1024, 4096], step = 1000 }", "do not lead to 4096"),
        ("[machine]\nsram.bytes = { int = [0, 4096], log = true }", "starts above 0"),
        ("[machine]\nsram.bytes = { same = 'size' }", "no parameter is called 'size'"),
        ("[recipe]\nprecision = { choice = ['int8'], name = 'p' }\nresidual = { same = 'p', times = 2 }", "no number"),
        ("[space]\nx = 1", "has no place for 'space'"),
        ("machine = 3", "`machine` must be a table"),
        ("[machine", "is not valid TOML"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(AttncError) as raised:
        space(tmp_path, text)
    assert said in str(raised.value)
    assert raised.value.exit_code == 2
