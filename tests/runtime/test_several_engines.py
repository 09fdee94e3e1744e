"""A machine with two matrix and two vector engines: each is a queue of its own, with slots of its own."""

import numpy as np
import pytest

from attnc.isa.assembly import assemble
from attnc.isa.errors import RaceError
from attnc.runtime.session import Session

from .conftest import WEIGHT

MACHINE = """
name = "twins"
extends = "edge"

[engines]
mx = 2
vx = 2
"""

PASS = "vx.pass slot=0 rows=16 columns=32 a_stride=128 a_format=i32 out_stride=128 out_format=f32"
PRODUCT = "mx.product mode=i8 b=sram+2048 m=16 n=32 k=64 acc_stride=128 a_stride=64 b_stride=32"
HALVES = f"""
.machine "twins.toml"
.input "x" type=int8 format=i8 shape=32x64 at=dram+0
.weight "w" at=dram+2048 format=i8 shape=64x32 bytes={WEIGHT.tobytes().hex()}
.output "y" type=float format=f32 shape=32x32 at=dram+4096
ld ld.block element=1 dram=dram+0 chip=sram+0 n3=2048 dram_stride3=1 chip_stride3=1
ld ld.block element=1 dram=dram+2048 chip=sram+2048 n3=2048 dram_stride3=1 chip_stride3=1
vx vx.program slot=0 program="r0 = to_float(a); r1 = mul(r0, 0.5); out r1"
vx1 vx.program slot=0 program="r0 = to_float(a); r1 = mul(r0, 0.25); out r1"
mx {PRODUCT} acc=acc+0 a=sram+0 @ld:2
mx1 {PRODUCT} acc=acc+2048 a=sram+1024 @ld:2
vx {PASS} a=acc+0 out=sram+8192 @mx:1
vx1 {PASS} a=acc+2048 out=sram+10240 @mx1:1
st st.block element=4 dram=dram+4096 chip=sram+8192 n3=1024 dram_stride3=4 chip_stride3=4 @vx:2 @vx1:2
"""


@pytest.fixture
def twins(tmp_path):
    (tmp_path / "twins.toml").write_text(MACHINE)
    return lambda text: assemble(text, folder=tmp_path)


def test_engines_of_a_kind_have_slots_of_their_own(twins, x):
    result = Session(twins(HALVES)).run({"x": x}, check=True)
    sums = (x.astype(np.int32) @ WEIGHT.astype(np.int32)).astype(np.float32)
    np.testing.assert_array_equal(result.outputs["y"], np.concatenate([0.5 * sums[:16], 0.25 * sums[16:]]))


def test_engines_of_a_kind_work_side_by_side_and_share_a_bound(twins):
    measurement = Session(twins(HALVES)).measure()
    start = measurement.timeline.start.tolist()
    assert start[4] == start[5]
    assert start[6] == start[7]
    assert [row.engine for row in measurement.engines] == ["ld", "st", "mx", "mx1", "vx", "vx1"]
    assert measurement.performance.bound_cycles["mx"] == 32 * 32 * 64 // (2 * 1024)
    busy = {row.engine: row.busy_cycles for row in measurement.engines}
    assert busy["mx"] == busy["mx1"] == 2 * 32


def test_engines_of_a_kind_race_unless_they_wait(twins):
    with pytest.raises(RaceError):
        Session(twins(HALVES.replace("out=sram+8192 @mx:1", "out=sram+10240 @mx:1"))).check()
