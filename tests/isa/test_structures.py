"""N:M structured products where their definition is finest: which structures there are, infinities, last groups."""

import dataclasses
import re

import numpy as np
import pytest

from attnc.isa.errors import MachineError, UsageError
from attnc.isa.fields import ACC_BIT
from attnc.isa.instructions import StructuredProduct
from attnc.isa.machine import load_machine, machine_from_dict, machine_tables
from attnc.isa.matrix import MatrixMode
from attnc.isa.state import State
from attnc.isa.structures import Structure

EDGE = load_machine("edge")


@pytest.mark.parametrize("text", ["2:2", "0:4", "1:3", "2", "2:4:8", "5:4", "a:b", "16:32"])
def test_what_is_no_structure_is_refused(text):
    with pytest.raises(UsageError, match="is no structure"):
        Structure.parse(text)


def test_structures_are_ordered_by_what_is_multiplied_then_by_what_is_stored():
    found = sorted(map(Structure.parse, ["4:8", "1:2", "2:4", "1:8", "3:4", "1:4", "2:8"]))
    assert " ".join(map(str, found)) == "1:8 1:4 2:8 1:2 2:4 4:8 3:4"


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (["2:4", "2:4"], "a structure is named twice"),
        (["3:3"], "3:3 is no structure"),
        ("2:4", "a list of texts"),
        ([2], "a list of texts"),
    ],
)
def test_structures_in_a_machine_file_are_texts_that_differ(wanted, reason):
    tables = machine_tables("edge")
    tables["matrix"]["structures"] = wanted
    with pytest.raises(MachineError, match=reason):
        machine_from_dict(tables)


@pytest.mark.parametrize(
    ("name", "mode", "wanted"),
    [
        # 32 rows of one byte, which choose from two: 64 of 64 B/cycle. Four values of float32 a cycle choose from 16.
        ("edge", "i8", "1:2 2:4 4:8"),
        ("edge", "bf16", "1:2 2:4 4:8"),
        ("edge", "f32", "1:4 2:8 1:2 2:4 4:8"),
        ("edge", "i4", ""),
        ("edge-structured", "i8", "1:8 1:4 2:8 1:2 2:4 4:8"),
        # Two values of float32 a cycle are fewer than four kept of a group.
        ("tiny", "f32", "1:4 2:8 1:2 2:4"),
        ("bat", "i8", ""),
    ],
)
def test_a_mode_has_the_structures_that_its_ports_carry(name, mode, wanted):
    assert " ".join(map(str, load_machine(name).matrix.structures_in(mode))) == wanted


def test_indices_need_room_on_the_port_of_weights():
    matrix = dataclasses.replace(EDGE.matrix, weight_port_bytes_per_cycle=36)
    assert " ".join(map(str, matrix.structures_in("i8"))) == "1:2"


def product(**fields):
    shape = {"m": 1, "n": 2, "k": 3, "a_stride": 16, "b_stride": 8, "acc_stride": 8, "indices_stride": 1}
    places = {"acc": ACC_BIT, "a": 0, "b": 64, "indices": 128}
    return StructuredProduct(**{"mode": MatrixMode.F32.code, **shape, **places, "kept": 1, "group": 0, **fields})


def filled(a):
    """Two groups of two rows, the last of one: rows 1 and 2 in the first column, 0 and 3 (none) in the other."""
    state = State(EDGE, np.zeros(0, np.uint8))
    state.sram[: 4 * len(a)] = np.float32(a).view(np.uint8)
    state.sram[64:80] = np.float32([10, 20, 30, 40]).view(np.uint8)
    state.sram[128:130] = [0b01, 0b10]
    return state


def test_a_last_group_ends_with_k():
    state = filled([1, 2, 3])
    product().perform(state)
    assert state.acc[:8].view(np.float32).tolist() == [2 * 10 + 3 * 30, 1 * 20]


def test_an_infinity_that_no_index_names_does_not_count():
    state = filled([np.inf, 2, 3])
    product().perform(state)
    assert state.acc[:8].view(np.float32).tolist() == [2 * 10 + 3 * 30, np.inf]
    product(accumulate=1).perform(state)
    assert state.acc[:8].view(np.float32).tolist() == [2 * (2 * 10 + 3 * 30), np.inf]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (product(kept=3, group=1), "has not this structure in the mode"),
        (product(mode=MatrixMode.I8.code, kept=1, group=2), "has not this structure in the mode"),
        (product(indices=ACC_BIT), "the indices stand in ACC"),
        (product(transpose_b=1), "b of a structure stands as"),
        (product(mode=MatrixMode.I4.code, transpose_b=1), "a packed b has no structure"),
    ],
    ids=["kept", "mode", "accumulators", "transposed", "packed"],
)
def test_fields_that_make_no_sense_are_faults(wrong, reason):
    assert any(condition and re.search(reason, text) for condition, text in wrong.faults(EDGE))
