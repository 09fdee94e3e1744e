"""Hand-written tile programs: what the table computes is what tile IR says, in every order that the waits
allow."""

from collections.abc import Callable

import numpy as np
import pytest

from attnc.dialects.constants import ConstantStore
from attnc.dialects.interpret import tile as interpreter
from attnc.isa.errors import Fault

PRODUCT = """
func.func @main() {
  %x = tile.tensor input "x" : !tile.buffer<dram, 100x64xf32>
  %w = tile.tensor weight "w" key "w" : !tile.buffer<dram, 64x96xf32>
  %b = tile.tensor weight "b" key "b" : !tile.buffer<dram, 96xf32>
  %y = tile.tensor output "y" : !tile.buffer<dram, 100x96xf32>
  tile.kernel "product" (%y) {
    tile.for 3 {
      %wt = tile.alloc : !tile.buffer<sram, 64x32xf32>
      %bt = tile.alloc : !tile.buffer<sram, 32xf32>
      tile.copy %w<32 * d0 [64, 32] [96, 1]> to %wt<0 [64, 32] [32, 1]>
      tile.copy %b<32 * d0 [32] [1]> to %bt<0 [32] [1]>
      tile.for 5 {
        %a = tile.alloc : !tile.buffer<sram, 32x64xf32>
        %acc = tile.alloc : !tile.buffer<acc, 32x32xf32>
        %o = tile.alloc : !tile.buffer<sram, 32x32xf32>
        tile.copy %x<2048 * d1 [min(32, -32 * d1 + 100), 64] [64, 1]>
          to %a<0 [min(32, -32 * d1 + 100), 64] [64, 1]>
        tile.for 2 {
          tile.product f32
            %a<32 * d2 [min(32, -32 * d1 + 100), 32] [64, 1]>
            by %wt<1024 * d2 [32, 32] [32, 1]>
            into %acc<0 [min(32, -32 * d1 + 100), 32] [32, 1]> accumulate<d2>
        }
        tile.pass "r0 = add(a, c0); out r0" over min(32, -32 * d1 + 100) by 32
          stream %acc<0 [min(32, -32 * d1 + 100), 32] [32, 1]> row %bt<0 [32] [1]>
          out %o<0 [min(32, -32 * d1 + 100), 32] [32, 1]> {stage = 1 : i64}
        tile.copy %o<0 [min(32, -32 * d1 + 100), 32] [32, 1]>
          to %y<32 * d0 + 3072 * d1 [min(32, -32 * d1 + 100), 32] [96, 1]> {stage = 1 : i64}
      }
    }
  }
  func.return
}
"""

SPILLED = """
func.func @main() {
  %x = tile.tensor input "x" : !tile.buffer<dram, 64x64xf32>
  %t = tile.tensor temporary "t" : !tile.buffer<dram, 64x64xf32>
  %u = tile.tensor temporary "u" : !tile.buffer<dram, 64x64xf32>
  %y = tile.tensor output "y" : !tile.buffer<dram, 64x64xf32>
  %total = tile.alloc : !tile.buffer<sram, 64xf32>
  tile.kernel "double" (%t) {
    tile.for 4 {
      %a = tile.alloc : !tile.buffer<sram, 16x64xf32>
      tile.copy %x<1024 * d0 [16, 64] [64, 1]> to %a<0 [16, 64] [64, 1]>
      tile.pass "r0 = mul(a, 2.0); out r0; reduce sum(a)" over 16 by 64 stream %a<0 [16, 64] [64, 1]>
        out %a<0 [16, 64] [64, 1]> across rows %total<0 [64] [1]> accumulate<d0>
      tile.copy %a<0 [16, 64] [64, 1]> to %t<1024 * d0 [16, 64] [64, 1]>
    }
  }
  tile.kernel "transpose" (%u) {
    tile.for 4 {
      %a = tile.alloc : !tile.buffer<sram, 64x16xf32>
      tile.copy %t<1024 * d0 [16, 64] [64, 1]> to %a<0 [16, 64] [1, 16]>
      tile.copy %a<0 [64, 16] [16, 1]> to %u<16 * d0 [64, 16] [64, 1]>
    }
  }
  tile.kernel "add" (%y) {
    tile.for 2 {
      %a = tile.alloc : !tile.buffer<sram, 32x64xf32>
      tile.copy %u<2048 * d0 [32, 64] [64, 1]> to %a<0 [32, 64] [64, 1]>
      tile.for 32 {
        tile.pass "r0 = add(a, c0); out r0" over 1 by 64 stream %a<64 * d1 [1, 64] [64, 1]>
          row %total<0 [64] [1]> out %a<64 * d1 [1, 64] [64, 1]>
      }
      tile.copy %a<0 [32, 64] [64, 1]> to %y<2048 * d0 [32, 64] [64, 1]>
    }
  }
  func.return
}
"""

