import numpy as np
from attnc.passes.emit.allocate import ALIGNMENT, Demand, place
from hypothesis import given, settings
from hypothesis import strategies as st

BUFFERS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 60), st.integers(0, 20)), min_size=1, max_size=60
)


def demand_of(buffers: list[tuple[int, int, int]]) -> Demand:
    size, first, life = (np.array(column, dtype=np.int64) for column in zip(*buffers, strict=True))
    return Demand(size * ALIGNMENT, first, first + life)


@settings(max_examples=200, deadline=None)
@given(BUFFERS, st.integers(0, 16))
def test_buffers_that_live_together_never_overlap(buffers: list[tuple[int, int, int]], slack: int) -> None:
    demand = demand_of(buffers)
    capacity = int(demand.live_bytes(100).max()) + slack * ALIGNMENT
    addresses = place(demand, capacity)
    if addresses is None:
        return
    for i in range(len(demand)):
        assert 0 <= addresses[i] <= capacity - demand.size[i]
        assert addresses[i] % ALIGNMENT == 0
        for j in range(i):
            together = demand.first[i] <= demand.last[j] and demand.first[j] <= demand.last[i]
            apart = (
                addresses[i] + demand.size[i] <= addresses[j] or addresses[j] + demand.size[j] <= addresses[i]
            )
            assert not together or apart


def test_equal_buffers_fill_the_memory_without_a_gap() -> None:
    first = np.arange(100, dtype=np.int64)
    demand = Demand(np.full(100, 4096, dtype=np.int64), first, first + 3)
    assert place(demand, 4 * 4096) is not None
    assert place(demand, 4 * 4096 - 64) is None


def test_the_place_that_has_been_free_longest_is_taken() -> None:
    first = np.array([0, 1, 2, 5], dtype=np.int64)
    last = np.array([3, 2, 4, 5], dtype=np.int64)
    addresses = place(Demand(np.full(4, 64, dtype=np.int64), first, last), 192)
    assert addresses is not None
    assert addresses[3] == addresses[1]


def test_a_buffer_that_outlives_the_others_does_not_split_the_memory() -> None:
    first = np.array([0, *range(1, 40)], dtype=np.int64)
    last = np.array([60, *range(1, 40)], dtype=np.int64)
    addresses = place(Demand(np.array([64, *([192] * 39)], dtype=np.int64), first, last), 256)
    assert addresses is not None
