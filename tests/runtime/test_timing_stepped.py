"""The event-driven timing against a second simulator that goes cycle by cycle, on random programs."""

import random

import numpy as np
import pytest

from attnc.runtime.timing import Schedule, simulate

from .conftest import waits_of

QUEUES = 5


def stepped(schedule):
    """(start, end, retire) of every row, found by looking at every cycle in turn."""
    rows = [[row for row, queue in enumerate(schedule.queue) if queue == number] for number in range(QUEUES)]
    waits = schedule.waits.lists()
    free, last, array_until, asked = [0] * QUEUES, [0] * QUEUES, [None] * QUEUES, {}
    placed, channel_free, cycle = {}, 0, 0

    def place(queue, start):
        row = rows[queue].pop(0)
        free[queue] = start + schedule.busy[row]
        last[queue] = max(last[queue], free[queue] + schedule.latency[row])
        placed[row] = (start, free[queue], last[queue])

    while any(rows):
        moved = True
        while moved:
            moved = False
            for queue in range(QUEUES):
                if not rows[queue] or free[queue] > cycle or queue in asked:
                    continue
                row = rows[queue][0]
                if any(waited not in placed or placed[waited][2] > cycle for waited in waits[row]):
                    continue
                moved = True
                if schedule.channel[row]:
                    asked[queue] = cycle
                    continue
                running = array_until[queue] == cycle
                place(queue, cycle + (schedule.fill[row] if not running else 0))
                if schedule.fill[row] or running:
                    array_until[queue] = free[queue]
            if not moved and asked and channel_free <= cycle:
                queue = min(asked, key=lambda number: (asked[number], number))
                del asked[queue]
                channel_free = cycle + schedule.channel[rows[queue][0]]
                place(queue, cycle)
                moved = True
        cycle += 1
    return [placed[row] for row in range(len(schedule.queue))]


def random_schedule(seed):
    draw = random.Random(seed)
    count = draw.randrange(1, 60)
    queue = [draw.randrange(QUEUES) for _ in range(count)]
    channel = [draw.randrange(1, 30) if number < 2 and draw.random() < 0.9 else 0 for number in queue]
    waits = [
        tuple({draw.randrange(row) for _ in range(draw.choice((0, 0, 1, 2)))} if row else ()) for row in range(count)
    ]
    busy = [cycles + draw.choice((0, 0, 7)) if cycles else draw.randrange(25) for cycles in channel]
    latency = [draw.choice((0, 10)) if cycles else 0 for cycles in channel]
    fill = [6 if number == 2 and draw.random() < 0.8 else 0 for number in queue]
    return Schedule(QUEUES, np.array(queue), waits_of(waits), *map(np.array, (busy, latency, fill, channel)))


@pytest.mark.parametrize("seed", range(300))
def test_event_driven_and_cycle_stepped_times_agree(seed):
    schedule = random_schedule(seed)
    timeline = simulate(schedule)
    got = zip(timeline.start.tolist(), timeline.end.tolist(), timeline.retire.tolist(), strict=True)
    assert list(got) == stepped(schedule)


@pytest.mark.parametrize("seed", range(100))
def test_a_longer_schedule_goes_on_from_where_it_begins(seed):
    schedule = random_schedule(seed)
    rows = len(schedule)
    behind = [[rows + waited for waited in own] for own in schedule.waits.lists()]
    # Each of the second copy also waits for its like in the first, so that both are interlocked.
    again = waits_of([*schedule.waits.lists(), *([row, *own] for row, own in enumerate(behind))])
    columns = (schedule.busy, schedule.latency, schedule.fill, schedule.channel)
    longer = Schedule(QUEUES, np.tile(schedule.queue, 2), again, *(np.tile(column, 2) for column in columns))
    wanted = simulate(longer)
    got = simulate(longer, simulate(schedule).begun)
    assert got.start.tolist() == wanted.start.tolist()
    assert got.retire.tolist() == wanted.retire.tolist()
