"""List scheduling on random tasks and in small programs: what it may change and what not."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from attnc.passes.emit.accesses import touched
from attnc.passes.emit.allocate import NO_PLACE, Demand, place
from attnc.passes.emit.dependence import AtomEvents
from attnc.passes.emit.expand import expand
from attnc.passes.emit.memory import Memory
from attnc.passes.emit.place import place_on_chip
from attnc.passes.emit.precedence import precedence
from attnc.passes.emit.reorder import Feed, ListScheduler, Task
from attnc.passes.emit.urgency import starts_overdue, vector_shares
from attnc.passes.schedule.lower_tile import LowerTile
from attnc.passes.schedule_options import ScheduleOptions
from attnc.runtime.costs import program_costs
from attnc.runtime.schedule import build_schedule
from attnc.runtime.timing import simulate
from attnc.runtime.waits import waited_rows

QUEUES = 3

Stay = tuple[int, int, int]
"""A buffer's slots, first and last row in natural order."""


@st.composite
def tasks(draw: st.DrawFn) -> tuple[Task, list[Stay]]:
    rows = draw(st.integers(1, 40))
    column = st.lists(st.integers(0, 30), min_size=rows, max_size=rows)
    stays = [
        (draw(st.integers(1, 8)), first, draw(st.integers(first, min(rows - 1, first + 15))))
        for first in sorted(draw(st.lists(st.integers(0, rows - 1), max_size=25)))
    ]
    size, first, last = (np.array([stay[part] for stay in stays], dtype=np.int64) for part in range(3))
    demand = Demand(size, first, last)
    capacity = int(demand.live(rows).max(initial=0)) + draw(st.integers(0, 12))
    planned = place(demand, capacity)
    assume(not (planned == NO_PLACE).any())
    users = [sorted({first, last, *draw(st.lists(st.integers(first, last), max_size=3))}) for _, first, last in stays]
    touches: list[list[tuple[int, int]]] = [[] for _ in range(rows)]
    for buffer, rows_of in enumerate(users):
        for row in rows_of:
            touches[row].append((0, buffer))
    after: list[list[int]] = [[] for _ in range(rows)]
    for row in range(1, rows):
        for before in draw(st.sets(st.integers(0, row - 1), max_size=2)):
            after[before].append(row)
    queue = draw(st.lists(st.integers(0, QUEUES - 1), min_size=rows, max_size=rows))
    columns = (size, first, last, np.array([len(rows_of) for rows_of in users], dtype=np.int64), planned)
    task = Task(
        queue=queue,
        busy=draw(column),
        latency=draw(column),
        fill=[0] * rows,
        channel=[busy if which == 0 else 0 for busy, which in zip(draw(column), queue, strict=True)],
        urgency=draw(column),
        after=after,
        behind=[[] for _ in range(rows)],
        touches=touches,
        window=draw(st.lists(st.integers(1, 50), min_size=QUEUES, max_size=QUEUES)),
        tries=draw(st.lists(st.integers(1, 4), min_size=QUEUES, max_size=QUEUES)),
        transfers=[True, False, False],
        memories=[Memory(capacity, *(column.tolist() for column in columns))],
        fed=[2],
        feed=draw(st.none() | st.builds(Feed, st.lists(st.floats(0, 9), min_size=rows, max_size=rows), column)),
    )
    return task, stays


@settings(max_examples=300, deadline=None)
@given(tasks())
def test_every_order_begun_ends_with_each_buffer_on_slots_of_its_own(given_task: tuple[Task, list[Stay]]) -> None:
    task, stays = given_task
    scheduler = ListScheduler(task)
    scheduler.run()
    order = scheduler.order
    assert sorted(order) == list(range(len(task.queue)))
    position = {row: at for at, row in enumerate(order)}
    for row, followers in enumerate(task.after):
        assert all(position[row] < position[follower] for follower in followers)
    lives: list[tuple[int, int]] = []
    for buffer in range(len(stays)):
        used = [position[row] for row, touched in enumerate(task.touches) if (0, buffer) in touched]
        lives.append((min(used), max(used)))
    start = task.memories[0].start
    for one, (begin, end) in enumerate(lives):
        for other in range(one):
            together = begin <= lives[other][1] and lives[other][0] <= end
            below = start[one] + stays[one][0] <= start[other]
            above = start[other] + stays[other][0] <= start[one]
            assert not together or below or above


