"""Placing buffers and moving loads ahead, on hand-made and random tasks."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc.passes.emit.allocate import NO_PLACE
from attnc.passes.emit.sweep import Load, NoRoomError, Resident, Sweep, Swept, Task

ROWS = 60
SRAM = 1


def task(buffers: list[Resident], loads: list[Load], capacity: int) -> Task:
    """A task whose rows start every 10 cycles; rows with loads take no time of their own."""
    live = np.zeros(ROWS, dtype=np.int64)
    for buffer in buffers:
        live[buffer.first : buffer.last + 1] += buffer.size
    time = [row * 10 for row in range(ROWS)]
    by_row = {load.row: load for load in loads}
    return Task(time, by_row, dict(enumerate(buffers)), {SRAM: capacity}, {SRAM: capacity - live})


def load(row: int, instance: int, **fields: object) -> Load:
    defaults = {
        "earliest": 0,
        "release": 0,
        "busy": 10,
        "latency": 0,
        "first": True,
        "after": (),
        "movable": True,
    }
    return Load(row=row, instance=instance, **(defaults | fields))


def buffer(size: int, first: int, last: int, fixed: int = NO_PLACE) -> Resident:
    return Resident(SRAM, size, first, last, last * 10, fixed)


def places(swept: Swept) -> dict[int, int]:
    return {row: place for row, (place, _) in swept.places.items()}


def test_loads_are_served_one_after_the_other_from_the_start() -> None:
    found = Sweep(task([buffer(64, 30, 40), buffer(64, 35, 45)], [load(30, 0), load(35, 1)], 1024)).run()
    assert places(found) == {30: 0, 35: 0}
    assert found.places[30][1] < found.places[35][1]


def test_a_load_stands_behind_the_last_row_at_which_its_buffer_does_not_fit() -> None:
    buffers = [buffer(64, 10, 25), buffer(64, 40, 50)]
    found = Sweep(task(buffers, [load(40, 1)], 64)).run()
    assert places(found) == {40: 26}


def test_a_load_of_data_still_to_be_stored_does_not_hold_back_the_others() -> None:
    buffers = [buffer(64, 30, 40), buffer(64, 35, 45)]
    late = load(30, 0, earliest=20, release=200)
    found = places(Sweep(task(buffers, [late, load(35, 1)], 1024)).run())
    assert found[35] == 0
    assert 20 <= found[30] <= 30


def test_a_load_served_too_early_gives_way_and_is_served_again() -> None:
    # The load fits beside the first buffer, but then the third, by size in order, finds no stretch.
    buffers = [buffer(64, 0, 20), buffer(64, 40, 50), buffer(128, 10, 30)]
    found = Sweep(task(buffers, [load(40, 1)], 256)).run()
    overlap_free(task(buffers, [load(40, 1)], 256), found)


def test_loads_into_one_buffer_keep_their_order() -> None:
    loads = [load(30, 0, earliest=25), load(31, 0, first=False, after=(30,))]
    found = Sweep(task([buffer(64, 30, 40)], loads, 1024)).run()
    assert found.places[30] < found.places[31]


def test_a_fixed_buffer_finds_its_place_kept() -> None:
    buffers = [buffer(64, 0, 59), buffer(128, 20, 30, fixed=64), buffer(64, 40, 50)]
    found = Sweep(task(buffers, [load(40, 2)], 192)).run()
    assert found.address == {0: 0, 1: 64, 2: found.address[2]}
    assert places(found)[40] == 31


def overlap_free(given_task: Task, found: Swept) -> None:
    """No two instances share bytes while both live; a load's instance lives from where the load was put."""
    start = {number: resident.first for number, resident in given_task.instances.items()}
    for one in given_task.loads.values():
        if one.first:
            start[one.instance] = found.places[one.row][0]
    numbers = list(given_task.instances)
    for i in numbers:
        a = given_task.instances[i]
        assert 0 <= found.address[i] <= given_task.capacity[SRAM] - a.size
        for j in numbers[:i]:
            b = given_task.instances[j]
            together = start[i] <= b.last and start[j] <= a.last
            below = found.address[i] + a.size <= found.address[j]
            above = found.address[j] + b.size <= found.address[i]
            assert not together or below or above or not a.size or not b.size


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    buffers: list[Resident] = []
    loads: list[Load] = []
    rows = draw(st.permutations(range(ROWS)))
    for number in range(draw(st.integers(1, 25))):
        first = rows.pop()
        last = min(ROWS - 1, first + draw(st.integers(0, 20)))
        buffers.append(buffer(64 * draw(st.integers(0, 6)), first, last))
        if draw(st.booleans()):
            earliest = draw(st.integers(0, first))
            head = load(first, number, earliest=earliest, release=earliest * 10, busy=draw(st.integers(1, 60)))
            loads.append(head)
            if draw(st.booleans()) and first + 1 <= last:
                follower = next((row for row in rows if first < row <= last), None)
                if follower is not None:
                    rows.remove(follower)
                    loads.append(load(follower, number, first=False, after=(first,)))
    live = np.zeros(ROWS, dtype=np.int64)
    for one in buffers:
        live[one.first : one.last + 1] += one.size
    return task(buffers, loads, int(live.max()) + 64 * draw(st.integers(0, 20)))


@settings(max_examples=300, deadline=None)
@given(tasks())
def test_every_buffer_has_its_own_bytes_and_every_load_a_lawful_place(given_task: Task) -> None:
    try:
        found = Sweep(given_task).run()
    except NoRoomError:
        return
    overlap_free(given_task, found)
    for one in given_task.loads.values():
        place, turn = found.places[one.row]
        assert one.earliest <= place <= one.row
        for before in one.after:
            assert (place, turn) > found.places[before]