GATHERED = """
func.func @main() {
  %ids = tile.tensor input "ids" : !tile.buffer<dram, 24xi32>
  %e = tile.tensor weight "e" key "e" : !tile.buffer<dram, 50x20xf32>
  %y = tile.tensor output "y" : !tile.buffer<dram, 24x20xf32>
  tile.kernel "gather" (%y) {
    tile.for 3 {
      %i = tile.alloc : !tile.buffer<sram, 8xi32>
      %r = tile.alloc : !tile.buffer<sram, 8x20xf32>
      tile.copy %ids<8 * d0 [8] [1]> to %i<0 [8] [1]>
      tile.gather ids %i<0 [8] [1]> table %e<0 [50, 20] [20, 1]> rows %r<0 [8, 20] [20, 1]> limit 50
      tile.copy %r<0 [8, 20] [20, 1]> to %y<160 * d0 [8, 20] [20, 1]>
    }
  }
  func.return
}
"""

RETYPED = """
func.func @main() {
  %x = tile.tensor input "x" : !tile.buffer<dram, 4x8xf32>
  %y = tile.tensor output "y" : !tile.buffer<dram, 4x8xf32>
  tile.kernel "over" (%y) {
    %a = tile.alloc : !tile.buffer<sram, 4x8xf32>
    %i = tile.retype %a : !tile.buffer<sram, 4x8xf32> to !tile.buffer<sram, 4x8xi32>
    tile.copy %x<0 [4, 8] [8, 1]> to %a<0 [4, 8] [8, 1]>
    tile.pass "r0 = to_int(a); out r0" over 4 by 8 stream %a<0 [4, 8] [8, 1]> out %i<0 [4, 8] [8, 1]>
    tile.pass "r0 = to_float(a); out r0" over 4 by 8 stream %i<0 [4, 8] [8, 1]> out %a<0 [4, 8] [8, 1]>
    tile.copy %a<0 [4, 8] [8, 1]> to %y<0 [4, 8] [8, 1]>
  }
  func.return
}
"""

RANDOM = np.random.default_rng(1)
TENSORS = {
    "product": {
        name: RANDOM.standard_normal(shape, dtype=np.float32)
        for name, shape in (("x", (100, 64)), ("w", (64, 96)), ("b", (96,)))
    },
    "spilled": {"x": RANDOM.standard_normal((64, 64), dtype=np.float32)},
    "gathered": {
        "ids": RANDOM.integers(0, 50, 24, dtype=np.int32),
        "e": RANDOM.standard_normal((50, 20), dtype=np.float32),
    },
    "retyped": {"x": RANDOM.standard_normal((4, 8), dtype=np.float32) * 9},
}
PROGRAMS = {"product": PRODUCT, "spilled": SPILLED, "gathered": GATHERED, "retyped": RETYPED}


def interpreted(emission, text: str, tensors) -> dict[str, np.ndarray]:
    store = ConstantStore()
    for name, array in tensors.items():
        store.add(name, array)
    return interpreter.run(emission.parse(text), tensors, store)


@pytest.mark.parametrize("machine", ["edge", "tiny"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_table_computes_what_tile_ir_says(emission: Callable, name: str, machine: str) -> None:
    target = emission(machine)
    expected = interpreted(target, PROGRAMS[name], TENSORS[name])
    found = target.run(target.table(target.parse(PROGRAMS[name])), TENSORS[name])
    assert expected.keys() == found.keys()
    for output, array in expected.items():
        assert np.array_equal(array, found[output])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_order_that_waits_allow_gives_the_same_values(
    emission: Callable, shuffled: Callable, name: str, seed: int
) -> None:
    target = emission("tiny")
    assembled = target.table(target.parse(PROGRAMS[name]))
    in_order = target.run(assembled, TENSORS[name])
    out_of_order = target.run(assembled, TENSORS[name], shuffled(assembled.table, seed))
    for output, array in in_order.items():
        assert np.array_equal(array, out_of_order[output])


@pytest.mark.parametrize("name", PROGRAMS)
def test_two_emissions_of_a_module_give_the_same_words(emission: Callable, name: str) -> None:
    target = emission("edge")
    words = [target.table(target.parse(PROGRAMS[name])).table.encode().tobytes() for _ in range(2)]
    assert words[0] == words[1]


def test_what_was_written_as_another_type_is_not_read(emission: Callable) -> None:
    text = RETYPED.replace("over 4 by 8 stream %i<0 [4, 8]", "over 3 by 8 stream %i<0 [3, 8]")
    text = text.replace("out %a<0 [4, 8]", "out %a<0 [3, 8]")
    with pytest.raises(Fault, match="written as another type"):
        interpreted(emission("edge"), text, TENSORS["retyped"])