ROW_BLOCKS = """
func.func @main() {
  %x = tile.tensor input "x" : !tile.buffer<dram, 256x64xf32>
  %w = tile.tensor weight "w" key "w" : !tile.buffer<dram, 64x64xf32>
  %y = tile.tensor output "y" : !tile.buffer<dram, 256x64xf32>
  %v = tile.alloc : !tile.buffer<sram, 64x64xf32>
  %h = tile.alloc : !tile.buffer<sram, 256x64xf32>
  %n = tile.alloc : !tile.buffer<sram, 256x64xf32>
  tile.copy %w<0 [64, 64] [64, 1]> to %v<0 [64, 64] [64, 1]>
  tile.kernel "product" (%h) {
    tile.for 8 {
      %a = tile.alloc : !tile.buffer<sram, 32x64xf32>
      %acc = tile.alloc : !tile.buffer<acc, 32x64xf32>
      tile.copy %x<2048 * d0 [32, 64] [64, 1]> to %a<0 [32, 64] [64, 1]>
      tile.product f32 %a<0 [32, 64] [64, 1]> by %v<0 [64, 64] [64, 1]> into %acc<0 [32, 64] [64, 1]> accumulate<0>
      tile.pass "out a" over 32 by 64 stream %acc<0 [32, 64] [64, 1]> out %h<2048 * d0 [32, 64] [64, 1]>
    }
  }
  tile.kernel "norm" (%n) {
    tile.for 8 {
      tile.pass "r0 = tanh(a); out r0" over 32 by 64 stream %h<2048 * d0 [32, 64] [64, 1]>
        out %n<2048 * d0 [32, 64] [64, 1]>
    }
  }
  tile.kernel "next" (%y) {
    tile.for 8 {
      %acc = tile.alloc : !tile.buffer<acc, 32x64xf32>
      %o = tile.alloc : !tile.buffer<sram, 32x64xf32>
      tile.product f32 %n<2048 * d0 [32, 64] [64, 1]> by %v<0 [64, 64] [64, 1]> into %acc<0 [32, 64] [64, 1]>
        accumulate<0>
      tile.pass "out a" over 32 by 64 stream %acc<0 [32, 64] [64, 1]> out %o<0 [32, 64] [64, 1]>
      tile.copy %o<0 [32, 64] [64, 1]> to %y<2048 * d0 [32, 64] [64, 1]>
    }
  }
  func.return
}
"""


def placed(target, text: str, options: ScheduleOptions):
    """The stream of a program in the order of its loops, its access events, and its rows in file order."""
    module = target.parse(text)
    LowerTile().apply(target.context, module)
    stream = expand(module, target.machine)
    found = touched(stream, target.machine)
    events = AtomEvents(found.accesses, found.instances, found.atoms)
    return stream, events, place_on_chip(stream, target.machine, found, events, options).rows.tolist()


@pytest.mark.parametrize("reorder", [False, True])
@pytest.mark.parametrize("prefetch", [False, True])
def test_rows_that_conflict_keep_their_order(emission: Callable, reorder: bool, prefetch: bool) -> None:
    options = ScheduleOptions(prefetch=prefetch, reorder=reorder)
    stream, events, order = placed(emission("edge"), ROW_BLOCKS, options)
    position = {row: at for at, row in enumerate(order)}
    for atom in np.unique(events.atom).tolist():
        mine = events.atom == atom
        accesses = sorted(zip(events.row[mine].tolist(), events.write[mine].tolist(), strict=True))
        for at, (row, write) in enumerate(accesses):
            for before, written in accesses[:at]:
                assert position[before] <= position[row] or not (write or written)
    pairs = precedence(events, stream.rows)
    assert all(position[before] < position[row] for before, row in zip(pairs.before, pairs.after, strict=True))


