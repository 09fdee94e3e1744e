import numpy as np
import pytest

from attnc.isa.assembly import assemble, disassemble
from attnc.isa.errors import AssemblyError
from attnc.isa.program import Program
from attnc.isa.state import State

STANDALONE = """\
.machine "edge"
.dram bytes=256
.weight "w" at=dram+64 format=f32 shape=2x2 bytes=0000803f000000400000404000008040
.input "x" type=float format=f32 shape=2x2 at=dram+0 low=-1 high=1.5
.output "y" type=float format=f32 shape=2x2 at=dram+128
.label "left" at=sram+0 bytes=16
.label "right" at=<left>+16 bytes=16
# load both operands
ld ld.block element=4, dram=<x>, chip=<left>, n3=4, dram_stride3=4, chip_stride3=4
ld ld.block element=4, dram=<w>, chip=<right>, n3=4, dram_stride3=4, chip_stride3=4
mx mx.product mode=f32 acc=acc+0 a=<left> b=<right> m=2 n=2 k=2 acc_stride=8 a_stride=8 b_stride=8 @ld:2
st st.block element=4, dram=<y>, chip=acc+0, n3=4, dram_stride3=4, chip_stride3=4 @mx:1  # the result
"""


def test_text_gives_the_same_bytes_back(small_program, tmp_path):
    small_program.save(tmp_path / "p.attn")
    text = disassemble(small_program, "p.attn")
    assert text.startswith(f'.data "p.attn" digest={small_program.digest}\n')
    assert "acc=<scores>" in text
    assert "# load, /layer/MatMul" in text
    again = assemble(text, folder=tmp_path)
    assert again.to_bytes() == (tmp_path / "p.attn").read_bytes()


def test_a_program_written_by_hand_stands_alone():
    program = assemble(STANDALONE)
    assert Program.from_bytes(program.to_bytes()).to_bytes() == program.to_bytes()
    dram = program.initial_dram()
    dram[:16] = np.array([[1, 0], [2, -1]], np.float32).view(np.uint8).ravel()
    state = State(program.machine, dram)
    for _, instruction in program.table.walk():
        instruction.perform(state)
    assert dram[128:144].view(np.float32).tolist() == [1.0, 2.0, -1.0, 0.0]
    assert (program.inputs[0].low, program.inputs[0].high) == (-1, 1.5)


def test_weights_may_come_from_npy_files(tmp_path):
    np.save(tmp_path / "w.npy", np.array([[1, 2], [3, 4]], np.float32))
    text = STANDALONE.replace("bytes=0000803f000000400000404000008040", 'npy="w.npy"')
    assert assemble(text, folder=tmp_path).to_bytes() == assemble(STANDALONE).to_bytes()


def test_data_of_another_digest_are_refused(small_program, tmp_path):
    small_program.save(tmp_path / "p.attn")
    text = disassemble(small_program, "p.attn").replace(small_program.digest, "0" * 64)
    with pytest.raises(AssemblyError, match=r"p\.attn has digest"):
        assemble(text, folder=tmp_path)


def test_a_longer_program_loses_its_source_map(small_program, tmp_path):
    small_program.save(tmp_path / "p.attn")
    program = assemble(disassemble(small_program, "p.attn") + "vx  sync\n", folder=tmp_path)
    assert len(program.table) == len(small_program.table) + 1
    assert program.row_nodes(0) == ()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ld ld.blck element=4", r"'ld.blck' is not understood"),
        ("qq sync", "qq is no queue"),
        ("ld sync @zz:1", "zz is no queue"),
        ("ld sync @ld:1000", "a wait names no earlier instruction"),
        ("ld ld.block element=4, chip=sram+0", "ld.block needs dram"),
        ("ld ld.block element=3, dram=<x>, chip=sram+0", "'3' is none of 1, 2, 4"),
        ("ld ld.block element=4, dram=sram+0, chip=sram+0", "a DRAM address is needed"),
        ("ld ld.block element=4, dram=<z>, chip=sram+0", "no buffer or weight is called 'z'"),
        ("ld ld.block element=4, dram=<x>, chip=sram+0, n9=3", "has no operand 'n9'"),
        ("ld ld.block element=4, element=4, dram=<x>, chip=sram+0", "element is given twice"),
        ("ld ld.block element=4, dram=<x>, chip=sram+0x100000", "writes outside the 262144 bytes of sram"),
        ("ld ld.block element=4, dram=<x>, chip=sram+2", "not a multiple of the element"),
        ("ld ld.block element=4, dram=<x>, chip=sram+0, n3=70000", "70000 is outside"),
        ("mx mx.product mode=f64, acc=acc+0, a=sram+0, b=sram+0, m=1, n=1, k=1", "'f64' is none of"),
        ("mx ld.block element=4, dram=<x>, chip=sram+0", "no ld engine's"),
        ('vx vx.program slot=40, program="out 1"', "slot 40 is outside"),
        ('vx vx.program slot=4, program="out r3"', "before it is computed"),
        ("vx vx.pass slot=9, rows=1, columns=1", "vector slot 9 holds no program"),
        (
            "ld ld.block element=4, dram=<x>, chip=sram+0, n3=e4",
            "extent register e4 is used before it is set",
        ),
        ('.label "late" at=sram+0', "stands after the first instruction"),
    ],
)
def test_a_wrong_line_is_named(line, reason):
    wanted = len(STANDALONE.splitlines()) + 1
    with pytest.raises(AssemblyError, match=reason) as caught:
        assemble(STANDALONE + line, "hand.asm")
    assert caught.value.line == wanted
    assert str(caught.value).startswith(f"hand.asm:{wanted}:")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (".nothing", ".nothing is no directive"),
        ('.machine "huge"', "no machine of this name"),
        ('.weight "v" at=dram+0 format=f32 shape=2 bytes=00', "1 bytes are given, f32 of this shape has 8"),
        ('.weight "v" at=dram+0 format=f32 shape=2 bytes=0g', "hexadecimal"),
        ('.weight "v" at=dram+0 format=f32 shape=2 npy=none.npy', "is no readable .npy"),
        ('.input "v" type=float format=f32 shape=2', "at= is needed"),
        ('.input "v" type=float format=f32 shape=2 at=dram+0 low=a', "low=a is no number"),
        (".dram bytes=1 colour=red", "colour is not known here"),
    ],
)
def test_a_wrong_directive_is_named(line, reason):
    with pytest.raises(AssemblyError, match=reason):
        assemble('.machine "edge"\n' + line, "hand.asm")


def test_an_empty_text_is_no_program():
    with pytest.raises(AssemblyError, match="has neither"):
        assemble("# nothing\n")
