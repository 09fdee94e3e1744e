import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc.isa.errors import Fault
from attnc.isa.fields import ACC_BIT, extent_register
from attnc.isa.formats import Format
from attnc.isa.instructions import (
    Gather,
    LoadBlock,
    LoadExtent,
    Product,
    Scatter,
    SetExtent,
    StoreBlock,
    VectorPass,
    VectorProgram,
)
from attnc.isa.lanes import LaneProgram
from attnc.isa.machine import load_machine
from attnc.isa.state import State

EDGE = load_machine("edge")


def state_of(size=4096, seed=0):
    state = State(EDGE, np.random.default_rng(seed).integers(0, 256, size).astype(np.uint8))
    state.sram[:] = np.random.default_rng(seed + 1).integers(0, 256, len(state.sram))
    return state


@given(
    width=st.sampled_from([1, 2, 4]),
    extents=st.lists(st.integers(0, 4), min_size=4, max_size=4),
    order=st.permutations(range(4)),
    reverse=st.lists(st.booleans(), min_size=4, max_size=4),
    load=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_block_copies_move_each_element_to_its_place(width, extents, order, reverse, load):
    state = state_of()
    # Dense on one side, permuted and partly reversed on the other.
    dense, place = [0] * 4, width
    for axis in reversed(range(4)):
        dense[axis] = place
        place *= max(extents[axis], 1)
    strided, step, base = [0] * 4, width, 1024
    for axis in order:
        strided[axis] = -step if reverse[axis] else step
        base += max(extents[axis] - 1, 0) * step if reverse[axis] else 0
        step *= max(extents[axis], 1)
    record = LoadBlock if load else StoreBlock
    fields = {f"n{i}": extents[i] for i in range(4)}
    fields |= {f"dram_stride{i}": strided[i] for i in range(4)}
    fields |= {f"chip_stride{i}": dense[i] for i in range(4)}
    instruction = record(element=width // 2, dram=base, chip=512, **fields)
    assert not any(wrong for wrong, _ in instruction.faults(EDGE))
    dram, sram = state.dram.copy(), state.sram.copy()
    for index in itertools.product(*(range(n) for n in extents)):
        outer = base + sum(i * s for i, s in zip(index, strided, strict=True))
        inner = 512 + sum(i * s for i, s in zip(index, dense, strict=True))
        if load:
            sram[inner : inner + width] = state.dram[outer : outer + width]
        else:
            dram[outer : outer + width] = state.sram[inner : inner + width]
    instruction.perform(state)
    np.testing.assert_array_equal(state.dram, dram)
    np.testing.assert_array_equal(state.sram, sram)


def test_elements_that_would_land_on_one_another_are_a_fault():
    wrong = LoadBlock(
        element=2,
        dram=0,
        chip=0,
        n2=2,
        n3=8,
        dram_stride2=64,
        chip_stride2=16,
        dram_stride3=4,
        chip_stride3=4,
    )
    assert [reason for bad, reason in wrong.faults(EDGE) if bad] == ["target dimensions do not nest: elements overlap"]
    broadcast = LoadBlock(element=2, dram=0, chip=0, n2=2, n3=8, chip_stride2=32, dram_stride3=4, chip_stride3=4)
    assert not any(bad for bad, _ in broadcast.faults(EDGE))


def put_ids(state, ids, address=1024):
    state.sram[address : address + 4 * len(ids)] = np.array(ids, np.int32).view(np.uint8)


def test_gather_takes_rows_by_id():
    state = state_of()
    put_ids(state, [3, 0, 3])
    table = state.dram[64:].copy()
    Gather(table=64, pitch=20, limit=4, ids=1024, count=3, row_bytes=12, chip=0, chip_stride=16).perform(state)
    for place, row in enumerate([3, 0, 3]):
        assert state.sram[place * 16 : place * 16 + 12].tolist() == table[row * 20 : row * 20 + 12].tolist()


def test_scatter_keeps_the_last_of_equal_ids():
    state = state_of()
    put_ids(state, [2, 1, 2])
    rows = state.sram[:48].reshape(3, 16).copy()
    Scatter(table=0, pitch=16, limit=3, ids=1024, count=3, row_bytes=16, chip=0, chip_stride=16).perform(state)
    assert state.dram[32:48].tolist() == rows[2].tolist()
    assert state.dram[16:32].tolist() == rows[1].tolist()


@pytest.mark.parametrize("wrong", [-1, 4, -(2**31)])
def test_an_id_out_of_range_is_named(wrong):
    state = state_of()
    put_ids(state, [0, wrong])
    gather = Gather(table=0, pitch=16, limit=4, ids=1024, count=2, row_bytes=16, chip=0, chip_stride=16)
    with pytest.raises(Fault, match=rf"id {wrong} at place 1 is outside 0\.\.3"):
        gather.perform(state)


@pytest.mark.parametrize("transpose", [0, 1])
@pytest.mark.parametrize("accumulate", [0, 1])
def test_products_accumulate_and_transpose(transpose, accumulate):
    state = state_of()
    rng = np.random.default_rng(5)
    a, b = rng.integers(-128, 128, (3, 10)).astype(np.int8), rng.integers(-128, 128, (10, 6)).astype(np.int8)
    state.sram[:64].view(np.int8)[:48].reshape(3, 16)[:, :10] = a
    stored = b.T if transpose else b
    state.sram[256:].view(np.int8)[: 16 * len(stored)].reshape(-1, 16)[:, : stored.shape[1]] = stored
    old = np.arange(18, dtype=np.int32).reshape(3, 6)
    acc = state.acc[: 3 * 32].view(np.int32).reshape(3, 8)
    acc[:, :6] = old
    Product(
        mode=3,
        acc=ACC_BIT,
        a=0,
        b=256,
        m=3,
        n=6,
        k=10,
        acc_stride=32,
        a_stride=16,
        b_stride=16,
        accumulate=accumulate,
        transpose_b=transpose,
    ).perform(state)
    wanted = a.astype(np.int64) @ b.astype(np.int64) + old * accumulate
    np.testing.assert_array_equal(acc[:, :6], wanted)


def run_pass(state, text, **fields):
    VectorProgram(**VectorProgram.encoded(0, LaneProgram.parse(text))).perform(state)
    VectorPass(slot=0, **fields).perform(state)


def test_a_pass_reads_converts_and_writes():
    state = state_of()
    a = np.array([[1, -2, 3], [4, 5, -6]], np.float16)
    state.sram[:16].view(np.float16).reshape(2, 4)[:, :3] = a
    state.sram[64:67].view(np.int8)[:] = [10, 20, 30]
    state.acc[:8].view(np.float32)[:] = [0.5, 2.0]
    run_pass(
        state,
        "r0 = mul(a, c1); r1 = to_float(c0); r2 = add(r0, r1); out r2; reduce sum(r2); reduce min(a)",
        rows=2,
        columns=3,
        a=0,
        a_stride=8,
        a_format=Format.F16.code,
        out=128,
        out_stride=4,
        out_format=Format.I8.code,
        c0=64,
        c0_kind=2,
        c0_format=Format.I8.code,
        c1=ACC_BIT,
        c1_kind=3,
        c1_format=Format.F32.code,
        reduction0=256,
        reduction0_direction=1,
        reduction1=320,
        reduction1_direction=2,
    )
    wide = a.astype(np.float32) * np.array([[0.5], [2.0]], np.float32) + np.array([10, 20, 30], np.float32)
    assert state.sram[128:136].view(np.int8).reshape(2, 4)[:, :3].tolist() == np.trunc(wide).tolist()
    assert state.sram[256:264].view(np.float32).tolist() == wide.sum(1).tolist()
    assert state.sram[320:332].view(np.float32).tolist() == [1.0, -2.0, -6.0]


def test_reductions_join_their_old_values():
    state = state_of()
    state.sram[:12].view(np.int32)[:] = [5, 7, -1]
    state.sram[64:68].view(np.int32)[:] = [100]
    state.sram[68:72].view(np.int32)[:] = [6]
    run_pass(
        state,
        "reduce sum(a); reduce max(a)",
        rows=1,
        columns=3,
        a=0,
        a_stride=12,
        a_format=Format.I32.code,
        reduction0=64,
        reduction0_direction=1,
        reduction1=68,
        reduction1_direction=1,
        accumulate=1,
    )
    assert state.sram[64:72].view(np.int32).tolist() == [111, 7]


def test_a_pass_may_write_over_what_it_reads():
    state = state_of()
    state.sram[:32].view(np.float32)[:] = np.arange(8)
    # The output lies one element behind the input: an element-wise loop in place would smear the first value.
    run_pass(
        state,
        "out a",
        rows=1,
        columns=7,
        a=0,
        a_stride=28,
        a_format=Format.F32.code,
        out=4,
        out_stride=28,
        out_format=Format.F32.code,
    )
    assert state.sram[:32].view(np.float32).tolist() == [0, 0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("text", "fields", "reason"),
    [
        ("r0 = add(a, b); out r0", {}, "uses b"),
        (
            "reduce sum(a)",
            {"reduction0_direction": 1},
            "writes an element stream and the pass has none, or the reverse",
        ),
        ("out a; reduce sum(a)", {}, "1 reductions, the pass 0"),
        ("out a; reduce mean(a)", {"reduction0_direction": 1, "accumulate": 1}, "mean cannot accumulate"),
    ],
)
def test_a_pass_that_does_not_fit_its_program_faults(text, fields, reason):
    common = {
        "rows": 1,
        "columns": 4,
        "a_format": 0,
        "a_stride": 16,
        "out": 64,
        "out_stride": 16,
        "out_format": 0,
    }
    with pytest.raises(Fault, match=reason):
        run_pass(state_of(), text, **common, **fields)


def test_an_empty_slot_faults():
    with pytest.raises(Fault, match="slot 7 holds no program"):
        VectorPass(slot=7, rows=1, columns=1, a_format=0).perform(state_of())


def test_slots_belong_to_their_queue():
    state = state_of()
    writer = VectorProgram(**VectorProgram.encoded(0, LaneProgram.parse("out 1.0")), queue=3)
    writer.perform(state)
    with pytest.raises(Fault, match="holds no program"):
        VectorPass(slot=0, rows=1, columns=1, out_format=0, queue=4).perform(state)


def test_extents_in_registers_are_resolved():
    state = state_of()
    before = state.sram[:64].copy()
    SetExtent(register=3, value=2, maximum=4).perform(state)
    copy = {"element": 2, "dram": 0, "chip": 0, "dram_stride3": 4, "chip_stride3": 4}
    LoadBlock(**copy, n3=extent_register(3)).perform(state)
    assert state.sram[:8].tolist() == state.dram[:8].tolist()
    assert state.sram[8:64].tolist() == before[8:].tolist()


def test_an_extent_of_zero_does_nothing():
    state = state_of()
    before = state.sram.copy()
    SetExtent(register=3, value=0, maximum=4).perform(state)
    LoadBlock(element=2, dram=1 << 30, chip=0, n3=extent_register(3)).perform(state)
    Product(mode=0, acc=ACC_BIT, a=0, b=0, m=4, n=4, k=0, acc_stride=16).perform(state)
    VectorPass(slot=9, rows=0, columns=4).perform(state)
    np.testing.assert_array_equal(state.sram, before)
    assert not state.acc.any()


@pytest.mark.parametrize("value", [-1, 5])
def test_a_loaded_extent_above_its_maximum_faults(value):
    state = state_of()
    state.sram[:4].view(np.int32)[:] = value
    with pytest.raises(Fault, match=rf"extent e2 would be {value}, declared 0\.\.4"):
        LoadExtent(register=2, address=0, maximum=4).perform(state)


def test_leaving_a_memory_faults():
    with pytest.raises(Fault, match="outside its 4096 bytes"):
        LoadBlock(element=2, dram=4094, chip=0).perform(state_of())
    with pytest.raises(Fault, match="SRAM are outside"):
        LoadBlock(element=2, dram=64, chip=0, n3=2, chip_stride3=-4, dram_stride3=4).perform(state_of())
