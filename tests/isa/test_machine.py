import dataclasses
import re

import pytest

from attnc.isa.errors import MachineError
from attnc.isa.machine import load_machine, machine_from_dict, machine_names
from attnc.isa.matrix import MODE_BITS


def test_machines_that_come_with_attnc():
    own = {"edge", "edge-structured", "server", "tiny"}
    published = {"acceltran-edge", "acceltran-server", "bat", "bat-binary", "salo", "sanger", "spatten", "vitcod"}
    assert machine_names() == tuple(sorted(own | published))


def test_edge_is_the_machine_of_the_design():
    edge = load_machine("edge")
    assert [queue.name for queue in edge.queues] == ["ld", "st", "mx", "vx", "sx"]
    assert (edge.sram.bytes, edge.acc.bytes, edge.clock_ghz) == (256 << 10, 64 << 10, 1.0)
    assert (edge.matrix.law, edge.matrix.rows, edge.matrix.columns) == ("pipelined_ws", 32, 32)
    depths = {mode: edge.matrix.depth(mode) for mode in edge.matrix.rates}
    assert depths == {"f32": 4, "f16": 16, "bf16": 16, "i8": 32, "i4": 64, "ternary": 128, "binary": 512}
    assert (edge.dram.bytes_per_cycle, edge.dram.burst_bytes, edge.dram.latency_cycles) == (16, 64, 100)
    assert (edge.vector.lanes, edge.vector.start_cycles) == (32, 16)


def test_tiny_and_server_bracket_edge():
    tiny, edge, server = (load_machine(name) for name in ("tiny", "edge", "server"))
    for path in (
        "sram.bytes",
        "acc.bytes",
        "matrix.rows",
        "matrix.columns",
        "vector.lanes",
        "dram.bytes_per_cycle",
    ):
        part, name = path.split(".")
        low, middle, high = (getattr(getattr(machine, part), name) for machine in (tiny, edge, server))
        assert low < middle < high, path


@pytest.mark.parametrize("name", machine_names())
def test_rates_fit_the_ports(name):
    matrix = load_machine(name).matrix
    for mode, rate in matrix.rates.items():
        values_per_cycle = matrix.rows * rate
        assert values_per_cycle * MODE_BITS[mode] / 8 <= matrix.a_port_bytes_per_cycle
        assert matrix.columns * rate * MODE_BITS[mode] / 8 <= matrix.weight_port_bytes_per_cycle
    assert matrix.columns * 4 <= matrix.acc_port_bytes_per_cycle


@pytest.mark.parametrize("name", machine_names())
def test_every_figure_has_its_source(name):
    machine = load_machine(name)
    for figure in (*machine.energy_pj.values(), *machine.area_um2.values()):
        assert figure.assumed or "Horowitz" in figure.source


@pytest.mark.parametrize("name", machine_names())
def test_plain_values_give_the_machine_back(name):
    machine = load_machine(name)
    assert machine_from_dict(machine.to_dict()) == machine


def changed(path, value):
    data = load_machine("edge").to_dict()
    table = data
    *parents, last = path.split(".")
    for key in parents:
        table = table[key]
    if value is None:
        del table[last]
    else:
        table[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("colour", "red", "colour: unknown key"),
        ("matrix.speed", 3, "matrix.speed: unknown key"),
        ("sram.bytes", None, "sram.bytes: missing"),
        ("sram.bytes", "big", "sram.bytes: a whole number is needed, not 'big'"),
        ("sram.bytes", True, "a whole number is needed"),
        ("sram.bytes", 0, "0 is below 1"),
        ("sram.bytes", 1 << 32, "more than addresses reach"),
        ("clock_ghz", 0, "is not above 0"),
        ("clock_ghz", float("nan"), "is not a number from 0 up"),
        ("sram", 5, "a table is needed"),
        ("matrix.law", "magic", "'magic' is none of"),
        ("matrix.rates.i8", "1/0", "is no fraction"),
        ("matrix.rates.i8", -1, "is not above 0"),
        ("matrix.rates.i8", True, "a number or a fraction"),
        ("matrix.rates.i8", "1/33", "is not a whole number of K values"),
        ("matrix.rates.i8", 4, "A needs 128 B/cycle"),
        ("matrix.rates.i9", 1, "matrix.rates.i9: unknown key"),
        ("matrix.weight_port_bytes_per_cycle", 16, "weights need 32 B/cycle"),
        ("matrix.acc_port_bytes_per_cycle", 64, "32 columns need 128 B/cycle"),
        ("transfer.access_bytes", 24, "is not a power of two"),
        ("engines.mx", 0, "at least one is needed"),
        ("engines.vx", 9, "13 queues"),
        ("energy_pj.fetch", {"value": 1.0}, "energy_pj.fetch.source: missing"),
    ],
)
def test_a_wrong_key_is_named(path, value, reason):
    with pytest.raises(MachineError, match=re.escape(reason)):
        machine_from_dict(changed(path, value))


