"""Small programs written by hand, in assembly."""

from dataclasses import replace

import numpy as np
import pytest

from attnc.isa.assembly import assemble
from attnc.isa.program import Node, Program
from attnc.runtime.waits import Waits

WEIGHT = (np.arange(64 * 32) % 7 - 3).astype(np.int8).reshape(64, 32)

PRODUCT_STRIDES = "acc_stride=128 a_stride=64 b_stride=32"
PASS_OPERANDS = "a=acc+0 a_stride=128 a_format=i32 out=sram+8192 out_stride=128 out_format=f32"

LINEAR = f"""
.machine "edge"
.input "x" type=int8 format=i8 shape=32x64 at=dram+0
.weight "w" at=dram+2048 format=i8 shape=64x32 bytes={WEIGHT.tobytes().hex()}
.output "y" type=float format=f32 shape=32x32 at=dram+4096
ld ld.block element=1 dram=dram+0 chip=sram+0 n3=2048 dram_stride3=1 chip_stride3=1
ld ld.block element=1 dram=dram+2048 chip=sram+2048 n3=2048 dram_stride3=1 chip_stride3=1
mx mx.product mode=i8 acc=acc+0 a=sram+0 b=sram+2048 m=32 n=32 k=64 {PRODUCT_STRIDES} @ld:2
vx vx.program slot=0 program="r0 = to_float(a); r1 = mul(r0, 0.5); out r1"
vx vx.pass slot=0 rows=32 columns=32 {PASS_OPERANDS} @mx:1
st st.block element=4 dram=dram+4096 chip=sram+8192 n3=1024 dram_stride3=4 chip_stride3=4 @vx:2
"""

GATHER = """
.machine "edge"
.input "ids" type=int64 format=i32 shape=4 at=dram+0 low=0 high=7
.weight "table" at=dram+64 format=i8 shape=8x64 npy="table.npy"
.output "rows" type=int8 format=i8 shape=4x64 at=dram+640
ld ld.block element=4 dram=dram+0 chip=sram+0 n3=4 dram_stride3=4 chip_stride3=4
ld ld.gather table=dram+64 pitch=64 limit=8 ids=sram+0 count=4 row_bytes=64 chip=sram+64 chip_stride=64
st st.block element=1 dram=dram+640 chip=sram+64 n3=256 dram_stride3=1 chip_stride3=1 @ld:2
"""

EXTENT = """
.machine "edge"
.input "count" type=int32 format=i32 shape=1 at=dram+0
.input "x" type=int8 format=i8 shape=256 at=dram+64
.output "y" type=int8 format=i8 shape=256 at=dram+320
ld ld.block element=4 dram=dram+0 chip=sram+0 n3=1 dram_stride3=4 chip_stride3=4
ld load.extent register=5 address=sram+0 maximum=256
ld ld.block element=1 dram=dram+64 chip=sram+64 n3=e5 dram_stride3=1 chip_stride3=1
st st.block element=1 dram=dram+320 chip=sram+64 n3=e5 dram_stride3=1 chip_stride3=1 @ld:3
"""


def waits_of(rows) -> Waits:
    """The waits of a schedule, for each row the rows that it waits for."""
    pairs = [(row, waited) for row, own in enumerate(rows) for waited in own]
    waiting, waited = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return Waits.of_pairs(waiting, waited, len(rows))


def with_nodes(program: Program, operators: list[str], of_row: list[list[int]]) -> Program:
    """`program` with nodes n0, n1, ... of these operators; `of_row` has each row's nodes."""
    return replace(
        program,
        nodes=tuple(Node(f"n{index}", operator) for index, operator in enumerate(operators)),
        source_offsets=np.cumsum([0, *map(len, of_row)]),
        source_nodes=np.array([node for nodes in of_row for node in nodes], dtype=np.int64),
    )


@pytest.fixture
def linear() -> Program:
    """y = 0.5 * (x @ w): two loads, a product, a pass, a store; nodes n0 (MatMul) and n1 (Mul)."""
    rows = [[0], [0], [0, 1], [0, 1], [0, 1], [1]]
    return with_nodes(assemble(LINEAR), ["MatMul", "Mul"], rows)


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).integers(-128, 128, (32, 64)).astype(np.int8)


@pytest.fixture
def gather(tmp_path) -> Program:
    """rows = table[ids]."""
    table = np.arange(512).astype(np.int8).reshape(8, 64)
    np.save(tmp_path / "table.npy", table)
    return assemble(GATHER, folder=tmp_path)


@pytest.fixture
def extent() -> Program:
    """y[:count] = x[:count], the count read into an extent register."""
    return assemble(EXTENT)
