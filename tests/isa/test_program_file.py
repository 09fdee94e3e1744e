import dataclasses
import json

import numpy as np
import pytest
import safetensors

from attnc.isa.blocks import Space
from attnc.isa.container import container_parts, read_container
from attnc.isa.errors import OutputError, ProgramFileError
from attnc.isa.occupancy import Occupancy
from attnc.isa.program import Program, Segment
from attnc.isa.state import State
from attnc.isa.table import TableBuilder


def test_a_program_comes_back_whole(small_program, tmp_path):
    path = tmp_path / "p.attn"
    small_program.save(path)
    again = Program.load(path)
    assert again.to_bytes() == path.read_bytes()
    assert again.digest == small_program.digest
    for name in (
        "machine",
        "inputs",
        "outputs",
        "nodes",
        "memory_map",
        "recipe",
        "folded",
        "dram_bytes",
        "batchable",
    ):
        assert getattr(again, name) == getattr(small_program, name), name
    np.testing.assert_array_equal(again.segments[0].array, small_program.segments[0].array)
    assert again.row_nodes(4) == ("load", "/layer/MatMul")
    assert [item.name for item in tmp_path.iterdir()] == ["p.attn"]


def test_the_program_runs_to_its_values(small_program):
    dram = small_program.initial_dram()
    x = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    dram[:64] = x.view(np.uint8).ravel()
    state = State(small_program.machine, dram)
    for _, instruction in small_program.table.walk():
        instruction.perform(state)
    from math import erf

    product = x.astype(np.float64) @ small_program.segments[0].array
    wanted = np.vectorize(lambda v: 0.5 * v * (1 + erf(v / 2**0.5)))(product)
    np.testing.assert_allclose(dram[128:192].view(np.float32).reshape(4, 4), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(dram[192:208].view(np.float32), wanted.max(1), rtol=1e-5, atol=1e-6)


def test_the_container_is_a_safetensors_file(small_program, tmp_path):
    path = tmp_path / "p.attn"
    small_program.save(path)
    with safetensors.safe_open(path, "np") as file:
        assert list(file.metadata()) == ["attnc"]
        assert json.loads(file.metadata()["attnc"])["digest"] == small_program.digest
        np.testing.assert_array_equal(file.get_tensor('weight:a "weight" > 1'), small_program.segments[0].array)
        assert file.get_tensor("words").shape == (8, 64)


def test_every_flipped_byte_is_one_clear_error(small_program):
    content = small_program.to_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        with pytest.raises(ProgramFileError):
            Program.from_bytes(damaged)


def test_every_truncation_is_one_clear_error(small_program):
    content = bytes(small_program.to_bytes())
    for length in [*range(200), *range(200, len(content), 97)]:
        with pytest.raises(ProgramFileError):
            Program.from_bytes(content[:length])


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 4096, b"\xff" * 4096])
def test_other_files_are_no_programs(content):
    with pytest.raises(ProgramFileError, match="is not an attnc program"):
        Program.from_bytes(content)


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(ProgramFileError, match="cannot be read"):
        Program.load(tmp_path / "none.attn")


def rewritten(program, change=None, **tensor_changes):
    metadata, tensors = read_container(program.to_bytes(), "p")
    del metadata["digest"]
    if change is not None:
        change(metadata)
    tensors.update(tensor_changes)
    return b"".join(container_parts(metadata, tensors))