def test_a_mode_that_is_false_is_none():
    assert "binary" not in machine_from_dict(changed("matrix.rates.binary", False)).matrix.rates


def test_a_file_may_extend_another(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('extends = "edge"\nname = "mine"\n[sram]\nbytes = 131072\n', encoding="utf-8")
    mine = load_machine(file)
    assert mine.sram.bytes == 131072
    assert dataclasses.replace(mine, name="edge", sram=load_machine("edge").sram) == load_machine("edge")
    assert mine.sizes() != load_machine("edge").sizes()


def test_a_new_figure_needs_its_own_source(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('extends = "edge"\nname = "mine"\n[energy_pj]\n"mac.i8" = { value = 1.0 }\n', encoding="utf-8")
    with pytest.raises(MachineError, match="source: missing"):
        load_machine(file)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"name = ", "is not TOML"),
        (b"\xff\xfe", "is not UTF-8"),
        (b'extends = "self.toml"', "in a circle"),
        (b"extends = 3", "a machine's name or file is needed"),
    ],
)
def test_a_damaged_file_is_one_clear_error(tmp_path, content, reason):
    file = tmp_path / "self.toml"
    file.write_bytes(content)
    with pytest.raises(MachineError, match=reason):
        load_machine(file)


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(MachineError, match="edge, edge-structured, salo, sanger, server, spatten, tiny"):
        load_machine("huge")


def test_several_engines_of_a_kind_have_queues_of_their_own(tmp_path):
    file = tmp_path / "twin.toml"
    file.write_text('extends = "edge"\nname = "twin"\n[engines]\nmx = 2\n', encoding="utf-8")
    assert [queue.name for queue in load_machine(file).queues] == ["ld", "st", "mx", "mx1", "vx", "sx"]


def test_energies_of_modes_that_a_machine_lacks_need_not_be_given():
    binary = load_machine("bat-binary")
    assert tuple(binary.matrix.rates) == ("binary",)
    assert binary.energy("mac.f32") == 0
    known = load_machine("edge").to_dict()
    del known["energy_pj"]["mac.i8"]
    with pytest.raises(MachineError, match=r"energy_pj\.mac\.i8: missing"):
        machine_from_dict(known)


def test_areas_and_the_energy_of_memories_follow_a_machines_sizes(tmp_path):
    file = tmp_path / "half.toml"
    file.write_text('extends = "edge"\n[sram]\nbytes = 131072\n[matrix]\nrows = 16\n[matrix.rates]\ni8 = 2\n', "utf-8")
    half, edge = load_machine(file), load_machine("edge")
    assert half.energy("sram.read") == pytest.approx(edge.energy("sram.read") / 1.38)
    assert half.energy("acc.read") == edge.energy("acc.read")
    ours, theirs = half.area_by_part_mm2(), edge.area_by_part_mm2()
    assert ours["sram"] == theirs["sram"] / 2
    assert ours["matrix"] == pytest.approx(theirs["matrix"] / 2 + 16 * 32 * 419e-6)
    assert half.area_mm2 == pytest.approx(sum(ours.values()))


def test_only_figures_of_memories_go_with_a_size():
    data = changed("energy_pj.fetch.at_bytes", 64)
    with pytest.raises(MachineError, match=r"energy_pj\.fetch\.at_bytes"):
        machine_from_dict(data)


def test_the_edge_machine_has_the_area_of_its_parts():
    parts = load_machine("edge").area_by_part_mm2()
    assert parts["matrix"] == pytest.approx(1024 * (11884 / 8 + 5824 / 2 + 419 + 4 * 9 + 16 * 6) * 1e-6)
    assert parts["sram"] == pytest.approx(262144 * 4.61e-6)
