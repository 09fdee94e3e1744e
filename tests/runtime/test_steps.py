"""Prepared steps against instructions performed one by one, on the random programs of the second executor."""

import numpy as np
import pytest

from attnc.isa.program import Program
from attnc.isa.state import State
from attnc.runtime import values
from attnc.runtime.values import Executor

from ..isa.test_second_executor import DRAM, MACHINE, USED, Generator


def filled(state, generator):
    state.dram[:], state.sram[:USED] = generator.memory()[:DRAM], generator.memory()
    state.acc[:1024] = generator.memory()[512:1536]


def compare(seed):
    """The program of a seed by prepared steps and by its instructions one by one: the same bytes everywhere."""
    generator = Generator(seed)
    table = generator.table()
    memory = np.random.default_rng(seed).bit_generator.state
    executor = Executor(Program(MACHINE, table, (), (), (), DRAM))
    state = State(MACHINE, np.zeros(DRAM, dtype=np.uint8), executor.state.sram[-1])
    generator.random.bit_generator.state = memory
    filled(state, generator)
    generator.random.bit_generator.state = memory
    filled(executor.state, generator)
    for _, instruction in table.walk():
        instruction.perform(state)
    executor.run()
    for name in ("dram", "sram", "acc"):
        np.testing.assert_array_equal(getattr(executor.state, name), getattr(state, name), f"{name}, seed {seed}")
    assert executor.state.extent_registers == state.extent_registers


@pytest.mark.parametrize("block", range(4))
def test_prepared_steps_do_what_performing_each_instruction_does(block):
    for seed in range(1000 + 25 * block, 1025 + 25 * block):
        compare(seed)


def test_so_do_steps_whose_bits_are_counted_by_compiled_code(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr(values, "COMPILED_FROM", 0)
    for seed in range(1000, 1050):
        compare(seed)