def put(*path_and_value):
    *path, last, value = path_and_value

    def change(metadata):
        table = metadata
        for key in path:
            table = table[key]
        table[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (put("format_version", 99), "has format version 99, this attnc reads version 3"),
        (put("isa", "0" * 32), "was compiled for instruction set 0000"),
        (put("surprise", 1), "unknown metadata: surprise"),
        (put("dram_bytes", -1), "has dram_bytes -1"),
        (put("dram_bytes", True), "has dram_bytes that is no int"),
        (put("dram_bytes", 1 << 40), "its machine has"),
        (put("dram_bytes", 64), "outside the 64 bytes of dram"),
        (put("machine", "sram", "bytes", 64), "outside the 64 bytes of sram"),
        (put("machine", "sram", "bytes", "x"), "machine that is not valid"),
        (put("machine", "engines", "vx", 0), "machine that is not valid"),
        (put("weights", 'a "weight" > 1', 250), "past the end"),
        (put("weights", 'a "weight" > 1', 32), "on the same bytes"),
        (put("weights", "other", 0), "weights without an address"),
        (put("inputs", 0, "format", "f99"), "no number format"),
        (put("inputs", 0, "shape", [4, -1]), "a size of 'x'"),
        (put("inputs", 0, "shape", [4, 4000]), "past the end"),
        (put("inputs", 0, "low", "a"), "with low 'a'"),
        (put("outputs", 1, "name", "y"), "outputs of equal names"),
        (
            put("further_instructions", {"ld.fill": ["pack", "0" * 32]}),
            "ld.fill of package pack, which is not",
        ),
        (put("further_instructions", {"ld.fill": 1}), "without its 2 parts"),
        (put("nodes", 0, ["a"]), "without its 4 parts"),
        (put("memory_map", 0, 2, 1000), "past the end of dram"),
        (put("memory_map", 0, 1, "disk"), "unknown memory 'disk'"),
        (put("buffers", 0, 1, "dram"), "'tile' on chip in the memory 'dram'"),
        (put("buffers", 0, 2, 1 << 40), "occupancy past the end of a memory"),
        (put("buffers", 0, 3, 1), "'tile' with resident 1"),
        (put("buffers", [["a"]]), "without its 4 parts"),
        (put("buffers", []), "occupancy that does not fit its buffers"),
    ],
)
def test_a_wrong_entry_is_named(small_program, change, reason):
    with pytest.raises(ProgramFileError, match=reason):
        Program.from_bytes(rewritten(small_program, change))


def test_a_source_map_that_does_not_fit_is_refused(small_program):
    with pytest.raises(ProgramFileError, match="source map"):
        Program.from_bytes(rewritten(small_program, source_nodes=np.array([0, 1, 0, 2])))


@pytest.mark.parametrize(
    ("stays", "reason"),
    [
        (np.zeros((3, 1), np.int32), "occupancy of shape"),
        (np.zeros((4, 1), np.int64), "occupancy of shape"),
        (np.array([[0], [0], [3], [2]], np.int32), "does not fit its instructions"),
        (np.array([[0], [0], [3], [8]], np.int32), "does not fit its instructions"),
        (np.array([[0, 0], [0, 0], [3, 2], [4, 4]], np.int32), "does not fit its instructions"),
        (np.array([[1] * 1025, [0] * 1025, [0] * 1025, [0] * 1025], np.int32), "more into acc than it holds"),
    ],
)
def test_an_occupancy_that_cannot_be_is_refused(small_program, stays, reason):
    with pytest.raises(ProgramFileError, match=reason):
        Program.from_bytes(rewritten(small_program, occupancy=stays))


def test_the_occupancy_comes_back_and_counts_its_bytes(small_program):
    found = Program.from_bytes(small_program.to_bytes()).occupancy
    assert found.buffers == small_program.occupancy.buffers
    np.testing.assert_array_equal(found.table(), small_program.occupancy.table())
    assert found.live_bytes(Space.SRAM, 8).tolist() == [64, 64, 64, 0, 64, 64, 64, 0]
    assert found.within(Space.ACC).tolist() == [1]


def test_words_that_are_no_instructions_are_refused(small_program):
    words = np.array(read_container(small_program.to_bytes(), "p")[1]["words"])
    words[3, 0] = 0xEE
    with pytest.raises(ProgramFileError, match="instruction 3: 0xee is no opcode"):
        Program.from_bytes(rewritten(small_program, words=words))


def test_an_instruction_in_another_engines_queue_is_refused(small_program):
    words = np.array(read_container(small_program.to_bytes(), "p")[1]["words"])
    words[7, 1] = (words[7, 1] & 0xF0) | 2
    with pytest.raises(ProgramFileError, match="no st engine's"):
        Program.from_bytes(rewritten(small_program, words=words))


def test_two_weights_of_one_name_cannot_be_written(small_program):
    twice = (*small_program.segments, Segment('a "weight" > 1', 208, np.zeros(4, np.int8)))
    with pytest.raises(ProgramFileError, match="two weights"):
        dataclasses.replace(small_program, segments=twice).to_bytes()


def test_saving_into_a_missing_folder_leaves_nothing(small_program, tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        small_program.save(tmp_path / "none" / "p.attn")
    assert not list(tmp_path.iterdir())


def test_an_empty_program_is_a_program(small_program):
    empty = dataclasses.replace(
        small_program,
        table=TableBuilder().build(),
        occupancy=Occupancy(),
        source_offsets=np.zeros(0, np.int64),
        source_nodes=np.zeros(0, np.int64),
    )
    assert len(Program.from_bytes(empty.to_bytes()).table) == 0
