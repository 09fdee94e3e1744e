import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc.passes.emit.allocate import NO_PLACE, Demand, place, place_lowest

BUFFERS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 60), st.integers(0, 20)), min_size=1, max_size=60)


def demand_of(buffers: list[tuple[int, int, int]]) -> Demand:
    size, first, life = (np.array(column, dtype=np.int64) for column in zip(*buffers, strict=True))
    return Demand(size, first, first + life)


def assert_apart(demand: Demand, starts: np.ndarray, capacity: int) -> None:
    for i in range(len(demand)):
        if starts[i] == NO_PLACE:
            continue
        assert 0 <= starts[i] <= capacity - demand.size[i]
        for j in range(i):
            together = demand.first[i] <= demand.last[j] and demand.first[j] <= demand.last[i]
            below = starts[i] + demand.size[i] <= starts[j]
            above = starts[j] + demand.size[j] <= starts[i]
            assert starts[j] == NO_PLACE or not together or below or above or not demand.size[[i, j]].all()


@settings(max_examples=100, deadline=None)
@given(BUFFERS, st.integers(0, 16))
def test_buffers_that_live_together_never_overlap(buffers: list[tuple[int, int, int]], slack: int) -> None:
    demand = demand_of(buffers)
    capacity = int(demand.live(100).max()) + slack
    assert_apart(demand, place(demand, capacity), capacity)
    lowest = place_lowest(demand)
    assert (lowest != NO_PLACE).all()
    assert_apart(demand, lowest, int(demand.size.sum()))


def test_patience_finds_a_place_for_buffers_that_nearly_fill_the_memory() -> None:
    rng = np.random.default_rng(5)
    for _ in range(40):
        count = 80
        size = rng.choice([1, 1, 2, 8, 30, 60], count)
        first = np.sort(rng.integers(0, 200, count))
        demand = Demand(size, first, first + rng.choice([1, 5, 20, 90], count))
        starts = place(demand, int(demand.live(400).max() * 1.02))
        assert (starts != NO_PLACE).all()


def test_equal_buffers_fill_the_memory_without_a_gap() -> None:
    first = np.arange(100, dtype=np.int64)
    demand = Demand(np.full(100, 64, dtype=np.int64), first, first + 3)
    assert (place(demand, 4 * 64) != NO_PLACE).all()
    assert (place(demand, 4 * 64 - 1) == NO_PLACE).any()
    assert place_lowest(demand).max() == 3 * 64
