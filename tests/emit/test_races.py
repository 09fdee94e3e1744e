"""Emitted waits against the simulator's own race check, which knows nothing of how they were found."""

from collections.abc import Callable

import pytest

from attnc.isa.analysis import Analysis
from attnc.isa.machine import Machine
from attnc.isa.table import Table
from attnc.runtime.accesses import Accesses
from attnc.runtime.races import find_races
from attnc.runtime.waits import waited_rows

CHAIN = """
func.func @main() {
  %x = tile.tensor input "x" : !tile.buffer<dram, 64x64xf32>
  %w = tile.tensor weight "w" key "w" : !tile.buffer<dram, 64x64xf32>
  %h = tile.tensor temporary "h" : !tile.buffer<dram, 64x64xf32>
  %y = tile.tensor output "y" : !tile.buffer<dram, 64x64xf32>
  %norm = tile.alloc : !tile.buffer<sram, 64xf32>
  tile.kernel "first" (%h) {
    tile.for 4 {
      %a = tile.alloc : !tile.buffer<sram, 16x64xf32>
      %acc = tile.alloc : !tile.buffer<acc, 16x64xf32>
      tile.copy %x<1024 * d0 [16, 64] [64, 1]> to %a<0 [16, 64] [64, 1]>
      tile.for 2 {
        %b = tile.alloc : !tile.buffer<sram, 32x64xf32>
        tile.copy %w<2048 * d1 [32, 64] [64, 1]> to %b<0 [32, 64] [64, 1]>
        tile.product f32 %a<32 * d1 [16, 32] [64, 1]> by %b<0 [32, 64] [64, 1]>
          into %acc<0 [16, 64] [64, 1]> accumulate<d1>
      }
      tile.pass "r0 = gelu(a); out r0; reduce max(r0)" over 16 by 64 stream %acc<0 [16, 64] [64, 1]>
        out %a<0 [16, 64] [64, 1]> across columns %norm<16 * d0 [16] [1]>
      tile.copy %a<0 [16, 64] [64, 1]> to %h<1024 * d0 [16, 64] [64, 1]>
    }
  }
  tile.kernel "second" (%y) {
    tile.for 8 {
      %a = tile.alloc : !tile.buffer<sram, 8x64xf32>
      tile.copy %h<512 * d0 [8, 64] [64, 1]> to %a<0 [8, 64] [64, 1]>
      tile.pass "r0 = sub(a, c0); out r0" over 8 by 64 stream %a<0 [8, 64] [64, 1]>
        column %norm<8 * d0 [8] [1]> out %a<0 [8, 64] [64, 1]>
      tile.copy %a<0 [8, 64] [64, 1]> to %y<512 * d0 [8, 64] [64, 1]>
    }
  }
  func.return
}
"""


def races(table: Table, machine: Machine) -> list[tuple[int, int]]:
    found = find_races(Accesses(Analysis(table)), table.queue.tolist(), waited_rows(table).lists(), machine)
    return [(race.first, race.second) for race in found]


@pytest.mark.parametrize("machine", ["edge", "tiny", "server"])
def test_an_emitted_program_has_no_race(emission: Callable, machine: str) -> None:
    target = emission(machine)
    table = target.table(target.parse(CHAIN)).table
    assert races(table, target.machine) == []


@pytest.mark.parametrize("machine", ["edge", "tiny"])
def test_removing_any_single_wait_makes_a_race(emission: Callable, machine: str) -> None:
    target = emission(machine)
    table = target.table(target.parse(CHAIN)).table
    rows = sorted({int(row) for row in table.waits()[0]})
    assert len(rows) > 20
    for row in rows:
        waits = table.row_waits(row)
        for wait in waits:
            table.set_waits(row, [other for other in waits if other != wait])
            assert any(second == row for _, second in races(table, target.machine)), (row, wait)
        table.set_waits(row, waits)
