"""The file order and the on-chip addresses together, by list scheduling from a plan.

What an engine should take first when several rows are ready has no answer that is always best. So a few are tried on
the beginning of the program, and the one that is done with it soonest orders all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ...isa.blocks import Space
from ...isa.engines import Engine
from ...isa.frozen import frozen
from ...isa.machine import Machine
from ..schedule_options import ScheduleOptions
from .accesses import Touched
from .costs import RowCosts, row_costs
from .dependence import AtomEvents
from .footprint import Ints, numbers
from .plan import ON_CHIP, Plan, Uses, loads_late, plan_of, uses_of
from .precedence import Precedence, precedence
from .reorder import NEVER, Feed, ListScheduler, Task
from .stream import Stream
from .urgency import starts_overdue, vector_shares, waiting_products, wanted_again

WINDOW = 64
"""An engine chooses from so many of its next rows in natural order; loads are chosen from all."""

TRIES = 4
"""So many rows of a queue are tried when there is no room for the first; only one of the loads."""

TRIALS = (2500, 5000, 10000)
"""So many rows at the beginning decide between several ways to choose: more of them between those that are close."""

DOUBT = 0.001
"""Ways are close that differ by no more than this for each time that the program is longer than what was tried."""


@frozen
class Placement:
    """Rows of the stream in file order, and the first byte in its memory of every instance on chip that is used (0 for
    others)."""

    rows: Ints
    address: Ints


@frozen
class _Choice:
    """What an engine takes first: loads by the product that waits, as vector passes, or in natural order; products in
    natural order, or those first that feed the vector engine where it is about to run dry.
    """

    urgent_loads: bool
    feed_vectors: bool


CHOICES = (_Choice(True, False), _Choice(False, False), _Choice(False, True))


def place_on_chip(
    stream: Stream, machine: Machine, found: Touched, events: AtomEvents, options: ScheduleOptions
) -> Placement:
    """Order the rows and place the on-chip buffers. Raises CapacityError where even the natural order does not fit."""
    is_load = _in_queues(stream, machine, Engine.LD)
    pairs = precedence(events, stream.rows)
    natural = loads_late(pairs, is_load) if options.prefetch else np.arange(stream.rows)
    position = np.empty(stream.rows, dtype=np.int64)
    position[natural] = np.arange(stream.rows)
    size = np.array([buffer.bytes for buffer in stream.buffers] + [0], dtype=np.int64)[found.instances.buffer]
    on_chip = np.isin(found.instances.space, ON_CHIP) & (size > 0)
    uses = uses_of(events, position, on_chip)
    plans = [plan_of(stream, machine, space, found, uses, size) for space in ON_CHIP]
    costs = row_costs(stream, machine)
    rows = _Rows(
        int(machine.sram.bytes / machine.dram.bytes_per_cycle),
        [queue.engine for queue in machine.queues],
        stream.queue[natural],
        RowCosts(costs.busy[natural], costs.latency[natural], costs.fill[natural], costs.channel[natural]),
        is_load[natural],
        _in_queues(stream, machine, Engine.MX)[natural],
        pairs.renumbered(position),
        uses,
        plans,
        options,
    )
    scheduler = rows.best()
    address = np.zeros(len(size), dtype=np.int64)
    for plan, memory in zip(plans, scheduler.task.memories, strict=True):
        address[plan.members] = np.array(memory.start, dtype=np.int64) * plan.unit
    return Placement(natural[np.array(scheduler.order, dtype=np.int64)], address)


def _in_queues(stream: Stream, machine: Machine, engine: Engine) -> NDArray[np.bool_]:
    return np.isin(stream.queue, [queue.index for queue in machine.queues if queue.engine is engine])


@frozen
class _Rows:
    """All rows in natural order, by column, with what limits their order. `patience`: so many cycles of the array after
    its natural place a row goes before all others, as what it would free keeps them from coming early: as many as it
    takes to fill the SRAM."""

    patience: int
    engines: Sequence[Engine]
    queue: Ints
    costs: RowCosts
    is_load: NDArray[np.bool_]
    is_product: NDArray[np.bool_]
    pairs: Precedence
    uses: Uses
    plans: Sequence[Plan]
    options: ScheduleOptions
    _followers: dict[int, list[list[int]]] = field(default_factory=dict[int, list[list[int]]])

    def best(self) -> ListScheduler:
        """The scheduler, run, with the choice that is best at the beginning."""
        rows = len(self.queue)
        if not self.options.reorder:
            return self._scheduled(CHOICES[0], rows)
        choices = CHOICES
        for trial in TRIALS:
            trial = min(rows, trial)
            margin, least = 1 + DOUBT * (rows - trial) / max(trial, 1), NEVER
            tried: dict[int, tuple[_Choice, ListScheduler]] = {}
            for choice in choices:
                scheduler = self._scheduled(choice, trial, NEVER if least == NEVER else int(least * margin) + 1)
                # Ways that take as long as one another are one way.
                tried.setdefault(scheduler.finish, (choice, scheduler))
                least = min(least, scheduler.finish)
            if trial == rows:
                return tried[least][1]
            choices = [tried[finish][0] for finish in sorted(tried) if finish <= least * margin]
            if len(choices) == 1:
                break
        return self._scheduled(choices[0], rows)

    def _scheduled(self, choice: _Choice, rows: int, limit: int = NEVER) -> ListScheduler:
        """The first so many rows in the order that a choice gives, as far as they may be done before `limit`."""
        after = self.after(rows)
        mine = self.uses.row < rows
        users = np.bincount(self.uses.instance[mine], minlength=len(self.uses.first))
        scheduler = ListScheduler(
            Task(
                queue=numbers(self.queue[:rows]),
                busy=numbers(self.costs.busy[:rows]),
                latency=numbers(self.costs.latency[:rows]),
                fill=numbers(self.costs.fill[:rows]),
                channel=numbers(self.costs.channel[:rows]),
                urgency=self._urgency(choice, after),
                after=after,
                behind=self._behind(rows),
                touches=self.touches,
                window=[rows if engine is Engine.LD else WINDOW for engine in self.engines],
                tries=[1 if engine is Engine.LD else TRIES for engine in self.engines],
                transfers=[engine in (Engine.LD, Engine.ST) for engine in self.engines],
                memories=[plan.memory(users[plan.members]) for plan in self.plans],
                fed=[queue for queue, engine in enumerate(self.engines) if engine is Engine.VX],
                feed=self._feed(after) if choice.feed_vectors else None,
            )
        )
        scheduler.run(limit)
        return scheduler

    def after(self, rows: int) -> list[list[int]]:
        """For each of the first so many rows those of them that come after it."""
        if rows not in self._followers:
            mine = self.pairs.after < rows
            ends = numbers(np.searchsorted(self.pairs.before[mine], np.arange(rows + 1)))
            flat = numbers(self.pairs.after[mine])
            self._followers[rows] = [flat[begin:end] for begin, end in pairwise(ends)]
        return self._followers[rows]

    @cached_property
    def touches(self) -> list[list[tuple[int, int]]]:
        """For each row the (memory, buffer) pairs that it touches."""
        memory = np.zeros(len(self.uses.first), dtype=np.int64)
        buffer = np.zeros(len(self.uses.first), dtype=np.int64)
        for number, plan in enumerate(self.plans):
            memory[plan.members], buffer[plan.members] = number, np.arange(len(plan.members))
        result: list[list[tuple[int, int]]] = [[] for _ in range(len(self.queue))]
        pairs = zip(numbers(memory[self.uses.instance]), numbers(buffer[self.uses.instance]), strict=True)
        for row, pair in zip(numbers(self.uses.row), pairs, strict=True):
            result[row].append(pair)
        return result

    def _urgency(self, choice: _Choice, after: Sequence[Sequence[int]]) -> list[int]:
        rows = len(after)
        is_product = self.is_product[:rows]
        busy = (self.costs.busy + self.costs.latency)[:rows]
        waiting = waiting_products(after, is_product, self._wanted[:rows].clip(max=rows))
        natural = np.arange(rows)
        ranked = np.minimum(waiting, starts_overdue(is_product, busy, self.patience)) * rows + natural
        return numbers(ranked if choice.urgent_loads else np.where(self.is_load[:rows], natural, ranked))

    def _feed(self, after: Sequence[Sequence[int]]) -> Feed:
        rows = len(after)
        is_vector = np.array([engine is Engine.VX for engine in self.engines])[self.queue[:rows]]
        return vector_shares(after, self.is_product[:rows], is_vector, self.costs.busy[:rows])

    @cached_property
    def _wanted(self) -> Ints:
        """For each row a product that waits for the accumulators that it empties; the number of rows for none."""
        rows = len(self.queue)
        accumulators = self.plans[ON_CHIP.index(Space.ACC)]
        by_instance = np.full(len(self.uses.first), rows, dtype=np.int64)
        by_instance[accumulators.members] = wanted_again(accumulators.demand, accumulators.slots, rows)
        result = np.full(rows, rows, dtype=np.int64)
        np.minimum.at(result, self.uses.row, by_instance[self.uses.instance])
        return result

    def _behind(self, rows: int) -> list[list[int]]:
        """For each row those that only stand behind it in the file because a measure is switched off.

        Without `reorder` that is the next row that is no load, without `prefetch` the loads between the two.
        """
        result: list[list[int]] = [[] for _ in range(rows)]
        others = np.flatnonzero(~self.is_load[:rows])
        if not self.options.reorder:
            for row, following in pairwise(numbers(others)):
                result[row].append(following)
        if not self.options.prefetch:
            loads = np.flatnonzero(self.is_load[:rows])
            before = np.searchsorted(others, loads) - 1
            for load, at in zip(numbers(loads), numbers(before), strict=True):
                if at >= 0:
                    result[int(others[at])].append(load)
        return result
