"""Dependences and waits against a direct reading of their definitions on random programs."""

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc.passes.emit.dependence import Accesses, AtomEvents, Instances, Order
from attnc.passes.emit.footprint import Footprints, split_into_atoms
from attnc.passes.emit.waits import Waits, needed_waits

LINE = 16
QUEUES = 4
BUFFER_LINES = 8


@dataclass(frozen=True)
class Touch:
    """One access: instance, byte offset, two repetitions and a run, and whether it writes."""

    instance: int
    offset: int
    outer: tuple[int, int]
    run: int
    write: bool


@st.composite
def programs(draw: st.DrawFn) -> tuple[list[int], list[list[Touch]]]:
    queues: list[int] = []
    rows: list[list[Touch]] = []
    for _ in range(draw(st.integers(1, 25))):
        queues.append(draw(st.integers(0, QUEUES - 1)))
        touches: list[Touch] = []
        for _ in range(draw(st.integers(1, 3))):
            count = draw(st.integers(1, 3))
            stride = draw(st.sampled_from([-32, 0, 4, 16, 20, 32]))
            run = draw(st.integers(1, 40))
            span = (count - 1) * abs(stride) + run
            if span > BUFFER_LINES * LINE:
                count, span = 1, run
            low = draw(st.integers(0, BUFFER_LINES * LINE - span))
            offset = low + (count - 1) * abs(stride) if stride < 0 else low
            touches.append(Touch(draw(st.integers(0, 3)), offset, (count, stride), run, draw(st.booleans())))
        rows.append(touches)
    return queues, rows


def lines_of(touch: Touch) -> set[int]:
    count, stride = touch.outer
    starts = [touch.offset + i * stride for i in range(count)]
    return {byte // LINE for start in starts for byte in range(start, start + touch.run)}


def analyse(queues: list[int], rows: list[list[Touch]], addresses: list[int] | None) -> tuple[Order, np.ndarray, Waits]:
    flat = [(row, touch) for row, touches in enumerate(rows) for touch in touches]
    column = lambda values: np.array(list(values), dtype=np.int64)  # noqa: E731
    footprints = Footprints(
        buffer=column(touch.instance // 2 for _, touch in flat),
        offset=column(touch.offset for _, touch in flat),
        extents=np.array([[touch.outer[0]] for _, touch in flat], dtype=np.int64),
        strides=np.array([[touch.outer[1]] for _, touch in flat], dtype=np.int64),
        run=column(touch.run for _, touch in flat),
    )
    atoms = split_into_atoms(footprints, np.full(2, BUFFER_LINES, dtype=np.int64), np.full(2, LINE))
    instances = Instances(column([0, 0, 1, 1]), column([0, 0, 0, 0]), np.full(4, BUFFER_LINES, dtype=np.int64))
    accesses = Accesses(
        column(row for row, _ in flat),
        column(touch.instance for _, touch in flat),
        np.arange(len(flat)),
        np.array([touch.write for _, touch in flat]),
    )
    order = Order.of(np.arange(len(rows)), column(queues), QUEUES)
    events = AtomEvents(accesses, instances, atoms)
    conflicts = events.conflicts(order, None if addresses is None else column(addresses))
    return order, conflicts, needed_waits(order, conflicts)


def reference_conflicts(queues: list[int], rows: list[list[Touch]], base: list[int]) -> set[tuple[int, int]]:
    """(earlier row, later row) pairs of different queues that touch a line in common, one of them writing."""
    touched = [
        [({line + base[touch.instance] for line in lines_of(touch)}, touch.write) for touch in touches]
        for touches in rows
    ]
    return {
        (first, second)
        for second in range(len(rows))
        for first in range(second)
        if queues[first] != queues[second]
        and any(a & b and (x or y) for a, x in touched[first] for b, y in touched[second])
    }


def is_ordered(order: Order, waits: Waits, pairs: set[tuple[int, int]]) -> bool:
    """Whether queue order and waits order every pair: reachability over whole clocks, no short cut."""
    by_row: dict[int, list[tuple[int, int]]] = {}
    for row, queue, number in zip(waits.row.tolist(), waits.queue.tolist(), waits.number.tolist(), strict=True):
        by_row.setdefault(row, []).append((queue, number))
    clocks: list[list[int]] = []
    last: dict[int, int] = {}
    row_of = {(int(q), int(n)): row for row, (q, n) in enumerate(zip(order.queue, order.number, strict=True))}
    for row in range(len(order.position)):
        queue = int(order.queue[row])
        clock = list(clocks[last[queue]]) if queue in last else [0] * order.queues
        for wait in by_row.get(row, ()):
            clock = [max(pair) for pair in zip(clock, clocks[row_of[wait]], strict=True)]
        clock[queue] = int(order.number[row])
        clocks.append(clock)
        last[queue] = row
    return all(clocks[second][int(order.queue[first])] >= order.number[first] for first, second in pairs)


def check(queues: list[int], rows: list[list[Touch]], base: list[int], addresses: list[int] | None) -> None:
    order, conflicts, waits = analyse(queues, rows, addresses)
    pairs = reference_conflicts(queues, rows, base)
    expected = np.zeros_like(conflicts)
    for first, second in pairs:
        queue = queues[first]
        expected[second, queue] = max(expected[second, queue], order.number[first])
    assert (conflicts == expected).all()
    assert is_ordered(order, waits, pairs)
    for at in range(len(waits)):
        left = np.arange(len(waits)) != at
        fewer = Waits(waits.row[left], waits.queue[left], waits.number[left])
        assert not is_ordered(order, fewer, pairs), f"wait {at} of row {waits.row[at]} is implied"


@settings(max_examples=200, deadline=None)
@given(programs())
def test_every_conflict_within_a_buffer_is_ordered_and_every_wait_is_needed(
    program: tuple[list[int], list[list[Touch]]],
) -> None:
    check(*program, base=[0, 100, 200, 300], addresses=None)


@settings(max_examples=200, deadline=None)
@given(programs(), st.permutations([0, 4, 8, 12]))
def test_buffers_that_take_over_the_lines_of_dead_ones_wait_for_their_users(
    program: tuple[list[int], list[list[Touch]]], base: list[int]
) -> None:
    queues, rows = program
    # One buffer after the other, so that no two live together and addresses may overlap at will.
    by_instance = [
        (queue, [touch for touch in touches if touch.instance == instance])
        for instance in range(4)
        for queue, touches in zip(queues, rows, strict=True)
    ]
    kept = [(queue, touches) for queue, touches in by_instance if touches]
    # What is read was written before, as in every program that means something.
    written: dict[int, set[int]] = {}
    for _, touches in kept:
        for number, touch in enumerate(touches):
            mine = written.setdefault(touch.instance, set())
            if touch.write or not lines_of(touch) <= mine:
                touches[number] = replace(touch, write=True)
        for touch in touches:
            if touch.write:
                written[touch.instance] |= lines_of(touch)
    check([queue for queue, _ in kept], [touches for _, touches in kept], base, base)


def test_an_instruction_that_retired_long_ago_is_named_through_a_later_one() -> None:
    count = 40_000
    rows = count + 1
    queue = np.zeros(rows, dtype=np.int64)
    queue[-1] = 1
    order = Order.of(np.arange(rows), queue, 2)
    conflicts = np.zeros((rows, 2), dtype=np.int64)
    conflicts[-1, 0] = 5
    waits = needed_waits(order, conflicts)
    assert (waits.row, waits.queue, waits.number) == (count, 0, count - (1 << 15) + 1)
