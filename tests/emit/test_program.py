"""What a program tells besides its instructions, and what emission refuses."""

from collections.abc import Callable

import numpy as np
import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp

from attnc.dialects.constants import ConstantStore
from attnc.dialects.provenance import FoldedNode, fuse, node_location, record_folded
from attnc.dialects.tile import KernelOp
from attnc.isa.blocks import Space
from attnc.isa.errors import CapacityError
from attnc.isa.program import Note, Program
from attnc.passes.emit.emit import ModelFacts, emit
from attnc.passes.schedule.lower_tile import LowerTile

TWO_KERNELS = """
func.func @main() {
  %x = tile.tensor input "x" : !tile.buffer<dram, 8x64xf32>
  %w = tile.tensor weight "w" key "shared" : !tile.buffer<dram, 64xf32>
  %v = tile.tensor weight "v" key "shared" : !tile.buffer<dram, 64xf32>
  %unused = tile.tensor weight "unused" key "unused" : !tile.buffer<dram, 64xf32>
  %y = tile.tensor output "y" : !tile.buffer<dram, 8x64xf32>
  %h = tile.alloc : !tile.buffer<sram, 8x64xf32>
  tile.kernel "first" path "encoder.0.ffn" (%h) {
    %b = tile.alloc : !tile.buffer<sram, 64xf32>
    tile.copy %x<0 [8, 64] [64, 1]> to %h<0 [8, 64] [64, 1]>
    tile.copy %w<0 [64] [1]> to %b<0 [64] [1]>
    tile.pass "r0 = add(a, c0); out r0" over 8 by 64 stream %h<0 [8, 64] [64, 1]> row %b<0 [64] [1]>
      out %h<0 [8, 64] [64, 1]>
  }
  tile.kernel "second" path "encoder.1.ffn" (%y) {
    %b = tile.alloc : !tile.buffer<sram, 64xf32>
    tile.copy %v<0 [64] [1]> to %b<0 [64] [1]>
    tile.pass "r0 = mul(a, c0); out r0" over 8 by 64 stream %h<0 [8, 64] [64, 1]> row %b<0 [64] [1]>
      out %h<0 [8, 64] [64, 1]>
    tile.copy %h<0 [8, 64] [64, 1]> to %y<0 [8, 64] [64, 1]>
  }
  func.return
}
"""


def located(module: ModuleOp) -> ModuleOp:
    """Gives the kernels the nodes n0 and n1, n2, and lists a node that was folded."""
    first, second = (op for op in module.walk() if isinstance(op, KernelOp))
    first.location = node_location("n0", "Add")
    second.location = fuse(node_location("n1", "Mul"), node_location("n2", "Identity"))
    record_folded(module, [FoldedNode("n3", "Shape", "import", "its value is constant")])
    return module


def emitted(emission: Callable, facts: ModelFacts | None = None, text: str = TWO_KERNELS) -> Program:
    target = emission("edge")
    context = target.context.clone()
    context.machine = target.machine
    context.store = ConstantStore()
    context.store.add("shared", np.arange(64, dtype=np.float32))
    module = located(target.parse(text)) if text is TWO_KERNELS else target.parse(text)
    LowerTile().apply(context, module)
    return emit(module, context, facts)


def test_every_row_names_its_nodes_and_every_node_is_accounted_for(emission: Callable) -> None:
    program = emitted(emission)
    assert [node.name for node in program.nodes] == ["n0", "n1", "n2"]
    assert [node.operator for node in program.nodes] == ["Add", "Mul", "Identity"]
    assert [node.path for node in program.nodes] == ["encoder.0.ffn", "encoder.1.ffn", "encoder.1.ffn"]
    named = {program.row_nodes(row) for row in range(len(program.table))}
    assert named == {("n0",), ("n1", "n2")}
    assert program.folded == (Note("n3", "import", "its value is constant"),)


def test_a_node_without_instructions_is_listed_as_such(emission: Callable) -> None:
    target = emission("edge")
    module = located(target.parse(TWO_KERNELS))
    function = next(op for op in module.walk() if isinstance(op, FuncOp))
    empty = KernelOp("view")
    empty.location = node_location("n4", "Reshape")
    function.body.block.insert_op_before(empty, function.body.block.last_op)
    context = target.context.clone()
    context.machine, context.store = target.machine, ConstantStore()
    context.store.add("shared", np.arange(64, dtype=np.float32))
    LowerTile().apply(context, module)
    program = emit(module, context)
    assert Note("n4", "emit", "needs no instruction") in program.folded


def test_equal_weights_stand_in_dram_once_and_unused_ones_not_at_all(emission: Callable) -> None:
    program = emitted(emission)
    assert [(segment.name, segment.address) for segment in program.segments] == [("shared", 0)]
    assert program.dram_bytes == 256 + 2 * 8 * 64 * 4


def test_signatures_say_what_the_model_said(emission: Callable) -> None:
    facts = ModelFacts(element_types={"x": "double"}, ranges={"x": (0, 7)}, binary=frozenset({"y"}), batchable=True)
    program = emitted(emission, facts)
    (x,), (y,) = program.inputs, program.outputs
    assert (x.name, x.element_type, x.low, x.high, x.shape) == ("x", "double", 0, 7, (8, 64))
    assert (y.name, y.element_type, y.binary, y.low) == ("y", "float", True, None)
    assert program.batchable


