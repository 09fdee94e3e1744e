import numpy as np
from attnc.passes.emit.prefetch import Load, hoisted

ROWS = 100
KILO = 1024


def order(loads: list[Load], live: np.ndarray, capacity: int, elapsed: np.ndarray | None = None) -> list[int]:
    time = np.arange(ROWS, dtype=np.int64) * 10 if elapsed is None else elapsed
    return hoisted(loads, time, {1: live}, {1: capacity}).tolist()


def test_loads_move_to_the_front_in_the_order_of_need_where_memory_allows() -> None:
    live = np.zeros(ROWS, dtype=np.int64)
    live[50:] += KILO
    live[80:] += KILO
    loads = [Load(50, 0, 1, KILO, 10, ()), Load(80, 0, 1, KILO, 10, ())]
    assert order(loads, live, 2 * KILO)[:3] == [50, 80, 0]


def test_a_load_stands_behind_the_last_row_at_which_its_buffer_does_not_fit() -> None:
    live = np.full(ROWS, KILO, dtype=np.int64)
    live[:30] += KILO
    live[50:] += KILO
    found = order([Load(50, 0, 1, KILO, 10, ())], live, 2 * KILO)
    assert found.index(50) == found.index(30) - 1


def test_memory_that_prefetching_takes_is_not_given_twice() -> None:
    live = np.zeros(ROWS, dtype=np.int64)
    live[50:60] += KILO
    live[80:] += KILO
    loads = [Load(50, 0, 1, KILO, 10, ()), Load(80, 0, 1, KILO, 10, ())]
    found = order(loads, live, KILO)
    assert found[0] == 50
    assert found.index(80) == found.index(60) - 1


def test_a_load_of_stored_data_does_not_hold_back_weights_that_could_run() -> None:
    live = np.zeros(ROWS, dtype=np.int64)
    loads = [Load(60, 55, 1, 0, 10, ()), Load(70, 0, 1, 0, 10, ()), Load(75, 0, 1, 0, 10, ())]
    found = order(loads, live, KILO)
    assert found[:2] == [70, 75]
    assert found.index(54) < found.index(60) < found.index(59)


def test_loads_into_one_buffer_keep_their_order() -> None:
    live = np.zeros(ROWS, dtype=np.int64)
    loads = [Load(40, 30, 1, 0, 10, ()), Load(41, 0, 1, 0, 10, (40,))]
    found = order(loads, live, KILO)
    assert found.index(40) < found.index(41)
