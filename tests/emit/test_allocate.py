import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc.passes.emit.allocate import (
    ALIGNMENT,
    NO_PLACE,
    Demand,
    place_by_size,
    place_lowest,
    place_with_patience,
)
from attnc.passes.emit.free_space import FreeSpace

BUFFERS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 60), st.integers(0, 20)), min_size=1, max_size=60)


def demand_of(buffers: list[tuple[int, int, int]]) -> Demand:
    size, first, life = (np.array(column, dtype=np.int64) for column in zip(*buffers, strict=True))
    return Demand(size * ALIGNMENT, first, first + life)


def assert_apart(demand: Demand, addresses: np.ndarray, capacity: int) -> None:
    for i in range(len(demand)):
        if addresses[i] == NO_PLACE:
            continue
        assert 0 <= addresses[i] <= capacity - demand.size[i]
        assert addresses[i] % ALIGNMENT == 0
        for j in range(i):
            together = demand.first[i] <= demand.last[j] and demand.first[j] <= demand.last[i]
            below = addresses[i] + demand.size[i] <= addresses[j]
            above = addresses[j] + demand.size[j] <= addresses[i]
            assert addresses[j] == NO_PLACE or not together or below or above


@settings(max_examples=100, deadline=None)
@given(BUFFERS, st.integers(0, 16))
def test_buffers_that_live_together_never_overlap(buffers: list[tuple[int, int, int]], slack: int) -> None:
    demand = demand_of(buffers)
    capacity = int(demand.live_bytes(100).max()) + slack * ALIGNMENT
    assert_apart(demand, place_by_size(demand, capacity), capacity)
    assert_apart(demand, place_with_patience(demand, capacity), capacity)
    assert_apart(demand, place_lowest(demand), int(demand.size.sum()))


def test_patience_finds_a_place_for_buffers_that_nearly_fill_the_memory() -> None:
    rng = np.random.default_rng(5)
    left_by_size = left_by_patience = 0
    for _ in range(40):
        count = 80
        size = rng.choice([1, 1, 2, 8, 30, 60], count) * ALIGNMENT
        first = np.sort(rng.integers(0, 200, count))
        demand = Demand(size, first, first + rng.choice([1, 5, 20, 90], count))
        capacity = int(demand.live_bytes(400).max() * 1.02)
        left_by_size += (place_by_size(demand, capacity) == NO_PLACE).any()
        left_by_patience += (place_with_patience(demand, capacity) == NO_PLACE).any()
    assert left_by_size > 0
    assert left_by_patience == 0


def test_equal_buffers_fill_the_memory_without_a_gap() -> None:
    first = np.arange(100, dtype=np.int64)
    demand = Demand(np.full(100, 4096, dtype=np.int64), first, first + 3)
    assert (place_by_size(demand, 4 * 4096) != NO_PLACE).all()
    assert (place_by_size(demand, 4 * 4096 - 64) == NO_PLACE).any()
    assert place_lowest(demand).max() == 3 * 4096


def test_space_that_nothing_has_to_wait_for_is_taken_first() -> None:
    free = FreeSpace(1024)
    free.take(0, 1024)
    free.release(0, 64, 500)
    free.release(128, 192, 20)
    free.release(256, 320, 700)
    assert free.choose(64, now=100) == 128
    free.take(128, 192)
    assert free.choose(64, now=100) == 0
    assert free.choose(128, now=100) is None


def test_buffers_prefer_the_shortest_run_that_holds_them() -> None:
    free = FreeSpace(4096)
    free.take(512, 1024)
    assert free.choose(256, now=0) == 256
    assert free.choose(1024, now=0) == 3072
    assert free.choose(256, now=0, kept=[(256, 700)]) == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8)), max_size=20), st.integers(1, 12))
def test_what_is_kept_is_never_given(kept: list[tuple[int, int]], size: int) -> None:
    free = FreeSpace(64)
    free.take(10, 14)
    stretches = [(start, start + length) for start, length in kept]
    start = free.choose(size, 0, stretches)
    taken = {*range(10, 14)}.union(*(range(low, high) for low, high in stretches))
    possible = [s for s in range(64 - size + 1) if not taken & set(range(s, s + size))]
    assert (start is None) == (not possible)
    assert start is None or start in possible
