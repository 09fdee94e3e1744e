"""A small program that uses four engines: y = gelu(x @ w), and the largest of each row of y."""

import numpy as np
import pytest

from attnc.isa.blocks import Space
from attnc.isa.fields import ACC_BIT
from attnc.isa.formats import Format
from attnc.isa.instructions import VectorProgram
from attnc.isa.lanes import LaneProgram
from attnc.isa.machine import load_machine
from attnc.isa.occupancy import ChipBuffer, Occupancy
from attnc.isa.program import MemoryEntry, Node, Note, Program, Segment, Signature
from attnc.isa.table import TableBuilder


@pytest.fixture
def edge():
    return load_machine("edge")


@pytest.fixture
def small_program(edge):
    ld, st, mx, vx = range(4)
    builder = TableBuilder()
    copy = {"element": 2, "n3": 16, "dram_stride3": 4, "chip_stride3": 4}
    builder.append("ld.block", ld, {**copy, "dram": 0, "chip": 0})
    builder.append("ld.block", ld, {**copy, "dram": 64, "chip": 64})
    product = {"mode": 0, "m": 4, "n": 4, "k": 4, "acc_stride": 16, "a_stride": 16, "b_stride": 16}
    builder.append("mx.product", mx, {**product, "acc": ACC_BIT, "a": 0, "b": 64})
    program = LaneProgram.parse("r0 = gelu(a); out r0; reduce max(r0)")
    builder.append("vx.program", vx, VectorProgram.encoded(0, program))
    stream = {"a": ACC_BIT, "a_stride": 16, "a_format": 0, "out": 128, "out_stride": 16, "out_format": 0}
    reduced = {"reduction0": 192, "reduction0_direction": 1}
    builder.append("vx.pass", vx, {"slot": 0, "rows": 4, "columns": 4, **stream, **reduced})
    builder.append("sync", st, {})
    builder.append("st.block", st, {**copy, "dram": 128, "chip": 128})
    builder.append("st.block", st, {**copy, "n3": 4, "dram": 192, "chip": 192})
    table = builder.build()
    table.set_waits(2, [(ld, 2)])
    table.set_waits(4, [(mx, 1)])
    table.set_waits(5, [(vx, 2)])
    weight = np.arange(16, dtype=np.float32).reshape(4, 4) / 8
    return Program(
        machine=edge,
        table=table,
        segments=(Segment('a "weight" > 1', 64, weight),),
        inputs=(Signature("x", "float", Format.F32, (4, 4), 0),),
        outputs=(
            Signature("y", "float", Format.F32, (4, 4), 128),
            Signature("top", "float", Format.F32, (4,), 192),
        ),
        dram_bytes=256,
        nodes=(Node("load", "Identity"), Node("/layer/MatMul", "MatMul", "encoder.0", "")),
        source_offsets=np.array([0, 1, 1, 2, 2, 4, 4, 4, 4]),
        source_nodes=np.array([0, 1, 0, 1]),
        memory_map=(
            MemoryEntry('a "weight" > 1', Space.DRAM, 64, 64, "weight"),
            MemoryEntry("x", Space.DRAM, 0, 64, "input"),
            MemoryEntry("scores", Space.ACC, 0, 64, "buffer"),
        ),
        occupancy=Occupancy(
            (ChipBuffer("tile", Space.SRAM, 64, False), ChipBuffer("scores", Space.ACC, 64, True)),
            buffer=np.array([0, 1, 0]),
            address=np.array([0, 0, 128]),
            first=np.array([0, 2, 4]),
            last=np.array([2, 4, 6]),
        ),
        recipe={"precision": "model"},
        folded=(Note("Constant_3", "fold", "constant"),),
    )