def test_switched_off_the_order_is_that_of_the_loops(emission: Callable) -> None:
    target = emission("edge")
    _, _, order = placed(target, ROW_BLOCKS, ScheduleOptions(prefetch=False, reorder=False))
    assert order == sorted(order)
    stream, _, order = placed(target, ROW_BLOCKS, ScheduleOptions(reorder=False))
    loads = {queue.index for queue in target.machine.queues if queue.name == "ld"}
    others = [row for row in order if stream.queue[row] not in loads]
    assert others == sorted(others)
    assert order != sorted(order)


def test_the_array_goes_on_with_the_next_kernel_as_soon_as_its_first_rows_are_there(emission: Callable) -> None:
    target = emission("edge")
    cycles: dict[bool, int] = {}
    waits: dict[bool, int] = {}
    for reorder in (False, True):
        assembled = target.table(target.parse(ROW_BLOCKS), ScheduleOptions(reorder=reorder))
        table = assembled.table
        instances = {name: group.instance(table.queue) for name, group in table.groups.items()}
        costs = program_costs(table, instances, target.machine)
        timeline = simulate(build_schedule(table, instances, costs, waited_rows(table), target.machine))
        products = table.groups["mx.product"].rows
        cycles[reorder] = timeline.cycles
        waits[reorder] = int((timeline.start[products][1:] - timeline.end[products][:-1])[8:].sum())
    assert cycles[True] < cycles[False]
    assert waits[True] == 0 < waits[False]


def test_a_row_is_overdue_so_many_cycles_after_its_natural_place():
    is_product = np.array([True, False, True, True])
    cycles = np.array([10, 3, 10, 10])
    # As numbers of products: those that begin before that cycle.
    assert starts_overdue(is_product, cycles, 12).tolist() == [2, 3, 3, 3]


def test_a_product_gives_the_vector_engine_the_passes_behind_its_result():
    # Two products that sum up (0, 1) with a pass behind them, and one (3) with two passes.
    after = [[1], [2], [], [4], [5], []]
    is_product = np.array([True, True, False, True, False, False])
    feed = vector_shares(after, is_product, ~is_product, np.array([60, 40, 50, 20, 30, 10]))
    assert list(feed.lead) == [100, 40, 0, 20, 0, 0]
    assert [share for share, lead in zip(feed.share, feed.lead, strict=True) if lead] == [0.5, 1.25, 2.0]


def test_products_that_feed_the_vector_engine_come_first_only_where_it_is_about_to_run_dry():
    # Four products of which the last two give it most to do; a pass behind each; and a pass that waits for nothing.
    def order(at_hand: int) -> list[int]:
        products, passes = range(4), range(4, 8)
        task = Task(
            queue=[0] * 4 + [1] * 5,
            busy=[10] * 4 + [1, 1, 40, 40, at_hand],
            latency=[0] * 9,
            fill=[0] * 9,
            channel=[0] * 9,
            urgency=list(range(9)),
            after=[*([then] for then in passes), *([] for _ in range(5))],
            behind=[[] for _ in range(9)],
            touches=[[] for _ in range(9)],
            window=[9, 9],
            tries=[4, 4],
            transfers=[False, False],
            memories=[],
            fed=[1],
            feed=Feed([0.1, 0.1, 4.0, 4.0, *[0.0] * 5], [10] * 4 + [0] * 5),
        )
        scheduler = ListScheduler(task)
        scheduler.run()
        return [row for row in scheduler.order if row in products]

    assert order(at_hand=1000) == [0, 1, 2, 3]
    # The pass behind product 2 lasts until the next results are there.
    assert order(at_hand=0)[:2] == [2, 0]
