"""The race check and the memory check."""

from dataclasses import replace

import numpy as np
import pytest

from attnc.isa.assembly import assemble
from attnc.isa.errors import Fault, RaceError
from attnc.isa.table import Table
from attnc.runtime.session import Session

from .conftest import EXTENT, LINEAR


def without_waits(program, row):
    """`program` with the waits of a row taken away."""
    table = Table.decode(program.table.encode())
    table.set_waits(row, [])
    return replace(program, table=table)


def test_an_ordered_program_passes(linear, gather, extent):
    for program in (linear, gather, extent):
        assert len(Session(program).check()) == 2


@pytest.mark.parametrize(("row", "other"), [(2, 0), (4, 2), (5, 4)])
def test_every_removed_wait_is_a_race_that_names_both_sides(linear, row, other):
    with pytest.raises(RaceError) as caught:
        Session(without_waits(linear, row)).check()
    error = caught.value
    assert (error.first.row, error.second.row) == (other, row)
    assert "n0" in error.first.node
    assert error.second.instruction.split()[0] in str(error)


def test_a_wait_on_an_earlier_instruction_than_the_last_is_a_race():
    with pytest.raises(RaceError, match="sram"):
        Session(assemble(LINEAR.replace("@ld:2", "@ld:1"))).check()


def test_overwriting_what_another_engine_still_reads_is_a_race(linear):
    again = "\nld ld.block element=1 dram=dram+0 chip=sram+0 n3=2048 dram_stride3=1 chip_stride3=1"
    with pytest.raises(RaceError) as caught:
        Session(assemble(LINEAR + again)).check()
    assert (caught.value.first.row, caught.value.first.access) == (2, "reads")
    assert caught.value.second.access == "writes"
    # A wait through another engine orders it too: the pass waited for the product.
    assert Session(assemble(LINEAR + again + " @vx:2")).check()


def test_accesses_to_one_line_conflict_even_where_their_bytes_differ():
    text = """
.machine "edge"
.dram bytes=128
vx vx.program slot=0 program="out row"
vx vx.pass slot=0 rows=1 columns=1 out=sram+{place} out_format=i32
st st.block element=4 dram=dram+0 chip=sram+0 n3=1
"""
    with pytest.raises(Fault, match="nothing has written"):
        Session(assemble(text.format(place=16))).check()
    with pytest.raises(RaceError):
        Session(assemble(text.format(place=4))).check()


def test_an_extent_register_that_another_engine_sets_needs_a_wait():
    text = EXTENT.replace("ld load.extent", "vx load.extent").replace("maximum=256", "maximum=256 @ld:1")
    with pytest.raises(RaceError, match="register"):
        Session(assemble(text.replace("@ld:3", "@ld:2"))).check()


def test_a_read_of_bytes_that_nothing_wrote_is_found(linear):
    text = LINEAR.replace("n3=2048 dram_stride3=1 chip_stride3=1\nmx", "n3=2000 dram_stride3=1 chip_stride3=1\nmx")
    with pytest.raises(Fault, match=r"instruction 2 .*reads 48 bytes that nothing has written, from sram\+0xfd0"):
        Session(assemble(text)).check()


def test_a_read_of_dram_that_is_neither_weight_nor_input_is_found(linear):
    text = LINEAR.replace("dram=dram+2048", "dram=dram+4096")
    with pytest.raises(Fault, match=r"instruction 1 .*dram\+0x1000"):
        Session(assemble(text)).check()


def test_an_output_that_is_not_written_whole_is_found():
    with pytest.raises(Fault, match="'y': 96 of its 4096 bytes are never written"):
        Session(assemble(LINEAR.replace("n3=1024", "n3=1000"))).check()


def test_a_weight_that_is_overwritten_is_found():
    with pytest.raises(Fault, match=r"instruction 5 .*overwrites a weight"):
        Session(assemble(LINEAR.replace("element=4 dram=dram+4096", "element=4 dram=dram+2048"))).check()


def test_what_stale_memory_holds_shows_in_values(linear, x):
    text = LINEAR.replace("n3=2048 dram_stride3=1 chip_stride3=1\nmx", "n3=2000 dram_stride3=1 chip_stride3=1\nmx")
    right, wrong = (Session(p).run({"x": x}).outputs["y"] for p in (linear, assemble(text)))
    assert not np.array_equal(right, wrong)
