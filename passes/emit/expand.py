"""Expansion: every template of the loop nests becomes its instructions, all of a record's as columns at once.

Fields are evaluated over arrays of loop indices. The order of the instructions is that of the loops: at each
level first the time slot (iteration plus stage), then the position in the block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from math import prod

import numpy as np
from xdsl.dialects.builtin import ModuleOp

from ...dialects.affine_form import AffineForm, Minimum
from ...dialects.isa import SLOT, InstructionOperation, is_address
from ...isa.columns import Column
from ...isa.errors import CapacityError
from ...isa.fields import Flag
from ...isa.lanes import LaneProgram
from ...isa.machine import Machine
from ...isa.record import WORD_BYTES, Instruction
from .footprint import Ints
from .stream import NO_INSTANCE, Group, Stream
from .templates import Storage, Template, collect

LONGEST = 1 << 24
"""A program has so many instructions at most."""


def expand(module: ModuleOp, machine: Machine) -> Stream:
    """The instructions of a module's `main`, in natural order; those with an extent of zero are left out.

    Raises CapacityError for more than LONGEST of them.
    """
    walk = collect(module)
    templates = walk.templates
    rows = sum(template.rows for template in templates)
    if rows > LONGEST:
        raise CapacityError(
            f"a program of {rows} instructions",
            rows * WORD_BYTES,
            LONGEST * WORD_BYTES,
            levers=("smaller shapes", "a machine with more sram, which takes larger tiles"),
        )
    starts = np.cumsum([0, *(template.rows for template in templates)])
    place_of, order = _natural_order(templates, starts)
    programs: dict[str, int] = {}
    groups: list[Group] = []
    by_record: dict[type[Instruction], list[int]] = {}
    for number, template in enumerate(templates):
        by_record.setdefault(template.op.RECORD, []).append(number)
    kept = np.ones(len(order), dtype=bool)
    for record, numbers in by_record.items():
        group = _columns(
            record,
            [templates[n] for n in numbers],
            [place_of[starts[n] : starts[n + 1]] for n in numbers],
            walk.storage,
            programs,
        )
        empty = np.broadcast_to(np.asarray(record(**group.columns).empty), (len(group),))
        kept[group.rows[empty]] = False
        groups.append(_sorted(group, ~empty))
    # Rows close up over those that were left out.
    renumber = np.cumsum(kept) - 1
    groups = [group.renumbered(renumber[group.rows]) for group in groups if len(group)]
    sizes = np.diff(starts)
    queue = np.repeat([_queue(template.op, machine) for template in templates], sizes)[order][kept]
    origin = np.repeat([template.origin for template in templates], sizes)[order][kept]
    return Stream(
        groups=tuple(groups),
        queue=queue.astype(np.int64),
        origin=origin.astype(np.int64),
        origins=tuple(walk.origins),
        buffers=tuple(walk.storage.buffers),
        instance_buffer=np.repeat(np.arange(len(walk.storage.buffers)), np.diff(walk.storage.first)),
        programs=tuple(LaneProgram.parse(text) for text in programs),
    )


def _queue(op: InstructionOperation, machine: Machine) -> int:
    if op.queue is not None:
        return next(queue.index for queue in machine.queues if queue.name == op.queue.data)
    if op.RECORD.engine is None:
        raise ValueError(f"{op.RECORD.mnemonic} runs on any engine: the template must name a queue")
    return machine.queue(op.RECORD.engine).index


@cache
def _indices(counts: tuple[int, ...]) -> Ints:
    """`[depth, iteration]`: the loop indices of every iteration of a nest, the innermost running fastest."""
    return np.indices(counts, dtype=np.int64).reshape(len(counts), prod(counts))


def _natural_order(templates: Sequence[Template], starts: Ints) -> tuple[Ints, Ints]:
    """The natural row of every (template, iteration), and its inverse."""
    place = np.zeros(int(starts[-1]), dtype=np.int64)
    order = np.zeros(int(starts[-1]), dtype=np.int64)
    done = begin = 0
    while begin < len(templates):
        end = begin
        while end < len(templates) and templates[end].section == templates[begin].section:
            end += 1
        low, high = int(starts[begin]), int(starts[end])
        order[low:high] = _section_order(templates[begin:end]) + done
        done += high - low
        begin = end
    place[order] = np.arange(len(order))
    return place, order


def _section_order(templates: Sequence[Template]) -> Ints:
    """Iterations of the templates of one top-level operation, in natural order."""
    depth = max(len(template.levels) for template in templates)
    ends = [1] * depth
    for template in templates:
        for at, level in enumerate(template.levels):
            reach = level.value + (template.counts[level.depth] if level.depth >= 0 else 1)
            ends[at] = max(ends[at], reach)
    if prod(ends) < 1 << 62:
        weights = [prod(ends[at + 1 :]) for at in range(depth)]
        keys = [_packed_key(template, weights) for template in templates]
        return np.argsort(np.concatenate(keys), kind="stable")
    columns = [np.concatenate([_level_column(template, at) for template in templates]) for at in range(depth)]
    return np.lexsort(columns[::-1])


def _packed_key(template: Template, weights: Sequence[int]) -> Ints:
    indices = _indices(template.counts)
    base = sum(level.value * weights[at] for at, level in enumerate(template.levels))
    key = np.full(template.rows, base, dtype=np.int64)
    for at, level in enumerate(template.levels):
        if level.depth >= 0:
            key += indices[level.depth] * weights[at]
    return key


def _level_column(template: Template, at: int) -> Ints:
    if at >= len(template.levels):
        return np.zeros(template.rows, dtype=np.int64)
    level = template.levels[at]
    column = np.full(template.rows, level.value, dtype=np.int64)
    return column + _indices(template.counts)[level.depth] if level.depth >= 0 else column


def _columns(
    record: type[Instruction],
    templates: Sequence[Template],
    rows: Sequence[Ints],
    storage: Storage,
    programs: dict[str, int],
) -> Group:
    """The instructions of one record, template by template."""
    sizes = [template.rows for template in templates]
    starts = np.cumsum([0, *sizes]).tolist()
    names = [item.name for item in record.fields]
    addresses = [item.name for item in record.fields if is_address(item)]
    kinds = {item.name: item.kind for item in record.fields}
    constants = np.zeros((len(templates), len(names)), dtype=np.int64)
    owners = np.full((len(templates), len(addresses)), NO_INSTANCE, dtype=np.int64)
    place = {name: at for at, name in enumerate(names)}
    owner_place = {name: at for at, name in enumerate(addresses)}
    defaults = [item.default or 0 for item in record.fields]
    # What is not constant over a template's iterations: (matrix column, template, function of the loop
    # indices).
    varying: list[tuple[int, int, Callable[[Ints], Column]]] = []
    varying_owners: list[tuple[int, int, AffineForm]] = []
    used: list[int] = []
    for number, template in enumerate(templates):
        op = template.op
        constants[number] = defaults
        for name, value in op.values.data:
            if isinstance(value, Minimum):
                varying.append(
                    (
                        place[name],
                        number,
                        _switch(value) if isinstance(kinds[name], Flag) else _clipped(value),
                    )
                )
            else:
                constants[number, place[name]] = value
        for name, buffer, form in op.named_addresses:
            if form.is_constant:
                constants[number, place[name]] = form.constant
            else:
                varying.append((place[name], number, _exact(form)))
            instance = storage.instance_form(buffer)
            if instance.is_constant:
                owners[number, owner_place[name]] = instance.constant
            else:
                varying_owners.append((owner_place[name], number, instance))
        if op.program is not None:
            used.append(programs.setdefault(op.program.data, len(programs)))
    matrix = np.repeat(constants, sizes, axis=0).T.copy()
    owner_matrix = np.repeat(owners, sizes, axis=0).T.copy()
    for at, number, function in varying:
        matrix[at, starts[number] : starts[number + 1]] = function(_indices(templates[number].counts))
    for at, number, form in varying_owners:
        indices = _indices(templates[number].counts)
        owner_matrix[at, starts[number] : starts[number + 1]] = form.evaluate(list(indices))
    return Group(
        record,
        np.concatenate(rows),
        dict(zip(names, matrix, strict=True)),
        dict(zip(addresses, owner_matrix, strict=True)),
        np.repeat(np.array(used, dtype=np.int64), sizes) if SLOT in place and used else None,
    )


def _exact(form: AffineForm) -> Callable[[Ints], Column]:
    return lambda indices: form.evaluate(list(indices))


def _clipped(value: Minimum) -> Callable[[Ints], Column]:
    def evaluate(indices: Ints) -> Column:
        least = value.forms[0].evaluate(list(indices))
        for form in value.forms[1:]:
            least = np.minimum(least, form.evaluate(list(indices)))
        return np.maximum(least, 0)

    return evaluate


def _switch(value: Minimum) -> Callable[[Ints], Column]:
    size = _clipped(value)
    return lambda indices: np.minimum(size(indices), 1)


def _sorted(group: Group, kept: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Group:
    """The kept instructions in the order of their rows."""
    order = np.flatnonzero(kept)
    order = order[np.argsort(group.rows[order], kind="stable")]
    return Group(
        group.record,
        group.rows[order],
        {name: column[order] for name, column in group.columns.items()},
        {name: column[order] for name, column in group.instances.items()},
        None if group.programs is None else group.programs[order],
    )