def test_program_files_are_equal_to_the_byte_and_load_again(emission: Callable) -> None:
    first, second = (bytes(emitted(emission).to_bytes()) for _ in range(2))
    assert first == second
    assert bytes(Program.from_bytes(first).to_bytes()) == first


def test_the_occupancy_tells_when_each_buffer_lies_where(emission: Callable) -> None:
    program = emitted(emission)
    found = program.occupancy
    stays = [
        (found.buffers[b].name, found.buffers[b].resident, first, last)
        for b, first, last in zip(found.buffer, found.first, found.last, strict=True)
    ]
    mnemonics = [str(program.table.record(row).mnemonic) for row in range(len(program.table))]
    passes = [row for row, mnemonic in enumerate(mnemonics) if mnemonic == "vx.pass"]
    ((_, _, first, last),) = (stay for stay in stays if stay[1])
    assert (mnemonics[first], mnemonics[last]) == ("ld.block", "st.block")
    assert [last for name, _, _, last in sorted(stays) if name.endswith(".b")] == passes
    assert found.live_bytes(Space.SRAM, len(program.table)).max() == 2 * 256 + 8 * 64 * 4


def test_what_cannot_fit_is_refused_with_what_lies_there(emission: Callable) -> None:
    text = TWO_KERNELS.replace(
        "%h = tile.alloc : !tile.buffer<sram, 8x64xf32>",
        """
  %h = tile.alloc : !tile.buffer<sram, 8x64xf32>
  %big = tile.alloc : !tile.buffer<sram, 65536xf32>
  tile.copy %x<0 [64] [1]> to %big<0 [64] [1]>
  tile.copy %big<0 [64] [1]> to %y<0 [64] [1]>""",
    ).replace(
        "func.return",
        """
  tile.copy %big<0 [64] [1]> to %y<0 [64] [1]>
  func.return""",
    )
    with pytest.raises(CapacityError) as refusal:
        emitted(emission, text=text)
    error = refusal.value
    assert (error.need, error.limit) == (65536 * 4 + 2048 + 256, 256 * 1024)
    assert dict(error.parts) == {"big": 262144, "h": 2048, "first.b": 256}


@pytest.mark.parametrize("programs", [3, 32, 33, 50])
def test_lane_programs_beyond_the_slots_are_written_again(emission: Callable, programs: int) -> None:
    target = emission("edge")
    passes = "\n".join(
        f'tile.pass "r0 = add(a, {n}.0); out r0" over 1 by 64 stream %h<0 [1, 64] [64, 1]> out %h<0 [1, 64] [64, 1]>'
        for n in range(programs)
    )
    text = f"""
    func.func @main() {{
      %x = tile.tensor input "x" : !tile.buffer<dram, 64xf32>
      %y = tile.tensor output "y" : !tile.buffer<dram, 64xf32>
      %h = tile.alloc : !tile.buffer<sram, 64xf32>
      tile.copy %x<0 [64] [1]> to %h<0 [64] [1]>
      tile.for 2 {{
        {passes}
      }}
      tile.copy %h<0 [64] [1]> to %y<0 [64] [1]>
      func.return
    }}"""
    assembled = target.table(target.parse(text))
    written = len(assembled.table.groups["vx.program"].rows)
    assert written == (programs if programs <= 32 else 2 * programs)
    found = target.run(assembled, {"x": np.zeros(64, dtype=np.float32)})["y"]
    assert (found == programs * (programs - 1)).all()


def test_extents_from_registers_are_ordered_like_memory(emission: Callable, shuffled: Callable) -> None:
    target = emission("edge")
    text = """
    func.func @main() {
      %x = tile.tensor input "x" : !tile.buffer<dram, 64xf32>
      %y = tile.tensor output "y" : !tile.buffer<dram, 64xf32>
      %h = tile.alloc : !tile.buffer<sram, 64xf32>
      isa.ld.block element 4, dram %x<0>, chip %h<0>, n3 64, dram_stride3 4, chip_stride3 4
      isa.set.extent queue "mx" register 3, value 5, maximum 8
      isa.vx.pass program "r0 = add(a, 1.0); out r0" rows 1, columns -4,
        a %h<0>, a_format f32, out %h<0>, out_format f32
      isa.set.extent queue "mx" register 3, value 2, maximum 8
      isa.vx.pass program "r0 = add(a, 1.0); out r0" rows 1, columns -4,
        a %h<0>, a_format f32, out %h<0>, out_format f32
      isa.st.block element 4, dram %y<0>, chip %h<0>, n3 64, dram_stride3 4, chip_stride3 4
      func.return
    }"""
    assembled = target.table(target.parse(text))
    expected = np.array([2, 2, 1, 1, 1, *([0] * 59)], dtype=np.float32)
    for seed in range(6):
        order = shuffled(assembled.table, seed)
        found = target.run(assembled, {"x": np.zeros(64, dtype=np.float32)}, order)["y"]
        assert np.array_equal(found, expected)
