import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc.isa.errors import Fault
from attnc.isa.fields import Choice, Wait
from attnc.isa.instructions import RECORDS, RECORDS_BY_OPCODE, VectorProgram
from attnc.isa.lanes import LaneProgram
from attnc.isa.record import HEADER_BITS, WORD_BITS, Cost, Instruction, collect, instruction, unsigned
from attnc.isa.table import Table, TableBuilder


def values_of(item):
    kind = item.kind
    if isinstance(kind, Wait):
        return st.just(-1)
    if isinstance(kind, Choice):
        return st.sampled_from([code for code, _ in kind.names])
    return st.one_of(st.sampled_from([kind.low, kind.high]), st.integers(kind.low, kind.high))


def instructions(mnemonic):
    record = RECORDS[mnemonic]
    if mnemonic == "vx.program":
        texts = st.sampled_from(["r0 = add(a, c0); out r0", "out 1.5", "r0 = mul(a, -3); out r0; reduce max(r0)"])
        return st.builds(
            lambda slot, text: VectorProgram.encoded(slot, LaneProgram.parse(text)), st.integers(0, 31), texts
        )
    return st.fixed_dictionaries({item.name: values_of(item) for item in record.fields})


@pytest.mark.parametrize("mnemonic", sorted(RECORDS))
@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_every_field_comes_back_from_the_word(mnemonic, data):
    rows = data.draw(st.lists(instructions(mnemonic), min_size=1, max_size=3))
    builder = TableBuilder()
    for row in rows:
        builder.append(mnemonic, 3, row)
    words = builder.build().encode()
    table = Table.decode(words)
    for place, row in enumerate(rows):
        values = table.values(place)
        assert values.pop("queue") == 3
        assert values == row
    np.testing.assert_array_equal(table.encode(), words)


def test_random_words_are_an_instruction_or_a_fault():
    rng = np.random.default_rng(0)
    words = rng.integers(0, 256, (10000, 64)).astype(np.uint8)
    opcodes = list(RECORDS_BY_OPCODE)
    # Half of them get a true opcode and few stray bits, so that decoding goes deeper than the first check.
    words[::2, 0] = rng.choice(opcodes, 5000)
    words[::4, 9:] &= rng.integers(0, 256, (2500, 55)).astype(np.uint8) & rng.integers(0, 256, (2500, 55)).astype(
        np.uint8
    )
    for index, opcode in enumerate(words[::4, 0]):
        record = RECORDS_BY_OPCODE[int(opcode)]
        last = max(item.offset + item.kind.bits for item in record.fields)
        mask = np.frombuffer(((1 << last) - 1).to_bytes(64, "little"), np.uint8).copy()
        mask[1] &= 0x0F
        mask[2:9] = 0
        words[index * 4] &= mask
        words[index * 4, 0] = opcode
    decoded = 0
    reasons: set[str] = set()
    for word in words:
        try:
            table = Table.decode(word[None, :])
        except Fault as fault:
            reasons.add(fault.reason)
        else:
            decoded += 1
            np.testing.assert_array_equal(table.encode()[0], word)
    assert decoded > 100
    assert len(reasons) > 20


def test_decoding_names_the_row():
    builder = TableBuilder()
    builder.append("sync", 0, {})
    builder.append("sync", 1, {})
    words = builder.build().encode()
    words[1, 0] = 0xEE
    with pytest.raises(Fault, match="instruction 1: 0xee is no opcode"):
        Table.decode(words)


def table_of(queues):
    builder = TableBuilder()
    builder.append("sync", np.array(queues), {"wait0": np.full(len(queues), -1)})
    return builder.build()


def test_waits_keep_absolute_counts_over_the_window():
    table = table_of([0] * 70000 + [1])
    table.set_waits(70000, [(0, 69999)])
    again = Table.decode(table.encode())
    assert again.row_waits(70000) == [(0, 69999)]


def test_sync_carries_fifteen_waits():
    table = table_of([0] * 15 + [1])
    waits = [(0, count) for count in range(1, 16)]
    table.set_waits(15, waits)
    again = Table.decode(table.encode())
    assert again.row_waits(15) == waits
    row, queue, count = again.waits()
    assert row.tolist() == [15] * 15
    assert queue.tolist() == [0] * 15
    assert sorted(count.tolist()) == list(range(1, 16))


@pytest.mark.parametrize("count", [0, 2, 3])
def test_a_wait_names_an_earlier_instruction_only(count):
    table = table_of([0, 1, 0])
    table.set_waits(1, [(0, count)])
    with pytest.raises(Fault, match="instruction 1: a wait names no earlier"):
        table.encode()


def test_a_wait_for_what_is_not_there_is_refused_when_read():
    table = table_of([0, 1])
    table.set_waits(1, [(0, 1)])
    words = table.encode()
    words[1, 1] = (words[1, 1] & 0x0F) | 0x20  # the low bits of the count: now 2
    with pytest.raises(Fault, match="names no earlier"):
        Table.decode(words)


def test_waits_stand_without_gaps():
    table = table_of([0, 1])
    table.wait_queue[1, 1] = 0
    table.wait_count[1, 1] = 1
    with pytest.raises(Fault, match="empty place"):
        table.encode()


def test_a_value_that_does_not_fit_is_named():
    builder = TableBuilder()
    builder.append("set.extent", 0, {"register": 40, "value": 1, "maximum": 1})
    with pytest.raises(Fault, match=r"set.extent register = 40 is not legal"):
        builder.build().encode()


def test_reordering_moves_whole_rows():
    builder = TableBuilder()
    builder.append("set.extent", np.array([0, 1, 2]), {"register": np.arange(3), "value": 5, "maximum": 9})
    builder.append("sync", 4, {})
    table = builder.build(np.array([3, 2, 0, 1]))
    assert [table.record(row).mnemonic for row in range(4)] == [
        "sync",
        "set.extent",
        "set.extent",
        "set.extent",
    ]
    assert [table.values(row).get("register") for row in range(4)] == [None, 2, 0, 1]
    assert table.queue.tolist() == [4, 2, 0, 1]
    assert [(row, item.mnemonic, item.queue) for row, item in table.walk(1, 3)] == [
        (1, "set.extent", 2),
        (2, "set.extent", 0),
    ]


def test_fields_cover_their_bits_once():
    for record in RECORDS.values():
        place = HEADER_BITS
        for item in record.fields:
            assert item.offset == place
            place += item.kind.bits
        assert place <= WORD_BITS


class Complete(Instruction):
    """Does nothing."""

    def reads(self):
        return ()

    def writes(self):
        return ()

    def cost(self, machine):
        return Cost(busy=0)

    def execute(self, state):
        return None


def test_an_incomplete_record_is_refused():
    class Silent(Instruction):
        """Lacks everything."""

    with pytest.raises(TypeError, match="reads is missing"):
        instruction("x.silent", engine=None, opcode=0x70)(Silent)


def test_a_record_larger_than_a_word_is_refused():
    class Wide(Complete):
        """Too many fields."""

    for index in range(8):
        setattr(Wide, f"f{index}", unsigned("a number", 60))
    with pytest.raises(TypeError, match="fields need 552 bits"):
        instruction("x.wide", engine=None, opcode=0x70)(Wide)


def test_two_records_cannot_share_an_opcode():
    first = instruction("x.first", engine=None, opcode=0x70)(type("First", (Complete,), {"__doc__": "One."}))
    second = instruction("x.second", engine=None, opcode=0x70)(type("Second", (Complete,), {"__doc__": "Two."}))
    with pytest.raises(TypeError, match="share opcode"):
        collect((first, second))
